import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Preview } from './preview';

const opening = vi.hoisted(() => ({ audio: vi.fn<() => Promise<unknown>>(), video: vi.fn<() => Promise<unknown>>(), both: vi.fn<() => Promise<unknown[]>>() }));

vi.mock('livekit-client', async (original) => ({
  ...(await original<object>()),
  createLocalAudioTrack: opening.audio,
  createLocalVideoTrack: opening.video,
  createLocalTracks: opening.both,
}));

const track = () => ({ stop: vi.fn(), mediaStreamTrack: { id: 'x', getSettings: () => ({}) } });
const settled = () => vi.advanceTimersByTimeAsync(0);

describe('the preview', () => {
  let states: Record<string, PermissionState>;
  let listeners: Map<string, () => void>;

  beforeEach(() => {
    vi.useFakeTimers();
    states = { microphone: 'granted', camera: 'granted' };
    listeners = new Map();
    const query = ({ name }: { name: string }) =>
      Promise.resolve({
        get state() {
          return states[name];
        },
        addEventListener: (_: string, tell: () => void) => listeners.set(name, tell),
        removeEventListener: () => listeners.delete(name),
      });
    vi.stubGlobal('navigator', { permissions: { query }, mediaDevices: { enumerateDevices: () => Promise.resolve([]) } });
    opening.audio.mockReset().mockImplementation(() => Promise.resolve(track()));
    opening.video.mockReset().mockImplementation(() => Promise.resolve(track()));
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  const becomes = async (device: string, state: PermissionState) => {
    states[device] = state;
    listeners.get(device)?.();
    await settled();
  };

  it('opens what is allowed, and asks where nothing is', async () => {
    const preview = new Preview();
    await preview.start();
    expect(preview.getSnapshot()).toMatchObject({ stage: 'ready', microphone: { on: true }, camera: { on: true } });
    states = { microphone: 'prompt', camera: 'prompt' };
    const asking = new Preview();
    await asking.start();
    expect(asking.getSnapshot().stage).toBe('ask');
  });

  it('opens what was blocked once it is allowed in the browser’s own window', async () => {
    states.camera = 'denied';
    const preview = new Preview();
    await preview.start();
    expect(preview.getSnapshot().camera).toEqual({ on: false, busy: false, problem: 'browser-denied' });
    await becomes('camera', 'granted');
    expect(preview.getSnapshot().camera).toEqual({ on: true, busy: false, problem: undefined });
  });

  it('takes back the card where the browser would ask again, and says it where permission is taken', async () => {
    states.camera = 'denied';
    const preview = new Preview();
    await preview.start();
    await becomes('camera', 'prompt');
    expect(preview.getSnapshot().camera.problem).toBeUndefined();
    await becomes('camera', 'denied');
    expect(preview.getSnapshot().camera.problem).toBe('browser-denied');
  });

  it('does not open what somebody switched off, nor anything once it is handed over', async () => {
    const preview = new Preview();
    await preview.start();
    await preview.setCamera(false);
    await becomes('camera', 'granted');
    expect(preview.getSnapshot().camera.on).toBe(false);
    const tracks = preview.take();
    await settled();
    expect(tracks.camera).toBeUndefined();
    expect(listeners.size).toBe(0);
    expect(opening.video).toHaveBeenCalledTimes(1);
  });

  it('turns off what still starts when it is closed', async () => {
    let opened: (value: unknown) => void = () => undefined;
    opening.video.mockImplementation(() => new Promise((resolve) => (opened = resolve)));
    const preview = new Preview();
    void preview.start();
    await settled();
    preview.close();
    const late = track();
    opened(late);
    await settled();
    expect(late.stop).toHaveBeenCalled();
  });
});
