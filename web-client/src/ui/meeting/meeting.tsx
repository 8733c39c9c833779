import { useEffect, useRef, useState } from 'react';
import type { CallView } from '../../call/types';
import { Heading } from '../parts/heading';
import { useT } from '../prefs';
import { useStore } from '../use-store';
import { Banners } from './banners';
import { ChatPanel } from './chat-panel';
import { ControlBar } from './control-bar';
import { Pager } from './pager';
import { PeoplePanel } from './people-panel';
import { ReadyCard } from './ready-card';
import { SettingsDialog } from './settings-dialog';
import { ShortcutsDialog } from './shortcuts-dialog';
import { Stage } from './stage';
import { Toasts } from './toasts';
import { useEscape, useShortcuts } from './use-shortcuts';
import { useStage } from './use-stage';
import './meeting.css';

/** The side panel that is open. */
export type PanelName = 'chat' | 'people';

/** The meeting itself. What it is made of follows the call by itself: here is only what is open. */
export function Meeting({ call, room }: { call: CallView; room: string }) {
  const t = useT();
  const box = useRef<HTMLDivElement>(null);
  const model = useStage(call, box);
  const phase = useStore(call.connection, (connection) => connection.phase);
  const mode = useStore(model, (stage) => stage.mode);
  const [panel, setPanel] = useState<PanelName>();
  const [dialog, setDialog] = useState<'settings' | 'shortcuts'>();
  const closePanel = () => {
    setPanel(undefined);
    // Back to the button that opens it, whatever did.
    if (panel) document.querySelector<HTMLElement>(`[data-testid="toggle-${panel}"]`)?.focus({ preventScroll: true });
  };
  const toggle = (name: PanelName) => (panel === name ? closePanel() : setPanel(name));

  useEffect(() => {
    call.showChat(panel === 'chat');
    return () => call.showChat(false);
  }, [call, panel]);

  useEscape(panel !== undefined, closePanel);

  useShortcuts({
    microphone: () => void call.setMicrophone(!call.devices.getSnapshot().sending.microphone),
    camera: () => void call.setCamera(!call.devices.getSnapshot().sending.camera),
    chat: () => toggle('chat'),
    people: () => toggle('people'),
    help: () => setDialog('shortcuts'),
  });

  return (
    <div
      className="meeting"
      data-testid="meeting"
      // Tests and stylesheets need only know whether it works; the phase says more.
      data-connection-state={phase === 'resuming' ? 'reconnecting' : phase}
      data-phase={phase}
      data-layout={mode}
    >
      <a className="skip-link" href="#controls">
        {t('meeting.skip')}
      </a>
      <main className="stage">
        <Heading className="sr-only">{t('meeting.title', { code: room })}</Heading>
        <div className="stage-box" ref={box}>
          <Stage call={call} model={model} />
        </div>
        <div className="messages">
          <Banners call={call} />
          <Toasts call={call} onOpenChat={() => setPanel('chat')} />
        </div>
        <ReadyCard call={call} room={room} />
      </main>
      {panel === 'chat' && <ChatPanel call={call} onClose={closePanel} />}
      {panel === 'people' && <PeoplePanel call={call} model={model} onClose={closePanel} />}
      <Pager model={model} />
      <ControlBar call={call} model={model} room={room} panel={panel} onPanel={toggle} onDialog={setDialog} />
      {dialog === 'settings' && <SettingsDialog call={call} onClose={() => setDialog(undefined)} />}
      {dialog === 'shortcuts' && <ShortcutsDialog onClose={() => setDialog(undefined)} />}
    </div>
  );
}
