import { ChevronDown, Mic, Video as Camera, Volume2 } from 'lucide-react';
import { useState } from 'react';
import { devices, type Device } from '../../call/devices';
import { playTestSound } from '../../call/meter';
import { useT } from '../prefs';
import { useStore } from '../use-store';

const ICONS = { audioinput: Mic, videoinput: Camera, audiooutput: Volume2 };
const LABELS = { audioinput: 'device.microphone', videoinput: 'device.camera', audiooutput: 'device.speaker' } as const;
const LISTS = { audioinput: 'microphones', videoinput: 'cameras', audiooutput: 'speakers' } as const;

/** What chooses and knows devices: the preview before a meeting, the call in it. */
export interface DeviceChooser {
  chooseDevice(kind: MediaDeviceKind, id: string): Promise<void>;
  activeDevice(kind: MediaDeviceKind): string;
}

/** Picks one of the devices plugged in. */
export function DeviceSelect({ kind, chooser, onChosen }: { kind: MediaDeviceKind; chooser: DeviceChooser; onChosen?: () => void }) {
  const t = useT();
  const list: readonly Device[] = useStore(devices)[LISTS[kind]];
  const [chosen, setChosen] = useState<string>();
  const active = chosen ?? chooser.activeDevice(kind);
  const Icon = ICONS[kind];

  return (
    <div className="select">
      <Icon size={16} aria-hidden />
      <select
        aria-label={t(LABELS[kind])}
        disabled={list.length === 0}
        value={list.some((device) => device.id === active) ? active : (list[0]?.id ?? '')}
        onChange={(event) => {
          setChosen(event.target.value);
          void chooser.chooseDevice(kind, event.target.value).then(onChosen);
        }}
      >
        {list.length === 0 && <option value="">{kind === 'audiooutput' ? t('device.default') : t('device.none')}</option>}
        {list.map((device, index) => (
          <option key={device.id} value={device.id}>
            {device.label || t('device.unnamed', { number: index + 1 })}
          </option>
        ))}
      </select>
      <ChevronDown size={16} aria-hidden />
    </div>
  );
}

/** Plays a sound on the chosen speaker. */
export function SpeakerTest({ chooser }: { chooser: DeviceChooser }) {
  const t = useT();
  const [playing, setPlaying] = useState(false);
  return (
    <button
      type="button"
      className="button button--text button--small"
      aria-disabled={playing}
      onClick={() => {
        if (playing) return;
        setPlaying(true);
        void playTestSound(chooser.activeDevice('audiooutput') || undefined).finally(() => setPlaying(false));
      }}
    >
      {t(playing ? 'device.testing' : 'device.test')}
    </button>
  );
}
