import { Call } from './call';
import { tabIdentity } from './identity';
import { Preview, openDevices, type OpenTracks } from './preview';
import { Store } from './store';

/** Where a visitor of a meeting's link stands: before the door, or in a call (running or over). */
export type SessionSnapshot = { readonly at: 'door'; readonly preview: Preview } | { readonly at: 'call'; readonly call: Call };

/** What the link says. */
export interface Invitation {
  readonly room: string;
  /** From `?token=`: another application has already let the visitor in. */
  readonly token: string | undefined;
}

/** One visit to one meeting: looking at oneself, joining, leaving, coming back. */
export class Session extends Store<SessionSnapshot> {
  readonly #invitation: Invitation;
  #name = '';

  constructor(invitation: Invitation) {
    super({ at: 'door', preview: new Preview() });
    this.#invitation = invitation;
  }

  /** Looks for the devices the browser already allows. */
  async start(): Promise<void> {
    const now = this.getSnapshot();
    if (now.at === 'door') await now.preview.start();
  }

  /** Goes in with what the preview has open. */
  async join(name: string): Promise<void> {
    const now = this.getSnapshot();
    if (now.at === 'door') await this.#enter(name, now.preview.take());
  }

  /** Goes in at once with whatever device opens; used by links with `autojoin`. */
  async joinDirectly(name: string): Promise<void> {
    const now = this.getSnapshot();
    if (now.at === 'door') now.preview.close();
    await this.#enter(name, await openDevices({ microphone: true, camera: true }));
  }

  /** Goes in again, with microphone and camera as they were. */
  async rejoin(): Promise<void> {
    const now = this.getSnapshot();
    if (now.at !== 'call') return;
    const { left, sending } = now.call.getSnapshot();
    if (!left?.wasIn) {
      // Devices of a failed attempt were switched off: the door shows what there is to choose.
      this.set({ at: 'door', preview: new Preview() });
      await this.start();
      return;
    }
    await this.#enter(this.#name, await openDevices(sending));
  }

  /** Leaves whatever runs; the visitor goes elsewhere. */
  close(): void {
    const now = this.getSnapshot();
    if (now.at === 'door') now.preview.close();
    else void now.call.leave();
  }

  async #enter(name: string, tracks: OpenTracks): Promise<void> {
    this.#name = name;
    const call = new Call();
    this.set({ at: 'call', call });
    const { room, token } = this.#invitation;
    await call.join({ room, token, name, identity: await tabIdentity() }, tracks);
  }
}
