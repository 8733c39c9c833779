/**
 * Pictures of every screen of the web client that depends on more than the person in front of it, in each language and
 * size, for people to look at: target/screens/. The server is brought into each state; where that would take a full disk or
 * ten thousand meetings, one answer of it is replaced. Each picture is taken only once the page says what it is a picture of.
 *
 *     npm run screens                                      all of them
 *     npm run screens -- --test-name-pattern='the door'    some
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { launchChromium } from '../lib/browsers.js';
import { LineProgram } from '../lib/lines.js';
import { call, post, production } from '../lib/meetings.js';
import { SIGNS, WebParticipant } from '../lib/participants.js';
import { CROWD } from '../lib/paths.js';
import { LANGUAGES, LOW, SIZES, picture } from '../lib/pictures.js';
import { KEY, SECRET, token } from '../lib/token.js';
import { until } from '../lib/until.js';

const LIMIT = { timeout: 20 * 60_000 };
const LINKS = { CONCLAVE_MEETINGS_START: 'anyone' };
const NAME = 'Élodie Marchand';
const LONG_NAME = 'Bartholomew Featherstonehaugh-Cholmondeley';
/** Well-formed, and of no meeting. */
const NOBODYS = 'abcd-efgh-jkm';
/** Longer than the minutes for which the page tries to come back. */
const TOO_LONG = 10 * 60_000;

async function chromium(t) {
  const browser = await launchChromium();
  t.after(() => browser.close());
  return browser;
}

/** Somebody who reads one language, with camera and microphone at hand. Nothing on the page may fail. */
async function visitor(t, browser, server, language, { name = NAME, sign = 0, permissions = ['camera', 'microphone'], ...options } = {}) {
  const one = new WebParticipant(browser, { name, ...SIGNS[sign], width: 1280, height: 720, ...options });
  await one.open();
  t.after(async () => {
    if (browser.connected && !one.page.isClosed()) await one.close();
    assert.deepEqual(one.errors, []);
  });
  await one.context.overridePermissions(server.url, permissions);
  await one.page.evaluateOnNewDocument((tag) => localStorage.setItem('conclave.language', tag), language);
  one.goto = (address) => one.page.goto(`${server.url}${address}`, { waitUntil: 'domcontentloaded' });
  return one;
}

/** Once for each language, in contexts of their own. */
async function inEach(t, act) {
  for (const language of LANGUAGES) await t.test(language, (own) => act(own, language));
}

/** Through the door; who has an invitation has a name already. */
async function join(one) {
  const field = await one.page.waitForSelector('[data-testid="name-input"]', { timeout: 20_000 });
  if (!(await field.evaluate((input) => input.readOnly))) await one.type('name-input', one.name);
  await one.click('join-button');
}

async function enter(one, address) {
  await one.goto(address);
  await join(one);
  await one.connected();
  await until(`${one.name} sends`, () => one.page.evaluate(() => window.__conclave.room.localParticipant.isMicrophoneEnabled && window.__conclave.room.localParticipant.isCameraEnabled));
}

const newMeeting = async (server) => `/m/${(await post(server, '/api/v1/rooms')).slug}`;

/** From now on `answer` answers the page's requests for this path. */
async function instead(page, target, answer) {
  await page.setRequestInterception(true);
  page.on('request', (request) => (new URL(request.url()).pathname === target ? answer(request) : request.continue()));
}

const refusedWith = (reason, error) => (request) =>
  request.respond({ status: 503, contentType: 'application/json', body: JSON.stringify({ state: 'refused', reason, error }) });

/** The last screen: why it ended, or never began. */
function over(reason, cause) {
  const key = cause ? `refused.${cause}` : `left.${reason}`;
  const has = `[data-testid="left-reason"][data-reason="${reason}"]${cause ? `[data-cause="${cause}"]` : ''}`;
  return { has, says: [`${key}.title`, `${key}.text`, 'left.home'] };
}

const mayRejoin = (state) => ({ ...state, says: [...state.says, 'left.rejoin'] });
const mayRetry = (state) => ({ ...state, says: [...state.says, 'left.retry'] });

