import { meterOf, type Meter } from './meter';

/** Milliseconds between two looks; the meter's window is longer, so no sound falls between. */
const EVERY = 600;
/** Looks in a row that must see nothing at all. */
const LOOKS = 7;
/** Samples: 0.68 s at 48 kHz. */
const WINDOW = 32_768;

/**
 * Notices a microphone that delivers pure zeros for some four seconds: switched off by a key or by the
 * system. A quiet room never reads as zeros.
 */
export class SilenceWatch {
  #meter: Meter | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #watched: MediaStreamTrack | undefined;
  #dead = 0;
  readonly #tell: (silent: boolean) => void;

  constructor(tell: (silent: boolean) => void) {
    this.#tell = tell;
  }

  /** Watches this track instead of the one before; `undefined` rests. */
  watch(track: MediaStreamTrack | undefined): void {
    if (track === this.#watched) return;
    this.close();
    this.#watched = track;
    if (!track) return;
    this.#meter = meterOf(track, WINDOW);
    this.#timer = setInterval(() => this.#look(), EVERY);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#meter?.close();
    this.#meter = undefined;
    this.#watched = undefined;
    this.#dead = 0;
    this.#tell(false);
  }

  #look(): void {
    this.#dead = this.#meter?.dead() ? this.#dead + 1 : 0;
    this.#tell(this.#dead >= LOOKS);
  }
}
