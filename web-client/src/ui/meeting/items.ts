import { Keyboard, LayoutGrid, Link, Maximize, MessageSquare, Mic, MicOff, Minimize, MonitorUp, MonitorX, PanelTop, PhoneOff, Settings, Users, Video, VideoOff, type LucideIcon } from 'lucide-react';
import { useSyncExternalStore } from 'react';
import { canShareScreen } from '../../call/devices';
import type { CallView, Can } from '../../call/types';
import type { BarItem } from '../../layout/bar';
import type { StageModel } from '../../layout/stage-model';
import { usePlural, useT } from '../prefs';
import { useStore } from '../use-store';
import type { SheetName } from './use-sheets';

/** What opens over the meeting. */
export type DialogName = 'settings' | 'shortcuts' | 'invite';

/** Something one can do in a meeting. The bar, the menu at its end and the keys all take it from here. */
export interface Item extends BarItem {
  readonly id: 'microphone' | 'camera' | 'share' | 'chat' | 'people' | 'leave' | 'view' | 'fullscreen' | 'invite' | 'settings' | 'help';
  readonly place: 'bar' | 'menu';
  readonly label: string;
  /** Short, for beside the icon. */
  readonly name?: string;
  readonly Icon: LucideIcon;
  readonly testId?: string;
  /** Of a device: off is marked. */
  readonly on?: boolean;
  /** Of what is open or in use: that is marked. */
  readonly pressed?: boolean;
  readonly busy?: boolean;
  readonly badge?: number;
  readonly count?: number;
  readonly run: () => void;
}

interface Wants {
  readonly call: CallView;
  readonly model: StageModel;
  readonly sheet: SheetName | undefined;
  readonly onSheet: (name: SheetName) => void;
  readonly onDialog: (name: DialogName) => void;
}

const EVERYTHING: Can = { microphone: true, camera: true, share: true, chat: true, pin: true };

/** What one can do now, in order. What one may not is absent. */
export function useItems({ call, model, sheet, onSheet, onDialog }: Wants): readonly Item[] {
  const t = useT();
  const plural = usePlural();
  const sending = useStore(call.sending);
  const people = useStore(call.people, ({ list }) => list.length);
  const can = useStore(call.people, ({ list }) => list[0]?.can ?? EVERYTHING);
  const unread = useStore(call.chat, (chat) => chat.unread.length);
  const view = useStore(model, (stage) => stage.view);
  const link = useStore(call.connection, ({ access }) => access === 'link');
  const full = useSyncExternalStore(followFullscreen, () => Boolean(document.fullscreenElement));

  const items: (Item | false | undefined)[] = [
    can.microphone && {
      id: 'microphone',
      place: 'bar',
      split: true,
      testId: 'toggle-mic',
      label: t(sending.microphone ? 'control.mute' : sending.microphoneBusy ? 'control.microphoneStarting' : 'control.unmute'),
      Icon: sending.microphone ? Mic : MicOff,
      on: sending.microphone,
      busy: sending.microphoneBusy,
      run: () => void call.setMicrophone(!sending.microphone),
    },
    can.camera && {
      id: 'camera',
      place: 'bar',
      split: true,
      testId: 'toggle-camera',
      label: t(sending.camera ? 'control.cameraOff' : sending.cameraBusy ? 'pre.cameraStarting' : 'control.cameraOn'),
      Icon: sending.camera ? Video : VideoOff,
      on: sending.camera,
      busy: sending.cameraBusy,
      run: () => void call.setCamera(!sending.camera),
    },
    can.share &&
      canShareScreen() && {
        id: 'share',
        place: 'bar',
        rank: 1,
        testId: 'toggle-share',
        label: t(sending.share ? 'control.stopShare' : 'control.share'),
        Icon: sending.share ? MonitorX : MonitorUp,
        pressed: sending.share,
        busy: sending.shareBusy,
        run: () => void call.setShare(!sending.share),
      },
    {
      id: 'chat',
      place: 'bar',
      rank: 3,
      testId: 'toggle-chat',
      label: unread > 0 ? t(`control.chatUnread.${plural(unread)}`, { count: unread }) : t('control.chat'),
      Icon: MessageSquare,
      pressed: sheet === 'chat',
      badge: unread,
      run: () => onSheet('chat'),
    },
    {
      id: 'people',
      place: 'bar',
      rank: 2,
      testId: 'toggle-people',
      label: people > 1 ? `${t('control.people')} (${String(people)})` : t('control.people'),
      Icon: Users,
      pressed: sheet === 'people',
      count: people,
      run: () => onSheet('people'),
    },
    { id: 'leave', place: 'bar', wide: true, testId: 'leave', label: t('control.leaveMeeting'), name: t('control.leave'), Icon: PhoneOff, run: () => void call.leave() },
    view === 'grid'
      ? { id: 'view', place: 'menu', label: t('control.speakerView'), Icon: PanelTop, run: () => model.setView('speaker') }
      : { id: 'view', place: 'menu', label: t('control.gridView'), Icon: LayoutGrid, run: () => model.setView('grid') },
    document.fullscreenEnabled && {
      id: 'fullscreen',
      place: 'menu',
      label: t(full ? 'control.exitFullscreen' : 'control.fullscreen'),
      Icon: full ? Minimize : Maximize,
      run: () => void (full ? document.exitFullscreen() : document.documentElement.requestFullscreen()),
    },
    link && { id: 'invite', place: 'menu', label: t('control.invite'), Icon: Link, run: () => onDialog('invite') },
    { id: 'settings', place: 'menu', label: t('control.settings'), Icon: Settings, run: () => onDialog('settings') },
    { id: 'help', place: 'menu', label: t('control.shortcuts'), Icon: Keyboard, run: () => onDialog('shortcuts') },
  ];
  return items.filter((item): item is Item => Boolean(item));
}

function followFullscreen(listener: () => void): () => void {
  document.addEventListener('fullscreenchange', listener);
  return () => document.removeEventListener('fullscreenchange', listener);
}