test('the start page, as far as this server lets people start and join', LIMIT, async (t) => {
  const browser = await chromium(t);
  const closed = await production(t, 'screens-closed');
  const joins = await production(t, 'screens-joins', { CONCLAVE_MEETINGS_JOIN: 'link' });
  const open = await production(t, 'screens-open', LINKS);
  await inEach(t, async (t, language) => {
    const take = (one, screen, state) => picture(one.page, screen, language, { ...state, says: ['home.title', ...state.says] });
    const ada = await visitor(t, browser, closed, language);
    await ada.goto('/');
    await take(ada, 'home-nobody-starts', { says: ['home.closed'] });
    await ada.goto('/m/');
    await take(ada, 'home-nobody-starts-bad-link', { says: ['home.closed', 'home.badLinkClosed'] });

    const ben = await visitor(t, browser, joins, language);
    await ben.goto('/');
    await take(ben, 'home-nobody-starts-links-join', { says: ['home.startElsewhere', 'home.join'] });
    await ben.goto('/m/');
    await take(ben, 'home-nobody-starts-links-join-bad-link', { says: ['home.startElsewhere', 'home.badLinkClosed'] });

    const cas = await visitor(t, browser, open, language);
    await cas.goto('/');
    await take(cas, 'home-anyone-starts', { says: ['home.lead', 'home.start', 'home.join'] });
    await cas.goto('/m/');
    await take(cas, 'home-anyone-starts-bad-link', { says: ['home.start', 'home.badLink'] });
    await cas.goto('/');
    for (const [typed, key] of [
      ['', 'home.empty'],
      ['abcd', 'home.badCode'],
      ['https://meet.example.org/m/abcd-efgh-jkm', 'home.elsewhere'],
    ]) {
      if (typed) await cas.type('join-code', typed);
      await cas.click('join-submit');
      await take(cas, `home-${key.slice('home.'.length)}`, { says: [key] });
    }

    const dan = await visitor(t, browser, open, language);
    let config = (request) => request.abort('connectionrefused');
    await instead(dan.page, '/api/v1/config', (request) => config(request));
    await dan.goto('/');
    await take(dan, 'home-server-gone', { has: '[data-testid="server-unreachable"]', says: ['left.unreachable.title', 'left.unreachable.text', 'left.retry'] });
    await dan.page.setOfflineMode(true);
    await dan.page.$eval('[data-testid="server-unreachable"] button', (again) => again.click());
    await take(dan, 'home-offline', { has: '[data-testid="server-unreachable"]', says: ['left.offline.title', 'left.offline.text', 'left.retry'] });
    await dan.page.setOfflineMode(false);
    config = () => {};
    await dan.page.$eval('[data-testid="server-unreachable"] button', (again) => again.click());
    await take(dan, 'home-server-asked-again', { has: '[data-testid="server-unreachable"]', says: ['left.retry', 'returning.trying'] });
    await dan.goto('/');
    await take(dan, 'home-server-asked', { has: '[data-testid="start-meeting"]:disabled', says: ['home.lead'] });
  });
  await t.test('too many meetings started', async (t) => {
    await until('too many', async () => (await post(open, '/api/v1/rooms')).reason === 'too-many', { every: 0 });
    for (const language of LANGUAGES) {
      const eve = await visitor(t, browser, open, language);
      await eve.goto('/');
      await eve.click('start-meeting');
      await picture(eve.page, 'home-too-many-started', language, { says: ['home.start', 'refused.too-many.text'] });
    }
  });
});

