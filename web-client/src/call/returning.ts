import { Store } from './store';
import type { Left } from './types';

/** Seconds between attempts; the last one again and again. */
const DELAYS = [1, 2, 3, 5, 8, 10] as const;

/** Each of many who were thrown out together waits up to this part longer or shorter. */
const JITTER = 0.25;

/** Milliseconds after which nobody waits any longer. */
const GIVE_UP = 5 * 60_000;

/** How an attempt to come back ended; `undefined`: one is back. */
export type Outcome = Left | undefined;

/** Where the way back stands. */
export interface ReturningSnapshot {
  /** The server said that it restarts; otherwise the connection was lost. */
  readonly restart: boolean;
  /** An attempt is under way. */
  readonly trying: boolean;
  /** Milliseconds since the epoch: when the next attempt begins. */
  readonly nextAt: number;
}

interface Options {
  readonly restart: boolean;
  /** One attempt. */
  attempt(): Promise<Outcome>;
  /** Whether the next attempt may end otherwise. */
  again(left: Left): boolean;
  /** It is over: one is back (`undefined`), or is told why not. */
  done(outcome: Outcome): void;
  /** Between 0 and 1. */
  random?(): number;
}

/** Tries to come back into a meeting for minutes: nobody has to click, and whoever does not want to wait may. */
export class Returning extends Store<ReturningSnapshot> {
  readonly #options: Options;
  readonly #until = Date.now() + GIVE_UP;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #attempts = 0;
  #closed = false;
  /** How it stands where no attempt has said otherwise. */
  #last: Left = { reason: 'lost', detail: undefined, wasIn: true };

  constructor(options: Options) {
    super({ restart: options.restart, trying: false, nextAt: 0 });
    this.#options = options;
    this.#wait();
    if (typeof window !== 'undefined') window.addEventListener('online', this.#due);
  }

  /** Does not wait for the next attempt. */
  readonly tryNow = (): void => {
    if (this.getSnapshot().trying || this.#closed) return;
    clearTimeout(this.#timer);
    void this.#try();
  };

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    if (typeof window !== 'undefined') window.removeEventListener('online', this.#due);
  }

  #wait(): void {
    const seconds = DELAYS[Math.min(this.#attempts, DELAYS.length - 1)] ?? 10;
    const delay = seconds * 1000 * (1 + JITTER * (2 * (this.#options.random ?? Math.random)() - 1));
    this.patch({ trying: false, nextAt: Date.now() + delay });
    this.#timer = setTimeout(this.#due, delay);
  }

  /** The next attempt; none where the machine slept meanwhile, and nobody waits any longer. */
  readonly #due = (): void => {
    if (Date.now() < this.#until || this.getSnapshot().trying) this.tryNow();
    else this.#finish(this.#last);
  };

  #finish(outcome: Outcome): void {
    if (this.#closed) return;
    this.close();
    this.#options.done(outcome);
  }

  async #try(): Promise<void> {
    this.#attempts++;
    this.patch({ trying: true });
    const outcome = await this.#options.attempt();
    if (this.#closed) return;
    if (outcome === undefined || !this.#options.again(outcome) || Date.now() >= this.#until) {
      this.#finish(outcome);
    } else {
      this.#last = outcome;
      this.#wait();
    }
  }
}
