/**
 * The meeting with made-up people, for looking at it without a server. Served by `npm run dev` at
 * `/dev/harness.html` and absent from the build.
 *
 * Query: `people` (how many), `video` (how many of them have a camera), `share=1`, `chat` (messages),
 * `phase`, `left` (a reason) with `cause` and `detail`, `returning` (`restart`, `lost`), `starting=1`, `access=token`, `sound=0`, `notice=1`, `problem` (a cause), `weak=1`, `silent=1`, `role` (of oneself: `host`, `listener`).
 */
import { createRoot } from 'react-dom/client';
import '../src/styles/layers.css';
import '../src/styles/fonts.css';
import '../src/styles/tokens.css';
import '../src/styles/base.css';
import '../src/styles/shared.css';
import type { ReturningSnapshot } from '../src/call/returning';
import { Store } from '../src/call/store';
import { CallScreen } from '../src/ui/join/call-screen';
import { ReturningScreen } from '../src/ui/left/returning-screen';
import { loadLanguage } from '../src/i18n';
import { apply, prefs } from '../src/prefs';
import { FakeCall } from './fake-call';

apply();
await loadLanguage(prefs.getSnapshot().language);

const query = new URLSearchParams(location.search);
const call = new FakeCall(query);
const way = new Store<ReturningSnapshot>({ restart: query.get('returning') === 'restart', trying: false, nextAt: Date.now() + 7_500 });
const root = document.getElementById('root');
if (root && query.has('returning')) {
  createRoot(root).render(<ReturningScreen way={Object.assign(way, { tryNow: () => way.patch({ trying: true }) })} room="bkdt-wqmp-hza" onLeave={() => location.reload()} />);
} else if (root) {
  createRoot(root).render(<CallScreen call={call} room="bkdt-wqmp-hza" onRoom={() => undefined} onRejoin={() => location.reload()} />);
}