test('a link that lets nobody in', LIMIT, async (t) => {
  const browser = await chromium(t);
  const closed = await production(t, 'screens-refusing-closed');
  const open = await production(t, 'screens-refusing', LINKS);
  await call(open, 'CreateRoom', 'standup', { name: 'standup' });
  await call(open, 'CreateRoom', 'little', { name: 'little', maxParticipants: 1 });
  const first = await visitor(t, browser, open, 'en', { sign: 1 });
  await enter(first, `/m/little#token=${token('little', 'first')}`);
  const now = Math.floor(Date.now() / 1000);

  await inEach(t, async (t, language) => {
    const ada = await visitor(t, browser, closed, language);
    await ada.goto(`/m/${NOBODYS}`);
    await picture(ada.page, 'refused-token-required', language, over('refused', 'token-required'));

    const eve = await visitor(t, browser, open, language);
    const attempt = async (cause, address, retry = false) => {
      await eve.goto('/');
      await eve.goto(address);
      await join(eve);
      await picture(eve.page, `refused-${cause}`, language, retry ? mayRetry(over('refused', cause)) : over('refused', cause));
    };
    await attempt('unknown', `/m/${NOBODYS}`);
    await attempt('expired', `/m/standup#token=${token('standup', 'eve', { claims: { name: NAME, nbf: 1_500_000_000, exp: 1_600_000_000 } })}`);
    await eve.page.$eval('details', (details) => (details.open = true));
    await picture(eve.page, 'refused-expired-details', language, { says: ['left.details'], has: 'details[open]' });
    await attempt('not-yet', `/m/standup#token=${token('standup', 'eve', { claims: { name: NAME, nbf: now + 86_400, exp: now + 90_000 } })}`, true);
    await attempt('bad-invitation', `/m/standup#token=${token('standup', 'eve', { secret: 'of another server altogether, and long' })}`);
    await attempt('full', `/m/little#token=${token('little', 'eve')}`, true);

    const address = await newMeeting(open);
    for (const [cause, reason] of [
      ['capacity', 'full'],
      ['restarting', 'restarting'],
      ['other', 'unavailable'],
    ]) {
      const dan = await visitor(t, browser, open, language);
      await instead(dan.page, `/api/v1/rooms${address.slice('/m'.length)}/enter`, refusedWith(reason, 'the server cannot remember meetings at the moment'));
      await dan.goto(address);
      await join(dan);
      await picture(dan.page, `refused-${cause}`, language, mayRetry(over('refused', cause)));
    }
  });
  await t.test('too many attempts', async (t) => {
    // A wrong code counts once.
    let guesses = 0;
    const letters = 'abcdefghjkmnpqrstuvwxyz';
    const another = () => `abcd-efgh-${[1, letters.length, letters.length ** 2].map((unit) => letters[Math.floor(guesses / unit) % letters.length]).join('')}`;
    const guess = () => {
      guesses++;
      return post(open, `/api/v1/rooms/${another()}/enter`);
    };
    for (const language of LANGUAGES) {
      const eve = await visitor(t, browser, open, language);
      await until('too many', async () => (await guess()).reason === 'too-many', { every: 0 });
      guesses++;
      await eve.goto(`/m/${another()}`);
      await join(eve);
      await picture(eve.page, 'refused-too-many', language, mayRetry(over('refused', 'too-many')));
    }
  });
});

test('the door', LIMIT, async (t) => {
  const browser = await chromium(t);
  const server = await production(t, 'screens-door', LINKS);
  const address = await newMeeting(server);
  await inEach(t, async (t, language) => {
    const take = (one, screen, state) => picture(one.page, screen, language, { ...state, says: ['pre.title', 'pre.join', ...(state.says ?? [])] });
    const on = '[data-testid="prejoin-mic"][data-on="true"]';

    const ada = await visitor(t, browser, server, language);
    await ada.goto(address);
    await ada.page.waitForSelector('[data-testid="prejoin-camera"][data-on="true"]');
    await take(ada, 'door', { has: on, says: ['device.test'] });
    await ada.click('join-button');
    await take(ada, 'door-name-missing', { has: on, says: ['pre.nameMissing'] });
    for (const device of ['mic', 'camera']) await ada.click(`prejoin-${device}`);
    await take(ada, 'door-devices-off', { says: ['pre.neither', 'pre.cameraOff'] });

    const invited = await visitor(t, browser, server, language);
    await invited.goto(`/m/conseil-municipal#token=${token('conseil-municipal', 'elodie', { claims: { name: NAME } })}`);
    await take(invited, 'door-invitation', { has: on });

    const asked = await visitor(t, browser, server, language);
    // Our browsers never ask.
    await asked.page.evaluateOnNewDocument(() => (navigator.permissions.query = async () => ({ state: 'prompt' })));
    await asked.goto(address);
    await take(asked, 'door-ask', { says: ['pre.ask', 'pre.allow', 'pre.without'] });

    const denied = await visitor(t, browser, server, language, { permissions: [] });
    await denied.goto(address);
    await take(denied, 'door-denied', { says: ['problem.both.browser-denied', 'help.browser-denied'] });

    const slow = await visitor(t, browser, server, language);
    await slowCamera(slow.page);
    await slow.goto(address);
    await take(slow, 'door-camera-starting', { has: '[data-testid="prejoin-camera"][aria-busy="true"]', says: ['pre.cameraStarting'] });
    await slow.page.evaluate(() => window.__camera(false));
    await take(slow, 'door-camera-in-use', { says: ['problem.camera.in-use', 'help.in-use', 'problem.retry'] });

    const held = await visitor(t, browser, server, language);
    await instead(held.page, `/api/v1/rooms${address.slice('/m'.length)}/enter`, () => {});
    await held.goto(address);
    await join(held);
    await picture(held.page, 'joining', language, { has: '[data-connection-state="connecting"]', says: ['meeting.joining', 'pre.cancel'] });
    await held.page.$eval('.joining-cancel', (cancel) => cancel.click());
    await picture(held.page, 'joining-cancelled', language, { has: on, says: ['pre.title', 'pre.join'] });
  });
});

