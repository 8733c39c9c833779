import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { settings, type ServerSettings } from './server';
import { Session } from './session';
import { ticketOf, type Ticket } from './tickets';
import type { TokenRequest } from './token';
import type { ConnectionSnapshot, Left } from './types';

const started = vi.hoisted(() => vi.fn<(how: { wait: boolean }) => Promise<void>>(() => Promise.resolve()));
const opened = vi.hoisted(() => vi.fn(() => ({ microphone: undefined, camera: undefined })));

vi.mock('./preview', () => ({
  Preview: class {
    start = started;
    take = () => ({ microphone: undefined, camera: undefined });
    close = () => undefined;
  },
  openDevices: opened,
}));

/** Calls in which nothing happens by itself, in the order they were made. */
const { FakeCall, calls } = await vi.hoisted(async () => {
  const { Store } = await import('./store');
  const calls: FakeCall[] = [];
  class FakeCall {
    readonly connection = new Store<Partial<ConnectionSnapshot>>({ phase: 'idle', left: undefined, token: undefined });
    readonly sending = new Store({ microphone: false, camera: false });
    request: TokenRequest | undefined;

    constructor() {
      calls.push(this);
    }

    join(request: TokenRequest): Promise<void> {
      this.request = request;
      return new Promise(() => undefined);
    }

    leave(): Promise<void> {
      if (this.connection.getSnapshot().phase !== 'left') this.end({ reason: 'left', detail: undefined, wasIn: this.connection.getSnapshot().phase === 'connected' });
      return Promise.resolve();
    }

    enter(token: string | undefined): void {
      this.connection.patch({ phase: 'connected', token });
    }

    end(left: Left): void {
      this.connection.patch({ phase: 'left', left });
    }
  }
  return { FakeCall, calls };
});

