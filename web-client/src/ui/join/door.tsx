import { CameraOff, LoaderCircle, Mic, MicOff, Users, Video as Camera, VideoOff } from 'lucide-react';
import { useEffect, useId, useRef, useState, type SyntheticEvent } from 'react';
import { canChooseSpeaker, devices } from '../../call/devices';
import type { Preview, PreviewDevice, PreviewSnapshot } from '../../call/preview';
import type { Lookout } from '../../call/tabs';
import type { Watched } from '../../call/types';
import { DeviceSelect, SpeakerTest } from '../parts/device-select';
import { Heading } from '../parts/heading';
import { LevelMeter } from '../parts/level-meter';
import { PageHead } from '../parts/page-head';
import { Problem } from '../parts/problem';
import { Video } from '../parts/video';
import { usePlural, usePrefs, useT } from '../prefs';
import { useStore } from '../use-store';
import './door.css';

interface Props {
  preview: Preview;
  lookout: Watched<boolean> & Pick<Lookout, 'takeOver'>;
  /** How many people are there already; where one comes by link. */
  inside: Watched<number | undefined> | undefined;
  room: string;
  /** The name a token carries; it cannot be changed here. */
  fixedName: string | undefined;
  suggestedName: string | undefined;
  onJoin: (name: string) => void;
}

/** Before the meeting: how one looks and sounds, and under which name. */
export function Door({ preview, lookout, inside, room, fixedName, suggestedName, onJoin }: Props) {
  const t = useT();
  const state = useStore(preview);
  return (
    <div className="page">
      <PageHead />
      <main className="door">
        <section className="door-look" aria-label={t('pre.preview')}>
          <Mirror preview={preview} state={state} />
          <Pickers preview={preview} state={state} />
        </section>
        <section className="door-card">
          <Heading>{t('pre.title')}</Heading>
          <p className="door-code">{t('pre.meeting', { code: room })}</p>
          {inside && <Company inside={inside} />}
          <OtherTab lookout={lookout} />
          <NameForm fixedName={fixedName} suggestedName={suggestedName} onJoin={onJoin} />
          <Hints preview={preview} state={state} />
        </section>
      </main>
    </div>
  );
}

function Mirror({ preview, state }: { preview: Preview; state: PreviewSnapshot }) {
  const t = useT();
  const controls = useRef<HTMLDivElement>(null);
  const asked = useRef(false);

  useEffect(() => {
    // The question goes away once it is answered; the devices it was about are what comes next.
    if (asked.current && document.activeElement === document.body) controls.current?.querySelector('button')?.focus();
    asked.current = state.stage === 'ask';
  }, [state.stage]);

  return (
    <div className="mirror">
      {state.picture && <Video picture={state.picture} label={t('pre.preview')} />}
      {!state.picture && state.stage !== 'ask' && (
        <div className="mirror-empty">
          {state.camera.busy ? <LoaderCircle className="spin" size={28} aria-hidden /> : <CameraOff size={28} aria-hidden />}
          <p>{t(state.camera.busy ? 'pre.cameraStarting' : 'pre.cameraOff')}</p>
        </div>
      )}
      {!state.picture && state.stage === 'ask' && (
        <div className="mirror-ask">
          <p>{t('pre.ask')}</p>
          <div className="mirror-ask-actions">
            <button type="button" className="button" aria-disabled={state.camera.busy} onClick={() => void (state.camera.busy ? undefined : preview.allow())}>
              {t('pre.allow')}
            </button>
            <button type="button" className="button mirror-skip" onClick={() => preview.skip()}>
              {t('pre.without')}
            </button>
          </div>
        </div>
      )}
      <div className="mirror-controls" ref={controls}>
        <Toggle
          device={state.microphone}
          testId="prejoin-mic"
          label={t(state.microphone.on ? 'control.mute' : 'control.unmute')}
          On={Mic}
          Off={MicOff}
          onToggle={() => void preview.setMicrophone(!state.microphone.on)}
        />
        <Toggle
          device={state.camera}
          testId="prejoin-camera"
          label={t(state.camera.on ? 'control.cameraOff' : 'control.cameraOn')}
          On={Camera}
          Off={VideoOff}
          onToggle={() => void preview.setCamera(!state.camera.on)}
        />
      </div>
    </div>
  );
}

interface ToggleProps {
  device: PreviewDevice;
  testId: string;
  label: string;
  On: typeof Mic;
  Off: typeof Mic;
  onToggle: () => void;
}

