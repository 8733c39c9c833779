/**
 * The meeting with made-up people, for looking at it without a server. Served by `npm run dev` at
 * `/dev/harness.html` and absent from the build.
 *
 * Query: `people` (how many), `video` (how many of them have a camera), `share=1`, `chat` (messages),
 * `phase`, `left` (a reason), `sound=0`, `notice=1`, `problem` (a cause), `weak=1`, `silent=1`.
 */
import { createRoot } from 'react-dom/client';
import '../src/styles/layers.css';
import '../src/styles/fonts.css';
import '../src/styles/tokens.css';
import '../src/styles/base.css';
import '../src/styles/shared.css';
import { CallScreen } from '../src/ui/join/call-screen';
import { apply } from '../src/ui/prefs';
import { FakeCall } from './fake-call';

apply();

const call = new FakeCall(new URLSearchParams(location.search));
const root = document.getElementById('root');
if (root) createRoot(root).render(<CallScreen call={call} room="bkdt-wqmp-hza" onRejoin={() => location.reload()} />);
