import axe from 'axe-core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { calling, click, doing, draw, the, windowOf } from '../../test/dom';
import type { PreviewSnapshot } from '../call/preview';
import { settings, type SettingsSnapshot } from '../call/server';
import { Store } from '../call/store';
import type { LeaveReason, RefusedCause } from '../call/types';
import { languages } from '../i18n';
import { setLanguage } from '../prefs';
import { Home } from './home/home';
import { CallScreen } from './join/call-screen';
import { Door } from './join/door';
import { loadLater } from './join/later';
import { LeftScreen } from './left/left-screen';
import { ReturningScreen } from './left/returning-screen';

vi.mock('../call/devices', async (original) => ({ ...(await original<object>()), canShareScreen: () => true }));
vi.mock('./parts/level-meter', () => ({ LevelMeter: () => null }));

/** What no document without layout can tell is left to the pictures and to browsers. */
const OPTIONS: axe.RunOptions = {
  runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
  rules: { 'color-contrast': { enabled: false }, 'target-size': { enabled: false } },
};

async function faults(): Promise<string[]> {
  let found: string[] = [];
  await doing(async () => {
    const { violations } = await axe.run(document, OPTIONS);
    found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(' | ')}`);
  });
  return found;
}

const OFF = { on: false, busy: false, problem: undefined };
const preview = (state: Partial<PreviewSnapshot>) =>
  Object.assign(new Store<PreviewSnapshot>({ stage: 'ready', microphone: OFF, camera: OFF, picture: undefined, sound: undefined, ...state }), {
    chooseDevice: () => Promise.resolve(),
    activeDevice: () => '',
  }) as unknown as Parameters<typeof Door>[0]['preview'];
const lookout = (there = false) => Object.assign(new Store(there), { takeOver: () => undefined });
const OPEN = { start: 'anyone', join: 'link', development: false } as const;

async function home(server: SettingsSnapshot, wrong?: 'link' | 'page') {
  settings.set(server);
  await draw(<Home first wrong={wrong} />);
}
const door = (state: Partial<PreviewSnapshot>, there = false) => draw(<Door preview={preview(state)} lookout={lookout(there)} inside={new Store<number | undefined>(3)} room="bkdt-wqmp-hza" fixedName={undefined} suggestedName={undefined} onJoin={() => undefined} />);
const left = (reason: LeaveReason, cause?: RefusedCause) => draw(<LeftScreen left={{ reason, cause, detail: 'words', wasIn: !cause }} room="salle" onRejoin={() => undefined} />);

async function meeting(query: string) {
  const call = calling(query);
  await loadLater();
  await draw(<CallScreen call={call} room="bkdt-wqmp-hza" onRoom={() => undefined} onRejoin={() => undefined} />);
  return call;
}

const SCREENS: Readonly<Record<string, () => Promise<unknown>>> = {
  home: () => home(OPEN),
  'home where nobody starts': () => home({ start: 'nobody', join: 'token', development: false }, 'link'),
  'home for a wrong address': () => home(OPEN, 'page'),
  'home without a server': () => home('unreachable'),
  'home while the server is asked': () => home('loading'),
  'the door': () => door({ microphone: { ...OFF, on: true } }),
  'the door that asks': () => door({ stage: 'ask' }),
  'the door, blocked': () => door({ microphone: { ...OFF, problem: 'browser-denied' }, camera: { ...OFF, problem: 'browser-denied' } }),
  'the door, with another tab inside': () => door({}, true),
  joining: () => meeting('phase=connecting'),
  alone: () => meeting('people=1'),
  two: () => meeting('people=2'),
  'twenty-five': () => meeting('people=25'),
  'a meeting with everything to say': async () => {
    const call = await meeting('people=9&phase=reconnecting&weak=1&silent=1&sound=0&notice=1&problem=in-use');
    await doing(() => call.setShare(true));
  },
  people: async () => {
    await meeting('people=9&role=host');
    await click('toggle-people');
  },
  'an empty chat': async () => {
    await meeting('people=3');
    await click('toggle-chat');
  },
  chat: async () => {
    await meeting('people=3&chat=6');
    await click('toggle-chat');
  },
  'the menu': async () => {
    await meeting('people=3');
    await click('more');
  },
  'the menu of the microphone': async () => {
    await meeting('people=3');
    await doing(() => the('.split:nth-of-type(1) .split-more').click());
  },
  invite: async () => {
    await meeting('people=3');
    await click('invite');
  },
  settings: async () => {
    await meeting('people=3');
    await click('more');
    await doing(() => [...document.querySelectorAll<HTMLElement>('[role="menuitem"]')].at(-2)?.click());
  },
  shortcuts: async () => {
    await meeting('people=3');
    await click('more');
    await doing(() => [...document.querySelectorAll<HTMLElement>('[role="menuitem"]')].at(-1)?.click());
  },
  left: () => left('left'),
  removed: () => left('removed'),
  refused: () => left('refused', 'expired'),
  'on the way back': () => draw(<ReturningScreen way={Object.assign(new Store({ restart: true, trying: false, nextAt: Date.now() + 5000 }), { tryNow: () => undefined })} room="salle" onLeave={() => undefined} />),
};

describe.each(languages)('nobody is kept out in %s', (language) => {
  beforeEach(async () => {
    windowOf(1440, 800);
    document.title = 'Conclave';
    await setLanguage(language);
  });
  afterEach(() => doing(() => setLanguage('en')));

  it.each(Object.keys(SCREENS))('of: %s', async (screen) => {
    await SCREENS[screen]?.();
    expect(document.body.textContent.length).toBeGreaterThan(20);
    expect(await faults()).toEqual([]);
  });
});
