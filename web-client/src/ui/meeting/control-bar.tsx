import { ChevronUp, Copy, EllipsisVertical, LoaderCircle } from 'lucide-react';
import { useEffect, useRef, useState, type RefObject } from 'react';
import { canChooseSpeaker } from '../../call/devices';
import type { CallView } from '../../call/types';
import { inBar } from '../../layout/bar';
import type { StageModel } from '../../layout/stage-model';
import { DeviceSelect, SpeakerTest } from '../parts/device-select';
import { LevelMeter } from '../parts/level-meter';
import { Popover } from '../parts/popover';
import { Toolbar } from '../parts/toolbar';
import { useT } from '../prefs';
import { useStore } from '../use-store';
import { Clock } from './clock';
import { useItems, type DialogName, type Item } from './items';
import { ShareChip } from './share-chip';
import { keysOf, useShortcuts } from './use-shortcuts';
import type { SheetName } from './use-sheets';
import './control-bar.css';

interface Props {
  call: CallView;
  model: StageModel;
  room: string;
  sheet: SheetName | undefined;
  onSheet: (name: SheetName) => void;
  onDialog: (name: DialogName) => void;
}

/** The controls at the foot of the meeting. What there is no room for is in the menu. */
export function ControlBar({ call, room, ...wants }: Props) {
  const t = useT();
  const bar = useRef<HTMLElement>(null);
  const items = useItems({ call, ...wants });
  // The menu itself is a button too.
  const { extent, standing } = useExtent(bar);
  const fitting = inBar([...items.filter(({ place }) => place === 'bar'), { id: 'more' } as const], extent);
  const shown = items.filter((item) => fitting.includes(item));
  const rest = items.filter((item) => !fitting.includes(item));
  const link = useStore(call.connection, ({ access }) => access === 'link');

  useShortcuts((action) => items.find(({ id, busy }) => id === action && !busy)?.run());

  return (
    <footer className="bar" id="controls" ref={bar} tabIndex={-1} aria-label={t('meeting.controls')}>
      <div className="bar-side">
        <Clock />
        {link ? (
          <button type="button" className="bar-code" data-testid="invite" title={t('control.invite')} aria-label={`${t('control.invite')} (${room})`} onClick={() => wants.onDialog('invite')}>
            <span>{room}</span>
            <Copy size={14} aria-hidden />
          </button>
        ) : (
          <span className="bar-code">{room}</span>
        )}
      </div>
      <ShareChip call={call} />
      <Toolbar className="bar-main" label={t('meeting.controls')} standing={standing}>
        {shown.map((item) =>
          item.id === 'microphone' || item.id === 'camera' ? (
            <div key={item.id} className="split" data-on={item.on}>
              <Round item={item} />
              <Popover className="split-more" label={t(`control.${item.id}Menu`)} icon={<ChevronUp size={16} aria-hidden />}>
                {() => (item.id === 'microphone' ? <SoundMenu call={call} /> : <CameraMenu call={call} />)}
              </Popover>
            </div>
          ) : item.id === 'leave' ? null : (
            <Round key={item.id} item={item} />
          ),
        )}
        <Popover className="round" label={t('control.more')} icon={<EllipsisVertical size={22} aria-hidden />} align="end" menu testId="more">
          {(close) => rest.map((item) => <Entry key={item.id} item={item} onDone={close} />)}
        </Popover>
        {shown.map((item) => item.id === 'leave' && <Leave key={item.id} item={item} />)}
      </Toolbar>
      <div className="bar-side bar-side--end" />
    </footer>
  );
}

/** How long an element is, in pixels of letters of the usual size: larger ones need more room. As wide as the window until it is known; standing where it is higher than wide. */
function useExtent(element: RefObject<HTMLElement | null>): { readonly extent: number; readonly standing: boolean } {
  const [size, setSize] = useState({ extent: window.innerWidth, standing: false });
  useEffect(() => {
    const box = element.current;
    if (!box) return;
    const observer = new ResizeObserver(() => {
      const extent = Math.max(box.clientWidth, box.clientHeight) / lettersBy();
      const standing = box.clientHeight > box.clientWidth;
      setSize((before) => (before.extent === extent && before.standing === standing ? before : { extent, standing }));
    });
    observer.observe(box);
    return () => observer.disconnect();
  }, [element]);
  return size;
}

/** How many times as large as usual letters are. */
function lettersBy(): number {
  return (parseFloat(getComputedStyle(document.documentElement).fontSize) || 16) / 16;
}

function Round({ item }: { item: Item }) {
  const { id, label, Icon, testId, on, pressed, busy = false, badge = 0, count = 0, run } = item;
  const keys = keysOf(id);
  return (
    <button
      type="button"
      className="round"
      data-testid={testId}
      data-on={on}
      aria-pressed={pressed}
      aria-label={label}
      aria-keyshortcuts={keys}
      aria-busy={busy}
      title={keys === undefined ? label : `${label} (${keys.replace('Control', 'Ctrl')})`}
      aria-disabled={busy}
      onClick={busy ? undefined : run}
    >
      {busy ? <LoaderCircle size={22} className="spin" aria-hidden /> : <Icon size={22} aria-hidden />}
      {badge > 0 && <span className="round-badge" data-text={badge > 99 ? '99+' : badge} aria-hidden="true" />}
      {count > 1 && <span className="round-count" data-text={count} aria-hidden="true" />}
    </button>
  );
}

function Leave({ item: { label, name, Icon, testId, run } }: { item: Item }) {
  return (
    <button type="button" className="round round--leave" data-testid={testId} aria-label={label} title={label} onClick={run}>
      <Icon size={22} aria-hidden />
      <span>{name}</span>
    </button>
  );
}

function Entry({ item: { label, Icon, testId, busy = false, run }, onDone }: { item: Item; onDone: () => void }) {
  const act = (): void => {
    onDone();
    run();
  };
  return (
    <button type="button" className="menu-item" role="menuitem" tabIndex={-1} data-testid={testId} aria-disabled={busy} onClick={busy ? undefined : act}>
      <Icon size={20} aria-hidden />
      {label}
    </button>
  );
}

function SoundMenu({ call }: { call: CallView }) {
  const t = useT();
  return (
    <>
      <div className="menu-group">
        <span className="field-label">{t('device.microphone')}</span>
        <DeviceSelect kind="audioinput" chooser={call} />
        <LevelMeter track={call.microphoneTrack()} />
      </div>
      <div className="menu-group">
        <span className="field-label">{t('device.speaker')}</span>
        {canChooseSpeaker() && <DeviceSelect kind="audiooutput" chooser={call} />}
        <SpeakerTest chooser={call} />
      </div>
    </>
  );
}

function CameraMenu({ call }: { call: CallView }) {
  const t = useT();
  return (
    <div className="menu-group">
      <span className="field-label">{t('device.camera')}</span>
      <DeviceSelect kind="videoinput" chooser={call} />
    </div>
  );
}
