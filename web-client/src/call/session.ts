import { Call } from './call';
import { tabIdentity } from './identity';
import { comesBack, mayRetry, refused } from './left';
import { Preview, openDevices, type OpenTracks } from './preview';
import { Returning } from './returning';
import { fetchSettings, loadSettings, settingsKnown, type ServerSettings } from './server';
import { Store } from './store';
import type { Left } from './types';

/** Where a visitor of a meeting's link stands. */
export type SessionSnapshot =
  /** Nothing to see yet: the server is asked what the link is good for. */
  | { readonly at: 'arriving' }
  /** Before the door. */
  | { readonly at: 'door'; readonly preview: Preview }
  /** In a call, running or over. */
  | { readonly at: 'call'; readonly call: Call }
  /** Thrown out by a restart or a dead network, on the way back. */
  | { readonly at: 'returning'; readonly way: Returning }
  /** There is no way in, or none any more. */
  | { readonly at: 'out'; readonly left: Left };

/** What the link says. */
export interface Invitation {
  readonly room: string;
  /** Another application has already let the visitor in. */
  readonly token: string | undefined;
}

/** How the door is to be passed. */
export interface Arrival {
  /** The link asks for no door. Only development mode grants that: whoever made the link need not mean well. */
  readonly autojoin: boolean;
  /** Under which name it would be. */
  readonly name: string;
}

const UNREACHABLE: Left = { reason: 'unreachable', detail: undefined, wasIn: false };

/** One visit to one meeting: looking at oneself, joining, leaving, coming back. */
export class Session extends Store<SessionSnapshot> {
  readonly #invitation: Invitation;
  #name = '';
  #development = false;
  #closed = false;

  constructor(invitation: Invitation) {
    super({ at: 'arriving' });
    this.#invitation = invitation;
  }