function Toggle({ device, testId, label, On, Off, onToggle }: ToggleProps) {
  const Icon = device.busy ? LoaderCircle : device.on ? On : Off;
  return (
    <button
      type="button"
      className="round"
      data-testid={testId}
      data-on={device.on}
      data-problem={device.problem}
      aria-label={label}
      title={label}
      aria-busy={device.busy}
      aria-disabled={device.busy}
      onClick={device.busy ? undefined : onToggle}
    >
      <Icon size={22} className={device.busy ? 'spin' : undefined} aria-hidden />
      {device.problem && !device.busy && <span className="round-flag" aria-hidden="true" />}
    </button>
  );
}

function Pickers({ preview, state }: { preview: Preview; state: PreviewSnapshot }) {
  const { microphones, cameras, speakers } = useStore(devices);
  // Without permission the browser tells of no device at all, which must not read as "none found".
  if (state.stage !== 'ready' || microphones.length + cameras.length + speakers.length === 0) return <div className="pickers" />;
  return (
    <div className="pickers">
      <div className="picker">
        <DeviceSelect kind="audioinput" chooser={preview} />
        <LevelMeter track={state.sound} />
      </div>
      <div className="picker">
        <DeviceSelect kind="videoinput" chooser={preview} />
      </div>
      <div className="picker">
        {canChooseSpeaker() && <DeviceSelect kind="audiooutput" chooser={preview} />}
        <SpeakerTest chooser={preview} />
      </div>
    </div>
  );
}

function Hints({ preview, state }: { preview: Preview; state: PreviewSnapshot }) {
  const t = useT();
  const { microphone, camera } = state;
  if (state.stage !== 'ready') return null;
  const both = microphone.problem !== undefined && microphone.problem === camera.problem ? microphone.problem : undefined;
  return (
    <div className="door-hints">
      {both && <Problem problem={{ device: 'both', cause: both }} {...(both === 'insecure' ? {} : { onRetry: () => void preview.allow() })} />}
      {!both && microphone.problem && <Problem problem={{ device: 'microphone', cause: microphone.problem }} onRetry={() => void preview.setMicrophone(true)} />}
      {!both && camera.problem && <Problem problem={{ device: 'camera', cause: camera.problem }} onRetry={() => void preview.setCamera(true)} />}
      {!microphone.on && !camera.on && !microphone.busy && !camera.busy && !microphone.problem && !camera.problem && <p className="door-note">{t('pre.neither')}</p>}
    </div>
  );
}

/** How many are there already. The place is kept until it is known. */
function Company({ inside }: { inside: Watched<number | undefined> }) {
  const t = useT();
  const plural = usePlural();
  const people = useStore(inside);
  return (
    <p className="door-inside" role="status" data-testid="inside">
      {people !== undefined && (
        <>
          <Users size={16} aria-hidden />
          {people === 0 ? t('pre.inside.none') : t(`pre.inside.${plural(people)}`, { count: people })}
        </>
      )}
    </p>
  );
}

/** Twice in one meeting is two open microphones in one room; mostly the other tab was forgotten. */
function OtherTab({ lookout }: Pick<Props, 'lookout'>) {
  const t = useT();
  const there = useStore(lookout);
  return (
    <div role="status">
      {there && (
        <div className="door-other" data-testid="other-tab">
          <p>{t('pre.otherTab')}</p>
          <button type="button" className="button button--quiet button--small" data-testid="take-over" onClick={() => lookout.takeOver()}>
            {t('pre.takeOver')}
          </button>
        </div>
      )}
    </div>
  );
}

function NameForm({ fixedName, suggestedName, onJoin }: Pick<Props, 'fixedName' | 'suggestedName' | 'onJoin'>) {
  const t = useT();
  const kept = usePrefs().name;
  const field = useId();
  const [name, setName] = useState(fixedName ?? suggestedName ?? kept);
  const [missing, setMissing] = useState(false);

  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    const trimmed = name.trim();
    if (trimmed === '') {
      setMissing(true);
      document.getElementById(field)?.focus();
    } else {
      onJoin(trimmed);
    }
  };

  return (
    <form className="door-form" onSubmit={submit} noValidate>
      <div className="field">
        <label htmlFor={field}>{t('pre.name')}</label>
        <input
          id={field}
          className="input"
          data-testid="name-input"
          value={name}
          readOnly={fixedName !== undefined}
          placeholder={t('pre.nameHint')}
          maxLength={80}
          autoComplete="name"
          aria-invalid={missing}
          aria-describedby={missing ? `${field}-error` : undefined}
          onChange={(event) => {
            setName(event.target.value);
            setMissing(false);
          }}
        />
        <p className="field-error" id={`${field}-error`} role="alert" hidden={!missing}>
          {t('pre.nameMissing')}
        </p>
      </div>
      <button type="submit" className="button button--large" data-testid="join-button">
        {t('pre.join')}
      </button>
    </form>
  );
}