/** The camera starts, or fails, when `__camera` says so. */
function slowCamera(page) {
  return page.evaluateOnNewDocument(() => {
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wishes) => {
      if (!wishes.video) return ask(wishes);
      const starts = await new Promise((go) => (window.__camera = go));
      if (!starts) throw new DOMException('Could not start video source', 'NotReadableError');
      return ask(wishes);
    };
  });
}

test('a meeting in which one is alone, and its menus', LIMIT, async (t) => {
  const browser = await chromium(t);
  const server = await production(t, 'screens-alone', LINKS);
  await inEach(t, async (t, language) => {
    const ada = await visitor(t, browser, server, language);
    const { page } = ada;
    const take = (screen, state) => picture(page, screen, language, state);
    await enter(ada, await newMeeting(server));
    await take('meeting-alone', { has: '.card', says: ['ready.title', 'ready.lead', 'ready.copy', 'pre.linkAllows'] });
    await take('meeting-alone-low', { has: '.card', says: ['ready.title'], sizes: LOW });
    await page.$eval('.card .icon-button', (close) => close.click());

    // What opens above its button is closed by a click elsewhere, not by another size of the window.
    const menu = async (selector, screen, state) => {
      await page.$eval(selector, (open) => open.click());
      await take(screen, { has: '.popover-panel', ...state });
      await page.keyboard.press('Escape');
      await until('it is closed', async () => !(await page.$('.popover-panel')));
    };
    // On a telephone devices are chosen in the settings.
    const wide = SIZES.slice(0, 2);
    await menu('.split:nth-of-type(1) .split-more', 'menu-sound', { says: ['device.microphone', 'device.speaker', 'device.test'], sizes: wide });
    await menu('.split:nth-of-type(2) .split-more', 'menu-camera', { says: ['device.camera'], sizes: wide });
    const more = '.bar-main > .popover .round';
    await menu(more, 'menu-more', { says: ['control.speakerView', 'control.settings', 'control.shortcuts'] });
    await menu(more, 'menu-more-low', { says: ['control.settings'], sizes: LOW });
    for (const dialog of ['settings', 'shortcuts']) {
      await page.$eval(more, (open) => open.click());
      // They are the last two, in this order.
      await page.$$eval('.menu-item', (items, last) => items.at(last).click(), dialog === 'settings' ? -2 : -1);
      await take(dialog, { has: 'dialog[open]', says: dialog === 'settings' ? ['settings.title', 'device.test', 'theme.label'] : ['shortcuts.title', 'shortcuts.note'] });
      await take(`${dialog}-low`, { has: 'dialog[open]', sizes: LOW });
      await page.keyboard.press('Escape');
      await until('it is closed', async () => !(await page.$('dialog[open]')));
    }

    await ada.click('toggle-chat');
    await take('chat-empty', { has: '[data-testid="chat-input"]', says: ['chat.title', 'chat.empty'] });
    await take('chat-empty-low', { has: '[data-testid="chat-input"]', says: ['chat.title'], sizes: LOW });
    await page.keyboard.press('Escape');
    for (const device of ['mic', 'camera']) await ada.click(`toggle-${device}`);
    await take('meeting-alone-devices-off', { has: '[data-testid="toggle-camera"][data-on="false"]' });
    await ada.click('leave');
    await take('left-alone', { ...over('left'), says: ['left.left.title', 'left.left.alone', 'left.rejoin', 'left.home'] });

    // An application's room: there is no link that lets anybody in.
    const invited = await visitor(t, browser, server, language);
    await enter(invited, `/m/conseil-municipal#token=${token('conseil-municipal', `elodie-${language}`, { claims: { name: NAME } })}`);
    assert.equal(await invited.page.$('.card'), null);
    await picture(invited.page, 'meeting-alone-invitation', language, { has: '[data-layout="solo"]' });
    await invited.close();

    const slow = await visitor(t, browser, server, language);
    await slowCamera(slow.page);
    await slow.goto(await newMeeting(server));
    await slow.page.waitForSelector('[data-testid="prejoin-camera"][aria-busy="true"]');
    await join(slow);
    await slow.connected();
    await picture(slow.page, 'meeting-camera-starting', language, { has: '[data-testid="toggle-camera"][aria-busy="true"]' });
    await slow.page.evaluate(() => window.__camera(false));
    await picture(slow.page, 'meeting-camera-in-use', language, { says: ['problem.camera.in-use', 'help.in-use', 'problem.retry', 'problem.dismiss'] });
  });
});

