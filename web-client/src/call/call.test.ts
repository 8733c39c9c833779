import { ConnectionError, DisconnectReason, RoomEvent, type LocalAudioTrack, type LocalVideoTrack } from 'livekit-client';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Call } from './call';
import type { OpenTracks } from './preview';
import type { Entry, TokenRequest } from './token';

/** An engine that does what it is told, and nothing by itself. */
const engines = vi.hoisted(() => {
  function later<T>() {
    let resolve: (value: T) => void = () => undefined;
    let reject: (error: unknown) => void = () => undefined;
    const promise = new Promise<T>((does, fails) => {
      resolve = does;
      reject = fails;
    });
    return { promise, resolve, reject };
  }
  class FakeRoom {
    readonly listeners = new Map<string, ((...values: never[]) => void)[]>();
    readonly connecting = later<undefined>();
    readonly opening = later<unknown[]>();
    readonly publishing = later<undefined>();
    readonly remoteParticipants = new Map();
    readonly engine = { token: undefined as string | undefined };
    activeSpeakers: { identity: string }[] = [];
    readonly canPlaybackAudio = true;
    readonly name = 'salle';
    state = 'connected';
    readonly connect = vi.fn((_url: string, token: string) => {
      this.engine.token = token;
      return this.connecting.promise;
    });
    readonly disconnect = vi.fn(() => Promise.resolve());
    readonly localParticipant = {
      isLocal: true,
      permissions: undefined as object | undefined,
      getTrackPublication: () => undefined,
      createTracks: vi.fn(() => this.opening.promise),
      createScreenTracks: vi.fn(() => this.opening.promise),
      publishTrack: vi.fn(() => this.publishing.promise),
      setCameraEnabled: vi.fn(() => Promise.resolve()),
    };
    constructor() {
      made.push(this);
    }
    on(event: string, listener: (...values: never[]) => void): this {
      this.listeners.set(event, [...(this.listeners.get(event) ?? []), listener]);
      return this;
    }
    tell(event: string, ...values: never[]): void {
      for (const listener of this.listeners.get(event) ?? []) listener(...values);
    }
    registerTextStreamHandler = () => undefined;
    unregisterTextStreamHandler = () => undefined;
  }
  const made: FakeRoom[] = [];
  return { FakeRoom, made, later };
});
const { later } = engines;
const entered = vi.hoisted(() => vi.fn<() => Promise<Entry>>());

vi.mock('livekit-client', async (original) => ({ ...(await original<object>()), Room: engines.FakeRoom }));
vi.mock('./token', async (original) => ({ ...(await original<object>()), enter: entered }));
vi.mock('./people', () => ({ peopleOf: () => [], soundsOf: () => [], frozen: () => [] }));
const tabs = vi.hoisted(() => ({ leave: undefined as (() => void) | undefined, closed: 0 }));
vi.mock('./tabs', () => ({
  Presence: class {
    constructor(_room: string, leave: () => void) {
      tabs.leave = leave;
    }
    close = () => void tabs.closed++;
  },
}));
vi.mock('./audio-out', () => ({ AudioOut: class { play = () => undefined; close = () => undefined; } }));
vi.mock('./awake', () => ({ Awake: class { show = () => undefined; close = () => undefined; } }));

const BY_TOKEN: TokenRequest = { room: 'salle', tab: 'i', name: 'Ada', token: 't', development: false };
const BY_LINK: TokenRequest = { ...BY_TOKEN, token: undefined };

const light = () => ({ stop: vi.fn() });
const open = (microphone = light(), camera = light()) => ({
  microphone,
  camera,
  tracks: { microphone: Promise.resolve(microphone as unknown as LocalAudioTrack), camera: Promise.resolve(camera as unknown as LocalVideoTrack) } satisfies OpenTracks,
});
const NOTHING: OpenTracks = { microphone: undefined, camera: undefined };
/** Everything that waits for nothing but itself has happened. */
const settled = () => vi.advanceTimersByTimeAsync(0);

function calling() {
  const call = new Call();
  const room = engines.made.at(-1);
  if (!room) throw new Error('no engine');
  return { call, room };
}

async function inside(request = BY_TOKEN, tracks = NOTHING) {
  const { call, room } = calling();
  const joining = call.join(request, tracks);
  room.connecting.resolve(undefined);
  await settled();
  expect(call.connection.getSnapshot().phase).toBe('connected');
  return { call, room, joining };
}

