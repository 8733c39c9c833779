import { useCallback, useEffect, useRef, useState } from 'react';
import type { CallView } from '../../call/types';
import { Heading } from '../parts/heading';
import { useT } from '../prefs';
import { useStore } from '../use-store';
import { ChatPanel } from './chat-panel';
import { ControlBar } from './control-bar';
import { InviteDialog } from './invite';
import type { DialogName } from './items';
import { Notices } from './notices';
import { Pager } from './pager';
import { PeoplePanel } from './people-panel';
import { ReadyCard } from './ready-card';
import { SettingsDialog } from './settings-dialog';
import { ShortcutsDialog } from './shortcuts-dialog';
import { Stage } from './stage';
import { useEscape } from './use-shortcuts';
import { useSheets } from './use-sheets';
import { useTab } from './use-tab';
import { useStage } from './use-stage';
import './meeting.css';

/** The meeting itself. What it is made of follows the call by itself: here is only what is open. */
export function Meeting({ call, room }: { call: CallView; room: string }) {
  const t = useT();
  const box = useRef<HTMLDivElement>(null);
  const model = useStage(call, box);
  const phase = useStore(call.connection, (connection) => connection.phase);
  const mode = useStore(model, (stage) => stage.mode);
  const sheets = useSheets();
  const [dialog, setDialog] = useState<DialogName>();
  const { open, kept, show, toggle, close } = sheets;
  const openChat = useCallback(() => show('chat'), [show]);
  const closeDialog = () => setDialog(undefined);

  useEffect(() => {
    call.showChat(open === 'chat');
    return () => call.showChat(false);
  }, [call, open]);

  useEscape(open !== undefined, close);

  return (
    <div
      className="meeting"
      data-testid="meeting"
      // Tests and stylesheets need only know whether it works; the phase says more.
      data-connection-state={phase === 'resuming' ? 'reconnecting' : phase}
      data-phase={phase}
      data-layout={mode}
    >
      <Tab call={call} room={room} />
      <a className="skip-link" href="#controls">
        {t('meeting.skip')}
      </a>
      <main className="stage">
        <Heading className="sr-only">{t('meeting.title', { code: room })}</Heading>
        <div className="stage-box" ref={box}>
          <Stage call={call} model={model} />
        </div>
        <ReadyCard call={call} room={room} />
      </main>
      {open === 'chat' && <ChatPanel call={call} kept={kept.chat} onClose={close} />}
      {open === 'people' && <PeoplePanel call={call} model={model} kept={kept.people} onClose={close} />}
      <Notices call={call} onOpenChat={openChat} />
      <Pager model={model} />
      <ControlBar call={call} model={model} room={room} sheet={open} onSheet={toggle} onDialog={setDialog} />
      {dialog === 'settings' && <SettingsDialog call={call} onClose={closeDialog} />}
      {dialog === 'shortcuts' && <ShortcutsDialog onClose={closeDialog} />}
      {dialog === 'invite' && <InviteDialog room={room} onClose={closeDialog} />}
    </div>
  );
}

/** Draws nothing: what the tab says changes nothing of the meeting. */
function Tab({ call, room }: { call: CallView; room: string }) {
  useTab(call, room);
  return null;
}
