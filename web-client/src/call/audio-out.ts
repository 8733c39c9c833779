import { difference } from './difference';

/** Sound that can be given a media element; the engine's audio tracks are such. */
export interface Audible {
  attach(): HTMLMediaElement;
  detach(): HTMLMediaElement[];
}

/**
 * The sound of the others: one hidden element a track, apart from the tiles, so that turning a page
 * or redrawing the window never interrupts anybody.
 */
export class AudioOut {
  readonly #host: Pick<HTMLElement, 'append' | 'remove'>;
  readonly #playing = new Set<Audible>();

  constructor(host: Pick<HTMLElement, 'append' | 'remove'> = hiddenHost()) {
    this.#host = host;
  }

  /**
   * Plays these and nothing else. What plays already is left alone, so this may be called as often as
   * one likes.
   */
  play(tracks: Iterable<Audible>): void {
    const { missing, surplus } = difference(this.#playing, tracks);
    for (const track of surplus) {
      this.#playing.delete(track);
      for (const element of track.detach()) element.remove();
    }
    for (const track of missing) {
      this.#playing.add(track);
      this.#host.append(track.attach());
    }
  }

  close(): void {
    this.play([]);
    this.#host.remove();
  }
}

function hiddenHost(): HTMLElement {
  const host = document.createElement('div');
  host.hidden = true;
  document.body.append(host);
  return host;
}