  /** Shows the door, if it leads anywhere. Devices are on the air only after a click here. */
  async arrive(arrival: Arrival): Promise<void> {
    const settings = await settingsKnown();
    if (this.#closed) return;
    const left = this.#wayIn(settings);
    if (left) {
      this.set({ at: 'out', left });
      return;
    }
    if (arrival.autojoin && this.#development) {
      await this.#enter(arrival.name, openDevices({ microphone: true, camera: true }));
      return;
    }
    // Who follows a link that would join by itself did not ask to be seen.
    await this.#showDoor({ wait: arrival.autojoin });
  }

  /** Goes in with what the preview has open, or is opening. */
  async join(name: string): Promise<void> {
    const now = this.getSnapshot();
    if (now.at === 'door') await this.#enter(name, now.preview.take());
  }

  /** Goes in again, with microphone and camera as they were; or tries again to find a way in. */
  async rejoin(): Promise<void> {
    const now = this.getSnapshot();
    const { left, sending } = now.at === 'call' ? now.call.getSnapshot() : { left: undefined, sending: undefined };
    if (left?.wasIn && sending) {
      await this.#enter(this.#name, openDevices(sending));
      return;
    }
    this.set({ at: 'arriving' });
    const settings = await loadSettings();
    if (this.#closed) return;
    const closed = this.#wayIn(settings === 'loading' ? 'unreachable' : settings);
    // Devices of a failed attempt were switched off: the door shows what there is to choose.
    if (closed) this.set({ at: 'out', left: closed });
    else await this.#showDoor({ wait: false });
  }

  /** Leaves whatever runs; the visitor goes elsewhere. */
  close(): void {
    this.#closed = true;
    const now = this.getSnapshot();
    if (now.at === 'door') now.preview.close();
    else if (now.at === 'call') void now.call.leave();
    else if (now.at === 'returning') now.way.close();
  }

  /** No longer waits to come back. */
  giveUp(): void {
    const now = this.getSnapshot();
    if (now.at !== 'returning') return;
    now.way.close();
    this.set({ at: 'out', left: { reason: 'left', detail: undefined, wasIn: true } });
  }

  #wayIn(settings: ServerSettings | 'unreachable'): Left | undefined {
    if (settings === 'unreachable') return navigator.onLine ? UNREACHABLE : { ...UNREACHABLE, reason: 'offline' };
    this.#development = settings.development;
    if (this.#invitation.token !== undefined || settings.development || settings.join === 'link') return undefined;
    return refused('token-required');
  }

  async #showDoor(how: { readonly wait: boolean }): Promise<void> {
    const preview = new Preview();
    this.set({ at: 'door', preview });
    await preview.start(how);
  }

  async #enter(name: string, tracks: OpenTracks): Promise<void> {
    this.#name = name;
    const call = new Call();
    this.set({ at: 'call', call });
    call.subscribe(() => this.#watch(call));
    await this.#join(call, tracks);
  }

  async #join(call: Call, tracks: OpenTracks, before?: Call): Promise<void> {
    const { room } = this.#invitation;
    // That of an invitation may have expired meanwhile; who comes by link gets another one.
    const token = this.#invitation.token === undefined ? undefined : (before?.token ?? this.#invitation.token);
    await call.join({ room, token, name: this.#name, tab: await tabIdentity(), development: this.#development }, tracks);
  }

  /** A call that broke off goes on by itself as soon as the server is there again. */
  #watch(call: Call): void {
    const now = this.getSnapshot();
    const { left } = call.getSnapshot();
    if (this.#closed || now.at !== 'call' || now.call !== call || !left?.wasIn || !comesBack(left)) return;
    const way = new Returning({
      restart: left.reason === 'shutdown',
      attempt: () => this.#attempt(call),
      again: comesBack,
      done: (outcome) => {
        if (outcome) this.set({ at: 'out', left: told(outcome) });
      },
    });
    this.set({ at: 'returning', way });
  }

  /** One attempt to come back. The devices are opened once somebody is there to see them. */
  async #attempt(before: Call): Promise<Left | undefined> {
    if ((await fetchSettings()) === 'unreachable') return UNREACHABLE;
    if (this.#closed || this.getSnapshot().at !== 'returning') return UNREACHABLE;
    const call = new Call(before);
    const { sending } = before.getSnapshot();
    await new Promise<void>((settled) => {
      const look = (): void => {
        const { phase } = call.getSnapshot();
        if (phase === 'connected' || phase === 'left') settled();
      };
      call.subscribe(look);
      void this.#join(call, lazily(sending, call), before).then(settled);
    });
    const { left } = call.getSnapshot();
    if (left) return left;
    if (this.#closed || this.getSnapshot().at !== 'returning') {
      // One went elsewhere meanwhile.
      void call.leave();
      return undefined;
    }
    this.set({ at: 'call', call });
    call.subscribe(() => this.#watch(call));
    return undefined;
  }
}

/** Devices that are opened when the call is connected, not before: a light that goes on and off with each attempt frightens. */
function lazily(sending: { readonly microphone: boolean; readonly camera: boolean }, call: Call): OpenTracks {
  let tracks: OpenTracks | undefined;
  const opened = new Promise<OpenTracks>((resolve, reject) => {
    const stop = call.subscribe(() => {
      const { phase } = call.getSnapshot();
      if (phase === 'connected') resolve((tracks ??= openDevices(sending)));
      else if (phase === 'left') reject(new DOMException('', 'AbortError'));
      else return;
      stop();
    });
  });
  opened.catch(() => undefined);
  const missing = (): never => {
    throw new DOMException('', 'NotFoundError');
  };
  return {
    microphone: sending.microphone ? quiet(opened.then((open) => open.microphone ?? missing())) : undefined,
    camera: sending.camera ? quiet(opened.then((open) => open.camera ?? missing())) : undefined,
  };
}

/** A rejection that is looked at later is no error of the page. */
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

/** After minutes of trying: whose fault it is. */
function told(left: Left): Left {
  if (left.reason === 'unreachable' && !navigator.onLine) return { ...left, reason: 'offline' };
  return mayRetry(left) && left.reason === 'shutdown' ? { ...left, reason: 'unreachable' } : left;
}
