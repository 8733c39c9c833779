import { devices } from '../src/call/devices';
import { Store } from '../src/call/store';
import type { Preview, PreviewDevice, PreviewSnapshot } from '../src/call/preview';
import type { DeviceCause } from '../src/call/types';
import { picture } from './fake-call';

const done = (): Promise<void> => Promise.resolve();

/** A look at oneself that opens no device. Query: `problem` (a cause, of both devices), `starting=1`, `ask=1`. */
export function fakePreview(query: URLSearchParams): Preview {
  const problem = (query.get('problem') ?? undefined) as DeviceCause | undefined;
  const busy = query.get('starting') === '1';
  const ask = query.get('ask') === '1';
  const device: PreviewDevice = { on: !problem && !busy && !ask, busy, problem };
  devices.patch({
    microphones: [{ id: 'a', label: 'Built-in Audio Analogue Stereo' }],
    cameras: [{ id: 'b', label: 'Integrated Camera: Integrated C (13d3:5419)' }],
    speakers: [{ id: 'c', label: 'Headphones' }],
  });
  const shown = device.on ? picture(0, true) : undefined;
  const state: PreviewSnapshot = { stage: ask ? 'ask' : 'ready', microphone: device, camera: device, picture: shown, sound: undefined };
  const verbs = { setMicrophone: done, setCamera: done, allow: done, skip: () => undefined, chooseDevice: done, activeDevice: () => '' };
  return Object.assign(new Store(state), verbs) as unknown as Preview;
}
