import { beforeEach, describe, expect, it, vi } from 'vitest';
import { settings, type ServerSettings } from './server';
import { Session } from './session';

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
vi.mock('./call', () => ({
  Call: class {
    subscribe = () => () => undefined;
    getSnapshot = () => ({ left: undefined, sending: {} });
    join = () => Promise.resolve();
    leave = () => Promise.resolve();
  },
}));

const OPEN: ServerSettings = { start: 'anyone', join: 'link', development: false };
const CLOSED: ServerSettings = { start: 'nobody', join: 'token', development: false };
const byLink = { room: 'abcd-efgh-jkm', token: undefined };

async function arriving(server: ServerSettings | 'unreachable', { invitation = byLink as { room: string; token: string | undefined }, autojoin = false } = {}) {
  settings.set(server);
  const session = new Session(invitation);
  await session.arrive({ autojoin, name: 'Ada' });
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
      [OPEN, { room: 'evil', token: 't' }],
      [CLOSED, { room: 'evil', token: 't' }],
    ] as const) {
      expect((await arriving(server, { invitation, autojoin: true })).at).toBe('door');
    }
    expect(started.mock.calls.every(([how]) => how.wait)).toBe(true);
    expect(opened).not.toHaveBeenCalled();
  });

  it('goes straight in where the server is only tried out, if the link says so', async () => {
    expect((await arriving({ ...OPEN, development: true }, { autojoin: true })).at).toBe('call');
    expect((await arriving({ ...OPEN, development: true })).at).toBe('door');
  });

  it('is told at once where the link lets nobody in', async () => {
    expect(await arriving(CLOSED)).toMatchObject({ at: 'out', left: { reason: 'refused', cause: 'token-required' } });
    expect((await arriving(CLOSED, { invitation: { room: 'salle', token: 't' } })).at).toBe('door');
  });

  it('is told whether it is the network or the server that is not there', async () => {
    expect(await arriving('unreachable')).toMatchObject({ at: 'out', left: { reason: 'unreachable' } });
    vi.stubGlobal('navigator', { onLine: false });
    expect(await arriving('unreachable')).toMatchObject({ at: 'out', left: { reason: 'offline' } });
  });
});
