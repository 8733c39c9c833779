/**
 * The screens with made-up people, for looking at them without a server. Served by `npm run dev` at `/dev/harness.html`, and
 * built by tests that look at them; absent from the build.
 *
 * Query: `screen` (`home`, `door`; a call where it is left out), `people` (how many), `video` (how many of them have a
 * camera), `share=1`, `own=1` (one shares oneself), `chat` (messages), `phase`, `left` (a reason) with `cause` and `detail`,
 * `returning` (`restart`, `lost`), `starting=1`, `ask=1`, `access=token`, `sound=0`, `notice=1`, `problem` (a cause), `weak=1`,
 * `silent=1`, `role` (of oneself: `host`, `listener`).
 */
import type { ReactNode } from 'react';
import { createRoot } from 'react-dom/client';
import '../src/styles/shared.css';
import type { ReturningSnapshot } from '../src/call/returning';
import { settings } from '../src/call/server';
import { Store } from '../src/call/store';
import { loadLanguage } from '../src/i18n';
import { apply, prefs, setLanguage, setPref } from '../src/prefs';
import { Home } from '../src/ui/home/home';
import { CallScreen } from '../src/ui/join/call-screen';
import { Door } from '../src/ui/join/door';
import { ReturningScreen } from '../src/ui/left/returning-screen';
import { FakeCall } from './fake-call';
import { fakePreview } from './fake-preview';

const ROOM = 'bkdt-wqmp-hza';

apply();
await loadLanguage(prefs.getSnapshot().language);

const query = new URLSearchParams(location.search);
const nothing = (): void => undefined;

function screen(): ReactNode {
  if (query.get('screen') === 'home') {
    settings.set({ start: 'anyone', join: 'link', development: false });
    return <Home first wrong={undefined} />;
  }
  if (query.get('screen') === 'door') {
    const lookout = Object.assign(new Store(query.has('other')), { takeOver: nothing });
    return <Door preview={fakePreview(query)} lookout={lookout} inside={new Store<number | undefined>(3)} room={ROOM} fixedName={undefined} suggestedName="Élodie Marchand" onJoin={nothing} />;
  }
  if (query.has('returning')) {
    const way = new Store<ReturningSnapshot>({ restart: query.get('returning') === 'restart', trying: false, nextAt: Date.now() + 7_500 });
    return <ReturningScreen way={Object.assign(way, { tryNow: () => way.patch({ trying: true }) })} room={ROOM} onLeave={() => location.reload()} />;
  }
  return <CallScreen call={new FakeCall(query)} room={ROOM} onRoom={nothing} onRejoin={() => location.reload()} />;
}

// For who looks at one screen in every language and appearance.
Object.assign(window, { __set: { language: setLanguage, theme: (theme: 'light' | 'dark') => setPref('theme', theme) } });

const root = document.getElementById('root');
if (root) createRoot(root).render(screen());
