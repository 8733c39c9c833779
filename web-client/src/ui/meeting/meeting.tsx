import { useRef, useState } from 'react';
import type { CallSnapshot, CallView } from '../../call/types';
import { Heading } from '../parts/heading';
import { useT } from '../prefs';
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
import { useUnread } from './use-unread';
import './meeting.css';

/** The side panel that is open. */
export type PanelName = 'chat' | 'people';

/** The meeting itself. */
export function Meeting({ call, state, room }: { call: CallView; state: CallSnapshot; room: string }) {
  const t = useT();
  const box = useRef<HTMLDivElement>(null);
  const [model, stage] = useStage(state, box);
  const [panel, setPanel] = useState<PanelName>();
  const [dialog, setDialog] = useState<'settings' | 'shortcuts'>();
  const [readyClosed, setReadyClosed] = useState(false);
  const unread = useUnread(state.chat, panel === 'chat');
  const closePanel = () => {
    setPanel(undefined);
    // Back to the button that opens it, whatever did.
    if (panel) document.querySelector<HTMLElement>(`[data-testid="toggle-${panel}"]`)?.focus({ preventScroll: true });
  };
  const toggle = (name: PanelName) => (panel === name ? closePanel() : setPanel(name));

  useEscape(panel !== undefined, closePanel);

  useShortcuts({
    microphone: () => void call.setMicrophone(!state.sending.microphone),
    camera: () => void call.setCamera(!state.sending.camera),
    chat: () => toggle('chat'),
    people: () => toggle('people'),
    help: () => setDialog('shortcuts'),
  });

  return (
    <div
      className="meeting"
      data-testid="meeting"
      // Tests and stylesheets need only know whether it works; the phase says more.
      data-connection-state={state.phase === 'resuming' ? 'reconnecting' : state.phase}
      data-phase={state.phase}
      data-layout={stage.layout.mode}
    >
      <a className="skip-link" href="#controls">
        {t('meeting.skip')}
      </a>
      <main className="stage">
        <Heading className="sr-only">{t('meeting.title', { code: room })}</Heading>
        <div className="stage-box" ref={box}>
          <Stage call={call} state={state} model={model} stage={stage} />
        </div>
        <div className="messages">
          <Banners call={call} state={state} />
          <Toasts call={call} state={state} unread={unread} onOpenChat={() => setPanel('chat')} />
        </div>
        {state.people.length === 1 && state.access === 'link' && !readyClosed && state.phase === 'connected' && <ReadyCard room={room} onClose={() => setReadyClosed(true)} />}
      </main>
      {panel === 'chat' && <ChatPanel call={call} chat={state.chat} draft={state.draft} onClose={closePanel} />}
      {panel === 'people' && <PeoplePanel people={state.people} pins={stage.pins} onPin={(id) => model.togglePin(id)} onClose={closePanel} />}
      {stage.layout.pages > 1 && <Pager page={stage.layout.page} pages={stage.layout.pages} onPage={(page) => model.setPage(page)} />}
      <ControlBar
        call={call}
        state={state}
        room={room}
        panel={panel}
        unread={unread.length}
        view={stage.view}
        onPanel={toggle}
        onView={(view) => model.setView(view)}
        onDialog={setDialog}
      />
      {dialog === 'settings' && <SettingsDialog call={call} onClose={() => setDialog(undefined)} />}
      {dialog === 'shortcuts' && <ShortcutsDialog onClose={() => setDialog(undefined)} />}
    </div>
  );
}