vi.mock('./server', async (original) => ({ ...(await original<object>()), warm: () => Promise.resolve() }));
vi.mock('./tabs', async () => {
  const { Store } = await import('./store');
  return {
    Lookout: class extends Store<boolean> {
      constructor() {
        super(false);
      }
      close = () => undefined;
    },
  };
});
const asking = vi.hoisted(() => new Set<string>());
vi.mock('./inside', () => ({
  Inside: class {
    readonly #room: string;
    constructor(room: string) {
      this.#room = room;
      asking.add(room);
    }
    close = () => void asking.delete(this.#room);
  },
}));
vi.mock('./call', () => ({ Call: FakeCall }));

function lastCall() {
  const call = calls.at(-1);
  if (!call) throw new Error('no call');
  return call;
}

const OPEN: ServerSettings = { start: 'anyone', join: 'link', development: false };
const CLOSED: ServerSettings = { start: 'nobody', join: 'token', development: false };
const byLink: Ticket = { room: 'abcd-efgh-jkm', tokens: [] };

async function arriving(server: ServerSettings | 'unreachable', { invitation = byLink, autojoin = false } = {}) {
  settings.set(server);
  const session = new Session(invitation);
  void session.arrive({ autojoin, name: 'Ada' });
  await vi.waitUntil(() => session.getSnapshot().at !== 'arriving');
  return session.getSnapshot();
}

describe('who follows a link', () => {
  beforeEach(() => {
    vi.clearAllMocks();
    vi.stubGlobal('navigator', { onLine: true });
  });

  it('stands before the door, and sees oneself', async () => {
    expect((await arriving(OPEN)).at).toBe('door');
    expect(started).toHaveBeenCalledWith({ wait: false });
  });

  it('is never put on the air by it, whatever it asks for; no device is opened before a click', async () => {
    for (const [server, invitation] of [
      [OPEN, byLink],
      [OPEN, { room: 'evil', tokens: ['t'] }],
      [CLOSED, { room: 'evil', tokens: ['t'] }],
    ] as const) {
      expect((await arriving(server, { invitation, autojoin: true })).at).toBe('door');
    }
    expect(started.mock.calls.every(([how]) => how.wait)).toBe(true);
    expect(opened).not.toHaveBeenCalled();
  });

  it('learns how many are inside as long as one stands there, and only of meetings by link', async () => {
    asking.clear();
    settings.set(OPEN);
    const invited = new Session({ room: 'salle', tokens: ['t'] });
    await invited.arrive({ autojoin: false, name: 'Ada' });
    expect([...asking]).toEqual([]);
    const session = new Session(byLink);
    await session.arrive({ autojoin: false, name: 'Ada' });
    expect([...asking]).toEqual([byLink.room]);
    void session.join('Ada');
    expect([...asking]).toEqual([]);
    await lastCall().leave();
    expect([...asking]).toEqual([byLink.room]);
    session.close();
    expect([...asking]).toEqual([]);
  });

  it('goes straight in where the server is only tried out, if the link says so', async () => {
    expect((await arriving({ ...OPEN, development: true }, { autojoin: true })).at).toBe('call');
    expect((await arriving({ ...OPEN, development: true })).at).toBe('door');
  });

  it('is told at once where the link lets nobody in', async () => {
    expect(await arriving(CLOSED)).toMatchObject({ at: 'out', left: { reason: 'refused', cause: 'token-required' } });
    expect((await arriving(CLOSED, { invitation: { room: 'salle', tokens: ['t'] } })).at).toBe('door');
  });

  it('is told at once where no meeting by link can have that name', async () => {
    for (const room of ['x', 'abcd-efgh-jk', 'abcdefghjkm', 'salle']) {
      expect(await arriving(OPEN, { invitation: { room, tokens: [] } })).toMatchObject({ at: 'out', left: { reason: 'refused', cause: 'unknown' } });
    }
    expect((await arriving({ ...OPEN, development: true }, { invitation: { room: 'x', tokens: [] } })).at).toBe('door');
    expect((await arriving(OPEN, { invitation: { room: 'salle', tokens: ['t'] } })).at).toBe('door');
  });

  it('stands before the door again after "Cancel" on the way in: nothing was left', async () => {
    settings.set(OPEN);
    const session = new Session(byLink);
    await session.arrive({ autojoin: false, name: 'Ada' });
    void session.join('Ada');
    started.mockClear();
    await lastCall().leave();
    expect(session.getSnapshot().at).toBe('door');
    expect(started).toHaveBeenCalledWith({ wait: false });
  });

  it('is told whether it is the network or the server that is not there', async () => {
    expect(await arriving('unreachable')).toMatchObject({ at: 'out', left: { reason: 'unreachable' } });
    vi.stubGlobal('navigator', { onLine: false });
    expect(await arriving('unreachable')).toMatchObject({ at: 'out', left: { reason: 'offline' } });
  });
});

const LOST: Left = { reason: 'lost', detail: undefined, wasIn: true };
const ENDED: Left = { reason: 'left', detail: undefined, wasIn: true };
/** A token of a room that is valid for so many minutes from the beginning of the test. */
const token = (room: string, minutes: number) => `h.${btoa(JSON.stringify({ exp: (START + minutes * 60_000) / 1000, video: { room } }))}.s`;
const START = 1_800_000_000_000;

describe('who has been in', () => {
  beforeEach(() => {
    vi.clearAllMocks();
    calls.length = 0;
    const kept = new Map<string, string>();
    vi.stubGlobal('navigator', { onLine: true });
    vi.stubGlobal('sessionStorage', { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => kept.set(key, value) });
    vi.useFakeTimers({ now: START });
    vi.stubGlobal('fetch', () => Promise.resolve(Response.json(OPEN)));
    settings.set(OPEN);
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  /** In the meeting, with a ticket. */
  async function inside(ticket: Ticket): Promise<Session> {
    const session = new Session(ticket);
    await session.arrive({ autojoin: false, name: 'Ada' });
    void session.join('Ada');
    await vi.advanceTimersByTimeAsync(0);
    lastCall().enter(ticket.tokens[0]);
    return session;
  }

  it('keeps the token that the server renews, for a reload and for coming in again', async () => {
    const [invitation, fresh] = [token('salle', 5), token('salle', 15)];
    const session = await inside({ room: 'salle', tokens: [invitation] });
    expect(lastCall().request).toMatchObject({ token: invitation });
    lastCall().connection.patch({ token: fresh });
    expect(ticketOf('salle').tokens[0]).toBe(fresh);
    lastCall().end(ENDED);
    await vi.advanceTimersByTimeAsync(10 * 60_000);
    void session.rejoin();
    await vi.advanceTimersByTimeAsync(0);
    expect(calls).toHaveLength(2);
    expect(lastCall().request).toMatchObject({ room: 'salle', token: fresh });
  });

  it('comes in with the invitation again where that one lasts longer', async () => {
    const [invitation, fresh] = [token('salle', 360), token('salle', 15)];
    const session = await inside({ room: 'salle', tokens: [invitation] });
    lastCall().connection.patch({ token: fresh });
    lastCall().end(ENDED);
    await vi.advanceTimersByTimeAsync(60 * 60_000);
    void session.rejoin();
    await vi.advanceTimersByTimeAsync(0);
    expect(lastCall().request).toMatchObject({ token: invitation });
  });

  it('goes where a moderator moved them, also after a reload', async () => {
    const moved = token('autre', 10);
    const session = await inside({ room: 'salle', tokens: [token('salle', 360)] });
    lastCall().connection.patch({ token: moved });
    expect(ticketOf('autre').tokens).toEqual([moved]);
    lastCall().end(ENDED);
    void session.rejoin();
    await vi.advanceTimersByTimeAsync(0);
    expect(lastCall().request).toMatchObject({ room: 'autre', token: moved });
  });

  it('by link keeps no token: the server is asked each time', async () => {
    const session = await inside(byLink);
    lastCall().connection.patch({ token: token(byLink.room, 10) });
    expect(ticketOf(byLink.room).tokens).toEqual([]);
    lastCall().end(ENDED);
    void session.rejoin();
    await vi.advanceTimersByTimeAsync(0);
    expect(lastCall().request).toMatchObject({ room: byLink.room, token: undefined });
  });

  it('comes back by themselves with the newest token', async () => {
    const fresh = token('salle', 15);
    const session = await inside({ room: 'salle', tokens: [token('salle', 5)] });
    lastCall().connection.patch({ token: fresh });
    lastCall().end(LOST);
    expect(session.getSnapshot().at).toBe('returning');
    await vi.advanceTimersByTimeAsync(2000);
    expect(calls).toHaveLength(2);
    expect(lastCall().request).toMatchObject({ token: fresh });
    lastCall().enter(fresh);
    await vi.advanceTimersByTimeAsync(0);
    expect(session.getSnapshot()).toEqual({ at: 'call', call: lastCall() });
  });

  it('is not brought back by an attempt under way, whether one gives up or goes elsewhere', async () => {
    for (const goes of ['giveUp', 'close'] as const) {
      const session = await inside(byLink);
      lastCall().end(LOST);
      await vi.advanceTimersByTimeAsync(2000);
      const attempt = lastCall();
      expect(attempt.request).toBeDefined();
      session[goes]();
      expect(attempt.connection.getSnapshot().phase).toBe('left');
      await vi.advanceTimersByTimeAsync(60_000);
      expect(lastCall()).toBe(attempt);
      expect(session.getSnapshot().at).toBe(goes === 'giveUp' ? 'out' : 'returning');
    }
  });

  it('is not brought back by an attempt that only asked whether the server is there, nor by it after a later loss', async () => {
    const answers: ((answer: Response) => void)[] = [];
    const session = await inside(byLink);
    vi.stubGlobal('fetch', () => new Promise((resolve) => answers.push(resolve)));
    lastCall().end(LOST);
    await vi.advanceTimersByTimeAsync(2000);
    expect(answers).toHaveLength(1);
    session.giveUp();
    void session.rejoin();
    answers[1]?.(Response.json(OPEN));
    await vi.advanceTimersByTimeAsync(0);
    void session.join('Ada');
    await vi.advanceTimersByTimeAsync(0);
    lastCall().enter(undefined);
    lastCall().end(LOST);
    expect(session.getSnapshot().at).toBe('returning');
    answers[0]?.(Response.json(OPEN));
    await vi.advanceTimersByTimeAsync(0);
    expect(calls).toHaveLength(2);
    session.close();
  });

  it('and clicks twice has one way in, not two of which one stays open', async () => {
    const session = await inside(byLink);
    lastCall().end({ reason: 'refused', cause: 'full', detail: undefined, wasIn: false });
    started.mockClear();
    void session.rejoin();
    void session.rejoin();
    await vi.advanceTimersByTimeAsync(0);
    expect(session.getSnapshot().at).toBe('door');
    void session.rejoin();
    await vi.advanceTimersByTimeAsync(0);
    expect(started).toHaveBeenCalledTimes(1);
  });
});