beforeEach(() => {
  vi.stubGlobal('RTCPeerConnection', vi.fn());
  vi.stubGlobal('location', { origin: 'https://meet.example.org', hostname: 'meet.example.org' });
  vi.stubGlobal('navigator', { userAgent: '', onLine: true, mediaDevices: undefined });
  vi.stubGlobal('window', {});
  entered.mockReset().mockResolvedValue({ state: 'token', token: 't' });
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe('no camera and no microphone stays on', () => {
  it('when one leaves before the way in is even asked for', async () => {
    const { call, room } = calling();
    await call.leave();
    const { tracks, microphone, camera } = open();
    await call.join(BY_TOKEN, tracks);
    await settled();
    expect(call.connection.getSnapshot().phase).toBe('left');
    expect(room.connect).not.toHaveBeenCalled();
    expect(microphone.stop).toHaveBeenCalled();
    expect(camera.stop).toHaveBeenCalled();
  });

  it('when one leaves while the server is asked for a token', async () => {
    const answer = later<Entry>();
    entered.mockReturnValue(answer.promise);
    const { call, room } = calling();
    const { tracks, microphone, camera } = open();
    const joining = call.join(BY_LINK, tracks);
    await call.leave();
    await settled();
    expect(microphone.stop).toHaveBeenCalled();
    expect(camera.stop).toHaveBeenCalled();
    answer.resolve({ state: 'token', token: 't' });
    await joining;
    expect(room.connect).not.toHaveBeenCalled();
  });

  it('when one leaves while the call is being connected, whatever comes of it', async () => {
    for (const end of ['connected', 'refused'] as const) {
      const { call, room } = calling();
      const { tracks, microphone, camera } = open();
      const joining = call.join(BY_TOKEN, tracks);
      await settled();
      await call.leave();
      await settled();
      expect(microphone.stop).toHaveBeenCalled();
      expect(camera.stop).toHaveBeenCalled();
      room.disconnect.mockClear();
      if (end === 'connected') room.connecting.resolve(undefined);
      else room.connecting.reject(ConnectionError.cancelled('aborted'));
      await joining;
      expect(call.connection.getSnapshot().left).toMatchObject({ reason: 'left' });
      expect(room.disconnect).toHaveBeenCalledTimes(end === 'connected' ? 1 : 0);
      expect(room.localParticipant.publishTrack).not.toHaveBeenCalled();
    }
  });

  it('when the attempt takes too long, or fails', async () => {
    const slow = calling();
    const tooLong = open();
    void slow.call.join(BY_TOKEN, tooLong.tracks);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(slow.call.connection.getSnapshot().left).toMatchObject({ reason: 'unreachable' });
    expect(tooLong.camera.stop).toHaveBeenCalled();
    const { call, room } = calling();
    const failing = open();
    const joining = call.join(BY_TOKEN, failing.tracks);
    room.connecting.reject(ConnectionError.notAllowed('room is full', 403));
    await joining;
    await settled();
    expect(call.connection.getSnapshot().left).toMatchObject({ cause: 'full' });
    expect(failing.microphone.stop).toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('when one leaves while it is still starting or being published', async () => {
    const late = later<LocalVideoTrack>();
    const { microphone, tracks } = open();
    const { call } = await inside(BY_TOKEN, { ...tracks, camera: late.promise });
    await call.leave();
    await settled();
    expect(microphone.stop).toHaveBeenCalled();
    const camera = light();
    late.resolve(camera as unknown as LocalVideoTrack);
    await settled();
    expect(camera.stop).toHaveBeenCalled();
  });

  it('when one is thrown out while it was being switched on in the meeting; no screen either', async () => {
    const on = [(call: Call) => call.setMicrophone(true), (call: Call) => call.setCamera(true), (call: Call) => call.setShare(true)];
    for (const start of on) {
      const { call, room } = await inside();
      void start(call);
      room.tell(RoomEvent.Disconnected, DisconnectReason.PARTICIPANT_REMOVED as never);
      const track = light();
      room.opening.resolve([track]);
      await settled();
      expect(track.stop).toHaveBeenCalled();
      expect(room.localParticipant.publishTrack).not.toHaveBeenCalled();
    }
  });

  it('and a device that fails to start is told, not thrown', async () => {
    const { call, room } = await inside();
    room.opening.reject(new DOMException('', 'NotFoundError'));
    vi.stubGlobal('navigator', { userAgent: '', mediaDevices: {} });
    await call.setCamera(true);
    expect(call.notices.getSnapshot()).toMatchObject([{ kind: 'problem', problem: { device: 'camera', cause: 'missing' } }]);
    await call.leave();
  });
});

describe('a call', () => {
  it('sends nothing that one may not send, and leaves no light on for it', async () => {
    const { call, room } = calling();
    room.localParticipant.permissions = { canPublish: false, canPublishData: true, canPublishSources: [] };
    const { tracks, microphone, camera } = open();
    const joining = call.join(BY_TOKEN, tracks);
    room.connecting.resolve(undefined);
    await joining;
    await settled();
    expect(room.localParticipant.publishTrack).not.toHaveBeenCalled();
    expect(microphone.stop).toHaveBeenCalled();
    expect(camera.stop).toHaveBeenCalled();
    await call.leave();
  });

  it('is left where another tab of this browser is used instead', async () => {
    const { call, room } = await inside();
    tabs.leave?.();
    expect(call.connection.getSnapshot().left).toMatchObject({ reason: 'duplicate', wasIn: true });
    expect(room.disconnect).toHaveBeenCalled();
  });

  it('that is refused never touches the engine', async () => {
    for (const [entry, left] of [
      [{ state: 'refused', cause: 'full', detail: 'words' }, { reason: 'refused', cause: 'full', detail: undefined }],
      [{ state: 'refused', cause: 'other', detail: 'words' }, { reason: 'refused', cause: 'other', detail: 'words' }],
      [{ state: 'refused', cause: 'removed', detail: undefined }, { reason: 'removed' }],
      [{ state: 'waiting', again: 5000 }, { reason: 'refused', cause: 'other' }],
      [{ state: 'sign-in', path: '/x' }, { reason: 'refused', cause: 'other' }],
      [{ state: 'unreachable' }, { reason: 'unreachable' }],
    ] as const) {
      entered.mockResolvedValue(entry);
      const { call, room } = calling();
      await call.join(BY_LINK, NOTHING);
      expect(call.connection.getSnapshot().left).toMatchObject(left);
      expect(room.connect).not.toHaveBeenCalled();
      expect(vi.getTimerCount()).toBe(0);
    }
  });

  it('that is left knows whether others are still in it, unless it was cut off', async () => {
    for (const [people, state, alone] of [
      [1, 'connected', false],
      [0, 'connected', true],
      [0, 'reconnecting', undefined],
    ] as const) {
      const { call, room } = await inside();
      for (let n = 0; n < people; n++) room.remoteParticipants.set(n, {});
      room.tell(RoomEvent.ConnectionStateChanged, state as never);
      await call.leave();
      expect(call.connection.getSnapshot().left).toMatchObject({ reason: 'left', alone });
    }
  });

  it('connects to the server that the page came from', async () => {
    const { call, room } = await inside(BY_LINK);
    expect(room.connect).toHaveBeenCalledWith('wss://meet.example.org', 't');
    expect(call.connection.getSnapshot().access).toBe('link');
    await call.leave();
  });

  it('opens no second camera while the engine takes the first one out and puts it in again', async () => {
    const { call, room } = await inside();
    room.state = 'reconnecting';
    await call.setCamera(true);
    expect(room.localParticipant.createTracks).not.toHaveBeenCalled();
    expect(room.localParticipant.setCameraEnabled).toHaveBeenCalledWith(true);
    await call.leave();
  });

  it('says who speaks at once, and of nobody while the connection is rebuilt', async () => {
    const { call, room } = await inside();
    const speakers = () => call.people.getSnapshot().speakers;
    room.activeSpeakers = [{ identity: 'ben' }];
    room.tell('activeSpeakersChanged');
    expect(speakers()).toEqual(['ben']);
    room.tell('connectionStateChanged', 'reconnecting' as never);
    await Promise.resolve();
    expect(speakers()).toEqual([]);
    await call.leave();
    room.tell('activeSpeakersChanged');
    expect(speakers()).toEqual([]);
  });

  it('says which token opens the room now', async () => {
    const { call, room } = await inside();
    expect(call.connection.getSnapshot().token).toBe('t');
    room.engine.token = 'renewed';
    await vi.advanceTimersByTimeAsync(1000);
    expect(call.connection.getSnapshot().token).toBe('renewed');
    await call.leave();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('that was ended is ended for good where one comes by link, and may be held again where one comes with a token', async () => {
    for (const [request, reason] of [[BY_LINK, 'ended'], [BY_TOKEN, 'closed']] as const) {
      const { call, room } = await inside(request);
      room.tell(RoomEvent.Disconnected, DisconnectReason.ROOM_DELETED as never);
      expect(call.connection.getSnapshot().left).toMatchObject({ reason, wasIn: true });
    }
  });
});
