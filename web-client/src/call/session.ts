import { Call } from './call';
import { tabIdentity } from './identity';
import { Inside } from './inside';
import { comesBack, refused, unreachable } from './left';
import { Preview, openDevices, type OpenTracks } from './preview';
import { Returning } from './returning';
import { isCode } from './room-code';
import { fetchSettings, loadSettings, settingsKnown, warm, type ServerSettings } from './server';
import { Store } from './store';
import { Lookout } from './tabs';
import { keepTicket, renewed, tokenOf, type Ticket } from './tickets';
import type { Left } from './types';

/** Where a visitor of a meeting's link stands. */
export type SessionSnapshot =
  /** Nothing to see yet: the server is asked what the link is good for. */
  | { readonly at: 'arriving' }
  /** Before the door; `inside` where one comes by link. */
  | { readonly at: 'door'; readonly preview: Preview; readonly lookout: Lookout; readonly inside: Inside | undefined }
  /** In a call, running or over. */
  | { readonly at: 'call'; readonly call: Call }
  /** Thrown out by a restart or a dead network, on the way back. */
  | { readonly at: 'returning'; readonly way: Returning }
  /** There is no way in, or none any more. */
  | { readonly at: 'out'; readonly left: Left };

/** How the door is to be passed. */
export interface Arrival {
  /** The link asks for no door. Only development mode grants that: whoever made the link need not mean well. */
  readonly autojoin: boolean;
  /** Under which name it would be. */
  readonly name: string;
}

/** One visit to one meeting: looking at oneself, joining, leaving, coming back. */
export class Session extends Store<SessionSnapshot> {
  /** With which one goes in, also the next time: tokens are renewed, and a moderator may move one to another room. */
  #ticket: Ticket;
  #name = '';
  #development = false;
  #closed = false;
  /** An attempt to come back that nobody sees yet. */
  #attempted: Call | undefined;

  constructor(ticket: Ticket) {
    super({ at: 'arriving' });
    this.#ticket = ticket;
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
    if (now.at !== 'door') return;
    turnFrom(now);
    await this.#enter(name, now.preview.take());
  }

  /** Goes in again, with microphone and camera as they were; or tries again to find a way in. */
  async rejoin(): Promise<void> {
    const now = this.getSnapshot();
    const left = now.at === 'call' ? now.call.connection.getSnapshot().left : undefined;
    const sending = now.at === 'call' ? now.call.sending.getSnapshot() : undefined;
    // A second click, where the first one is already being followed.
    if (now.at !== 'out' && !left) return;
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
    if (now.at === 'door') {
      now.preview.close();
      turnFrom(now);
    }
    if (now.at === 'call') void now.call.leave();
    else if (now.at === 'returning') this.#stay(now.way);
  }

  /** No longer waits to come back. */
  giveUp(): void {
    const now = this.getSnapshot();
    if (now.at !== 'returning') return;
    this.#stay(now.way);
    this.set({ at: 'out', left: { reason: 'left', detail: undefined, wasIn: true } });
  }

  /** No attempt to come back goes on unseen: it would open devices, and throw out a call that is seen. */
  #stay(way: Returning): void {
    way.close();
    void this.#attempted?.leave();
  }

  #wayIn(settings: ServerSettings | 'unreachable'): Left | undefined {
    if (settings === 'unreachable') return unreachable(navigator);
    this.#development = settings.development;
    if (this.#ticket.tokens.length > 0 || settings.development) return undefined;
    if (settings.join !== 'link') return refused('token-required');
    // No meeting by link has another name than the server gave it: behind a typo there is no door.
    return isCode(this.#ticket.room) ? undefined : refused('unknown');
  }

  async #showDoor(how: { readonly wait: boolean }): Promise<void> {
    const preview = new Preview();
    const { room, tokens } = this.#ticket;
    const inside = tokens.length === 0 && isCode(room) ? new Inside(room) : undefined;
    this.set({ at: 'door', preview, lookout: new Lookout(room), inside });
    void warm();
    await preview.start(how);
  }

  async #enter(name: string, tracks: OpenTracks): Promise<void> {
    this.#name = name;
    const call = new Call();
    this.set({ at: 'call', call });
    call.connection.subscribe(() => this.#watch(call));
    await this.#join(call, tracks);
  }

  async #join(call: Call, tracks: OpenTracks): Promise<void> {
    const tab = await tabIdentity();
    const token = tokenOf(this.#ticket, Date.now());
    await call.join({ room: this.#ticket.room, token, name: this.#name, tab, development: this.#development }, tracks);
  }

  #watch(call: Call): void {
    const now = this.getSnapshot();
    if (this.#closed || now.at !== 'call' || now.call !== call) return;
    const { left, token } = call.connection.getSnapshot();
    if (token !== undefined) this.#renew(token);
    if (left?.wasIn && comesBack(left)) this.#comeBack(call, left);
    // Who thinks better of it on the way in has left nothing yet.
    else if (left?.reason === 'left' && !left.wasIn) void this.#showDoor({ wait: false });
  }

  /** Keeps the newest token, so that who leaves, or loads the page anew, can come back. */
  #renew(token: string): void {
    const ticket = renewed(this.#ticket, token);
    if (ticket === this.#ticket) return;
    this.#ticket = ticket;
    keepTicket(ticket);
  }

  /** A call that broke off goes on by itself as soon as the server is there again. */
  #comeBack(call: Call, left: Left): void {
    const way: Returning = new Returning({
      restart: left.reason === 'shutdown',
      attempt: () => this.#attempt(call, () => this.#isOn(way)),
      again: comesBack,
      done: (outcome) => {
        if (outcome) this.set({ at: 'out', left: told(outcome) });
      },
    });
    this.set({ at: 'returning', way });
  }

  /** Whether this is the way the person is on; closed ones may still have an attempt under way. */
  #isOn(way: Returning): boolean {
    const now = this.getSnapshot();
    return !this.#closed && now.at === 'returning' && now.way === way;
  }

  /** One attempt to come back. The devices are opened once somebody is there to see them. */
  async #attempt(before: Call, wanted: () => boolean): Promise<Left | undefined> {
    if ((await fetchSettings()) === 'unreachable' || !wanted()) return unreachable(navigator);
    const call = new Call(before);
    this.#attempted = call;
    const sending = before.sending.getSnapshot();
    await new Promise<void>((settled) => {
      call.connection.subscribe(() => {
        const { phase } = call.connection.getSnapshot();
        if (phase === 'connected' || phase === 'left') settled();
      });
      void this.#join(call, lazily(sending, call)).then(settled);
    });
    this.#attempted = undefined;
    const { left } = call.connection.getSnapshot();
    if (left) return left;
    this.set({ at: 'call', call });
    call.connection.subscribe(() => this.#watch(call));
    return undefined;
  }
}

/** Nobody stands at the door any more who would want to know. */
function turnFrom({ lookout, inside }: Extract<SessionSnapshot, { at: 'door' }>): void {
  lookout.close();
  inside?.close();
}

/** Devices that are opened when the call is connected, not before: a light that goes on and off with each attempt frightens. */
function lazily(sending: { readonly microphone: boolean; readonly camera: boolean }, call: Call): OpenTracks {
  let tracks: OpenTracks | undefined;
  const opened = new Promise<OpenTracks>((resolve, reject) => {
    const stop = call.connection.subscribe(() => {
      const { phase } = call.connection.getSnapshot();
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
  return left.reason === 'unreachable' || left.reason === 'offline' || left.reason === 'shutdown' ? unreachable(navigator) : left;
}
