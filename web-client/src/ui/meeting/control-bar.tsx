import { ChevronUp, LoaderCircle, MessageSquare, Mic, MicOff, MonitorUp, MonitorX, PhoneOff, Users, Video as Camera, VideoOff } from 'lucide-react';
import type { ReactNode } from 'react';
import { canChooseSpeaker, canShareScreen } from '../../call/devices';
import type { CallView } from '../../call/types';
import type { StageModel } from '../../layout/stage-model';
import { DeviceSelect, SpeakerTest } from '../parts/device-select';
import { LevelMeter } from '../parts/level-meter';
import { Popover } from '../parts/popover';
import { usePlural, useT } from '../prefs';
import { useStore } from '../use-store';
import { Clock } from './clock';
import type { PanelName } from './meeting';
import { MoreMenu } from './more-menu';
import './control-bar.css';

interface Props {
  call: CallView;
  model: StageModel;
  room: string;
  panel: PanelName | undefined;
  onPanel: (panel: PanelName) => void;
  onDialog: (dialog: 'settings' | 'shortcuts') => void;
}

/** The controls at the foot of the meeting. */
export function ControlBar({ call, model, room, panel, onPanel, onDialog }: Props) {
  const t = useT();
  const plural = usePlural();
  const sending = useStore(call.devices, (devices) => devices.sending);
  const people = useStore(call.people, ({ list }) => list.length);
  const unread = useStore(call.chat, (chat) => chat.unread.length);
  const chatLabel = unread > 0 ? t(`control.chatUnread.${plural(unread)}`, { count: unread }) : t('control.chat');

  return (
    <footer className="bar" id="controls" tabIndex={-1} aria-label={t('meeting.controls')}>
      <div className="bar-side">
        <Clock />
        <span className="bar-code">{room}</span>
      </div>
      <div className="bar-main" role="toolbar" aria-label={t('meeting.controls')}>
        <div className="split" data-on={sending.microphone}>
          <Round
            testId="toggle-mic"
            label={t(sending.microphone ? 'control.mute' : sending.microphoneBusy ? 'control.microphoneStarting' : 'control.unmute')}
            keys="Control+D"
            on={sending.microphone}
            busy={sending.microphoneBusy}
            icon={sending.microphone ? <Mic size={22} aria-hidden /> : <MicOff size={22} aria-hidden />}
            onClick={() => void call.setMicrophone(!sending.microphone)}
          />
          <Popover className="split-more" label={t('control.microphoneMenu')} icon={<ChevronUp size={16} aria-hidden />}>
            {() => <SoundMenu call={call} />}
          </Popover>
        </div>
        <div className="split" data-on={sending.camera}>
          <Round
            testId="toggle-camera"
            label={t(sending.camera ? 'control.cameraOff' : sending.cameraBusy ? 'pre.cameraStarting' : 'control.cameraOn')}
            keys="Control+E"
            on={sending.camera}
            busy={sending.cameraBusy}
            icon={sending.camera ? <Camera size={22} aria-hidden /> : <VideoOff size={22} aria-hidden />}
            onClick={() => void call.setCamera(!sending.camera)}
          />
          <Popover className="split-more" label={t('control.cameraMenu')} icon={<ChevronUp size={16} aria-hidden />}>
            {() => (
              <div className="menu-group">
                <span className="field-label">{t('device.camera')}</span>
                <DeviceSelect kind="videoinput" chooser={call} />
              </div>
            )}
          </Popover>
        </div>
        {canShareScreen() && (
          <Round
            testId="toggle-share"
            label={t(sending.share ? 'control.stopShare' : 'control.share')}
            pressed={sending.share}
            busy={sending.shareBusy}
            icon={sending.share ? <MonitorX size={22} aria-hidden /> : <MonitorUp size={22} aria-hidden />}
            onClick={() => void call.setShare(!sending.share)}
          />
        )}
        <Round testId="toggle-chat" label={chatLabel} keys="C" pressed={panel === 'chat'} icon={<MessageSquare size={22} aria-hidden />} badge={unread} onClick={() => onPanel('chat')} />
        <Round
          testId="toggle-people"
          label={people > 1 ? `${t('control.people')} (${String(people)})` : t('control.people')}
          keys="P"
          pressed={panel === 'people'}
          icon={<Users size={22} aria-hidden />}
          count={people}
          onClick={() => onPanel('people')}
        />
        <MoreMenu model={model} onDialog={onDialog} />
        <button type="button" className="round round--leave" data-testid="leave" aria-label={t('control.leaveMeeting')} title={t('control.leaveMeeting')} onClick={() => void call.leave()}>
          <PhoneOff size={22} aria-hidden />
          <span>{t('control.leave')}</span>
        </button>
      </div>
      <div className="bar-side bar-side--end" />
    </footer>
  );
}

interface RoundProps {
  testId: string;
  label: string;
  icon: ReactNode;
  /** `aria-keyshortcuts` */
  keys?: string;
  /** For devices: off is marked. */
  on?: boolean;
  /** For panels and sharing: in use is marked. */
  pressed?: boolean;
  busy?: boolean;
  badge?: number;
  count?: number;
  onClick: () => void;
}

function Round({ testId, label, icon, keys, on, pressed, busy = false, badge = 0, count, onClick }: RoundProps) {
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
      onClick={busy ? undefined : onClick}
    >
      {busy ? <LoaderCircle size={22} className="spin" aria-hidden /> : icon}
      {badge > 0 && (
        <span className="round-badge" data-text={badge > 99 ? '99+' : badge} aria-hidden="true" />
      )}
      {count !== undefined && count > 1 && (
        <span className="round-count" data-text={count} aria-hidden="true" />
      )}
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
