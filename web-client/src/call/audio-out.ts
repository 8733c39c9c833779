import type { RemoteTrack } from 'livekit-client';

/**
 * The sound of the others: one hidden element a track, apart from the tiles, so that turning a page
 * or redrawing the window never interrupts anybody.
 */
export class AudioOut {
  readonly #host = document.createElement('div');

  constructor() {
    this.#host.hidden = true;
    document.body.append(this.#host);
  }

  play(track: RemoteTrack): void {
    this.#host.append(track.attach());
  }

  stop(track: RemoteTrack): void {
    for (const element of track.detach()) element.remove();
  }

  close(): void {
    this.#host.remove();
  }
}