test('a meeting of several, its panels and what is told in it', LIMIT, async (t) => {
  const browsers = [await chromium(t), await chromium(t)];
  const server = await production(t, 'screens-several', LINKS);
  await inEach(t, async (t, language) => {
    const address = await newMeeting(server);
    const room = address.slice('/m/'.length);
    const ada = await visitor(t, browsers[0], server, language);
    const ben = await visitor(t, browsers[1], server, language, { name: LONG_NAME, sign: 1 });
    const { page } = ada;
    const take = (screen, state = {}) => picture(page, screen, language, state);
    const close = async () => {
      await page.keyboard.press('Escape');
      await until('it is closed', async () => !(await page.$('.panel')));
    };
    await enter(ada, address);
    await enter(ben, address);
    await take('meeting-joined', { says: ['notice.joined.one'] });
    await until('Ada sees Ben', () => page.$(`[data-testid="tile"][data-identity="${ben.identity}"] video`));
    await until('it is quiet', async () => !(await page.$('.toast')));
    await take('meeting-two', { has: '[data-layout="duo"]' });
    await take('meeting-two-low', { has: '[data-layout="duo"]', sizes: LOW });

    await ben.say('Bonjour ! Hello!');
    await take('chat-news', { has: '.toast--chat, .round-badge' });
    await ada.say('On commence dans deux minutes. We start in two minutes.');
    await ben.say('Agenda: https://wiki.example.org/agenda/2026-11 (second section first, please).');
    await ben.say('I will share the numbers in a minute. They changed a little since Thursday because the last two stations reported late, so please do not quote the old ones.');
    await until('all is there', async () => (await ada.said()).length === 4);
    await ada.type('chat-input', 'A draft that goes on');
    await take('chat', { has: '[data-testid="chat-message"]', says: ['chat.title', 'chat.you'] });
    await take('chat-low', { has: '[data-testid="chat-message"]', sizes: LOW });
    await close();
    await ada.click('toggle-people');
    await take('people', { has: '.people', says: ['people.title', 'people.count.other'] });
    await take('people-low', { has: '.people', sizes: LOW });
    await close();

    const { participants } = await call(server, 'ListParticipants', room, { room });
    const microphone = participants.find((one) => one.identity === ada.identity).tracks.find((track) => track.source === 'MICROPHONE');
    await call(server, 'MutePublishedTrack', room, { room, identity: ada.identity, trackSid: microphone.sid, muted: true });
    await take('meeting-muted-by-host', { has: '[data-testid="toggle-mic"][data-on="false"]', says: ['notice.muted-by-other'] });

    await ada.click('toggle-share');
    await take('meeting-own-share', { says: ['banner.sharing', 'control.stop'] });
    await ada.click('toggle-share');
    await ben.click('toggle-share');
    await until('Ada sees the screen', () => page.$('[data-testid="tile"][data-source="screen_share"] video'));
    await take('meeting-share', { has: '[data-layout="stage"]' });
    await take('meeting-share-low', { has: '[data-layout="stage"]', sizes: LOW });
    await ben.leave();

    // So many that one turns pages.
    const crowd = new LineProgram(CROWD, [server.socketUrl, room, '9', '3', KEY, SECRET]);
    t.after(() => crowd.end());
    await until('they are there', async () => (await ada.people()).length === 9);
    await until('it is quiet', async () => !(await page.$('.toast')));
    await take('meeting-ten', { has: '[data-layout="grid"]' });
    await page.$eval('.bar-main > .popover .round', (open) => open.click());
    await page.$$eval('.menu-item', ([first]) => first.click());
    await take('meeting-speaker', { has: '[data-layout="stage"] .pager' });
    await take('meeting-speaker-low', { has: '.pager', sizes: LOW });
    await crowd.end();
    await until('they are gone', async () => (await ada.people()).length === 0);
    await take('meeting-left-by-many', { says: ['notice.left.many'] });
  });
});

test('a meeting left, whoever ended it', LIMIT, async (t) => {
  const browsers = [await chromium(t), await chromium(t)];
  const server = await production(t, 'screens-ends', LINKS);
  await inEach(t, async (t, language) => {
    const address = await newMeeting(server);
    const room = address.slice('/m/'.length);
    const ada = await visitor(t, browsers[0], server, language);
    const ben = await visitor(t, browsers[1], server, language, { sign: 1 });
    const take = (one, screen, state) => picture(one.page, screen, language, state);
    await enter(ben, address);
    await enter(ada, address);
    await ada.click('leave');
    await take(ada, 'left', mayRejoin(over('left')));
    await ada.click('rejoin');
    await ada.connected();
    await call(server, 'RemoveParticipant', room, { room, identity: ada.identity });
    await take(ada, 'removed', over('removed'));
    await ada.goto(address);
    await join(ada);
    await take(ada, 'removed-comes-again', over('removed'));
    await call(server, 'DeleteRoom', room, { room });
    await take(ben, 'ended', over('ended'));

    const own = `conseil-${language}`;
    const invitation = `/m/${own}#token=${token(own, 'elodie', { claims: { name: NAME } })}`;
    const here = await visitor(t, browsers[0], server, language);
    const there = await visitor(t, browsers[1], server, language);
    await enter(here, invitation);
    await enter(there, invitation);
    await take(here, 'joined-elsewhere', mayRejoin(over('duplicate')));
    await call(server, 'DeleteRoom', own, { room: own });
    await take(there, 'ended-by-application', mayRejoin(over('closed')));
  });
});

test('a connection that is lost, and the way back', LIMIT, async (t) => {
  const browser = await chromium(t);
  const server = await production(t, 'screens-returning', LINKS);
  await inEach(t, async (t, language) => {
    const address = await newMeeting(server);
    // Nothing answers, and nothing says so: a server that stands still.
    const ada = await visitor(t, browser, server, language);
    const { page } = ada;
    const take = (one, screen, state) => picture(one.page, screen, language, state);
    await enter(ada, address);
    await page.$eval('.card .icon-button', (close) => close.click());
    server.process.kill('SIGSTOP');
    try {
      await take(ada, 'meeting-resuming', { has: '[data-phase="resuming"]', says: ['banner.resuming'], sizes: SIZES.slice(1) });
      await page.waitForSelector('[data-phase="reconnecting"]', { timeout: 60_000 });
      await take(ada, 'meeting-reconnecting', { has: '[data-phase="reconnecting"]', says: ['banner.reconnecting'], sizes: SIZES.slice(1) });
    } finally {
      server.process.kill('SIGCONT');
    }
    await ada.close();

    // A server that stops.
    const ben = await visitor(t, browser, server, language);
    let held = false;
    await instead(ben.page, '/api/v1/config', (request) => (held ? undefined : request.continue()));
    await enter(ben, address);
    await server.stop();
    const returning = (why, ...more) => ({ has: `[data-testid="reconnecting"][data-reason="${why}"]`, says: [`returning.${why}.title`, `returning.${why}.text`, 'returning.now', 'control.leaveMeeting', ...more] });
    await take(ben, 'returning-restart', returning('restart'));
    await take(ben, 'returning-restart-low', { ...returning('restart'), sizes: LOW });
    held = true;
    await until('it is asked again', () => ben.page.$('[data-testid="try-now"][aria-disabled="true"]'));
    await take(ben, 'returning-trying', returning('restart', 'returning.trying'));
    await ben.click('leave');
    await take(ben, 'left-while-returning', { ...over('left'), says: ['left.left.title', 'left.left.cutOff', 'left.rejoin'] });
    await ben.close();

    // One that is gone without a word; and minutes later it still is.
    for (const [screen, late, online, state] of [
      ['lost', true, true, mayRejoin(over('lost'))],
      ['lost-unreachable', false, true, mayRetry(over('unreachable'))],
      ['lost-offline', false, false, mayRetry(over('offline'))],
    ]) {
      await server.run();
      const cas = await visitor(t, browser, server, language);
      await cas.page.evaluateOnNewDocument((asleep, minutes) => {
        const now = Date.now.bind(Date);
        let later = 0;
        Date.now = () => now() + later;
        window.__later = () => (later = minutes);
        // The machine sleeps before the first attempt.
        if (asleep) new MutationObserver(() => document.querySelector('[data-phase="returning"]') && window.__later()).observe(document, { subtree: true, childList: true });
      }, late, TOO_LONG);
      await enter(cas, address);
      server.process.kill('SIGKILL');
      await server.exited;
      // The engine has its own patience first.
      await cas.page.waitForSelector('[data-phase="returning"], [data-testid="left-reason"]', { timeout: 120_000 });
      if (late) {
        await take(cas, screen, state);
      } else {
        if (online) await take(cas, 'returning-lost', returning('lost'));
        else await cas.page.setOfflineMode(true);
        await until('attempts have failed', async () => /[3-9]|1\d/.test(await cas.page.$eval('[data-testid="next-attempt"]', (line) => line.textContent)));
        await cas.page.evaluate(() => window.__later());
        await take(cas, screen, state);
      }
      await cas.close();
    }
    await server.run();
  });
});

test('no way in, whatever the reason', LIMIT, async (t) => {
  const browser = await chromium(t);
  const server = await production(t, 'screens-no-way', LINKS);
  const address = await newMeeting(server);
  await inEach(t, async (t, language) => {
    const take = (one, screen, state) => picture(one.page, screen, language, state);

    const gone = await visitor(t, browser, server, language);
    await instead(gone.page, '/api/v1/config', (request) => request.abort('connectionrefused'));
    await gone.goto(address);
    await take(gone, 'unreachable', mayRetry(over('unreachable')));
    await gone.page.setOfflineMode(true);
    await gone.click('rejoin');
    await take(gone, 'offline', mayRetry(over('offline')));

    for (const [screen, options, agent] of [
      ['no-media', { candidates: '^$' }],
      ['loopback', { candidates: '^$' }, 'Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0'],
    ]) {
      const one = await visitor(t, browser, server, language, options);
      if (agent) await one.page.setUserAgent({ userAgent: agent });
      await one.goto(address);
      await join(one);
      await one.page.waitForSelector('[data-testid="left-reason"]', { timeout: 60_000 });
      await take(one, screen, mayRetry(over(screen)));
      await one.close();
    }

    for (const [screen, breakIt] of [
      ['no-rtc', () => ['RTCPeerConnection', 'webkitRTCPeerConnection'].forEach((name) => delete window[name])],
      ['unknown', cutOff],
      ['timeout', mute],
    ]) {
      const one = await visitor(t, browser, server, language);
      await one.page.evaluateOnNewDocument(breakIt);
      await one.goto(address);
      await join(one);
      await one.page.waitForSelector('[data-testid="left-reason"]', { timeout: 60_000 });
      await take(one, screen, screen === 'no-rtc' ? over(screen) : mayRetry(over(screen)));
      await one.close();
    }
  });
});

/** In the page: what is between it and the server closes each signal connection as soon as it is open. */
function cutOff() {
  window.WebSocket = class extends EventTarget {
    static OPEN = 1;
    static CLOSED = 3;
    readyState = 0;
    constructor() {
      super();
      setTimeout(() => {
        this.readyState = 1;
        this.onopen();
        setTimeout(() => this.dispatchEvent(Object.assign(new Event('close'), { code: 1011, reason: 'upstream is gone' })), 100);
      }, 100);
    }
    send() {}
    close() {}
  };
}

/** In the page: a signal connection that is never answered. */
function mute() {
  window.WebSocket = class extends EventTarget {
    static OPEN = 1;
    static CLOSED = 3;
    readyState = 0;
    send() {}
    close() {}
  };
}
