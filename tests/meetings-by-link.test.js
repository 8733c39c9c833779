/**
 * Outside development mode: who may start and enter a meeting by link, what the page offers and says where somebody may
 * not, what holds after a restart and a removal, and what a link from elsewhere cannot do. In real browsers.
 */
import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { launchChromium, launchFirefox } from './lib/browsers.js';
import { everyoneHearsAndSees } from './lib/everyone.js';
import { call, post, production } from './lib/meetings.js';
import { SIGNS, WebParticipant } from './lib/participants.js';
import { Server } from './lib/server.js';
import { token } from './lib/token.js';
import { pause, until } from './lib/until.js';

const LINKS = { CONCLAVE_MEETINGS_START: 'anyone', CONCLAVE_MEETINGS_JOIN: 'link' };

const startMeeting = async (server) => (await post(server, '/api/v1/rooms')).slug;

/** Text of the page. */
const text = (page) => page.evaluate(() => document.body.innerText);

const shown = (page, id, options = {}) => page.waitForSelector(`[data-testid="${id}"]`, { timeout: 20_000, ...options });

/** Goes through the door. */
async function enter(person, url) {
  await person.page.goto(url, { waitUntil: 'domcontentloaded' });
  await person.type('name-input', person.name);
  await person.click('join-button');
  await person.connected();
}

async function chromium(t, extra = []) {
  const browser = await launchChromium(extra);
  t.after(() => browser.close());
  return browser;
}

async function person(t, browser, index, name) {
  const one = new WebParticipant(browser, { name, ...SIGNS[index] });
  await one.open();
  return one;
}

/** Why there was no way in, as the page tells it. */
async function refusal(page) {
  const heading = await shown(page, 'left-reason');
  return heading.evaluate((element) => [element.dataset.reason, element.dataset.cause, element.textContent]);
}

const inLanguage = (page, language) => page.evaluateOnNewDocument((tag) => localStorage.setItem('conclave.language', tag), language);

test('where nobody may start a meeting or enter one by link, the page offers neither and says why', { timeout: 3 * 60_000 }, async (t) => {
  const server = await production(t, 'by-link-closed');
  const browser = await chromium(t);
  for (const [language, sentence, title] of [
    ['en', /Meetings here are started from your organisation’s application/, /entered from your organisation’s application/],
    ['fr', /les réunions se créent depuis l’application de votre organisation/, /se rejoint depuis l’application de votre organisation/],
  ]) {
    const ada = await person(t, browser, 0, 'Ada');
    await inLanguage(ada.page, language);
    await ada.page.goto(server.url);
    await shown(ada.page, 'start-closed');
    assert.match(await text(ada.page), sentence);
    for (const id of ['start-meeting', 'join-code']) assert.equal(await ada.page.$(`[data-testid="${id}"]`), null, `${id} is not offered`);
    await ada.screenshot(`closed-home-${language}`);
    // Nor does a link lead to a door that leads nowhere.
    await ada.page.goto(`${server.url}/m/abcd-efgh-jkm`);
    const [reason, cause, heading] = await refusal(ada.page);
    assert.deepEqual([reason, cause], ['refused', 'token-required']);
    assert.match(heading, title);
    assert.equal(await ada.page.$('[data-testid="rejoin"]'), null, 'nothing that cannot help');
    await ada.screenshot(`closed-link-${language}`);
    assert.deepEqual(ada.errors, []);
  }
  // With an application's token one comes in all the same, and is offered no link that lets nobody in.
  const ben = await person(t, browser, 1, 'Ben');
  const jwt = token('salle', 'ben', { claims: { name: 'Ben' } });
  await ben.page.goto(`${server.url}/m/autre#token=${jwt}`, { waitUntil: 'domcontentloaded' });
  await until('the door', async () => (await ben.page.$eval('[data-testid="name-input"]', (field) => field.value)) === 'Ben');
  const address = () => ben.page.evaluate(() => location.href);
  assert.equal(await address(), `${server.url}/m/salle`, 'the token says which room it is, and is not in the address');
  await ben.click('join-button');
  await ben.connected();
  assert.equal(await ben.page.title(), 'Meeting salle · Conclave');
  assert.doesNotMatch(await text(ben.page), /Anyone with the link|autre/);
  const { participants } = await call(server, 'ListParticipants', 'salle', { room: 'salle' });
  assert.deepEqual(participants.map((one) => one.identity), ['ben']);
  assert.ok(!(await ben.page.evaluate(() => JSON.stringify([history.state, location.href, document.body.innerText]))).includes(jwt));
  // A reload needs no link.
  await ben.page.reload({ waitUntil: 'domcontentloaded' });
  await ben.click('join-button');
  await ben.connected();
  assert.equal(await address(), `${server.url}/m/salle`);
});

test('a meeting by link is started, entered, and still there after a restart; who was removed stays out', { timeout: 5 * 60_000 }, async (t) => {
  const server = await production(t, 'by-link-open', LINKS);
  const browser = await chromium(t);
  const ada = await person(t, browser, 0, 'Ada');
  const ben = await person(t, browser, 1, 'Ben');
  await ada.page.goto(server.url);
  await ada.click('start-meeting');
  await ada.type('name-input', ada.name);
  await ada.click('join-button');
  await ada.connected();
  const link = await ada.page.evaluate(() => location.href);
  assert.match(new URL(link).pathname, /^\/m\/[a-z]{4}-[a-z]{4}-[a-z]{3}$/);
  const slug = new URL(link).pathname.slice('/m/'.length);
  assert.match(await text(ada.page), /Anyone with the link can join/);
  assert.equal(await ada.page.$eval('.card-link', (field) => field.value), link);
  await ben.page.goto(link, { waitUntil: 'domcontentloaded' });
  await until('the door tells how many are there', async () => (await text(ben.page)).includes('1 person is here.'));
  assert.doesNotMatch(await text(ben.page), /Ada/, 'and not who');
  await enter(ben, link);
  await everyoneHearsAndSees([ada, ben]);
  await ada.say('before the restart');
  await ada.type('chat-input', 'a draft');

  await t.test('a restart is told as one, and everybody comes back by themselves', async () => {
    await server.stop();
    const told = await shown(ada.page, 'reconnecting', { timeout: 30_000 });
    await until('the page names the restart', async () => /The server is being restarted/.test(await text(ada.page)));
    assert.doesNotMatch(await text(ada.page), /check your network/i);
    assert.ok(told);
    await shown(ada.page, 'try-now');
    await ada.screenshot('restarting-en');
    // Longer than the engine's own patience with a server that is gone.
    await pause(12_000);
    assert.equal(await ada.page.$('[data-testid="left-reason"]'), null, 'nobody is told to look after their network');
    await until('there is a countdown', async () => /Next attempt in \d+ seconds?|Trying/.test(await text(ada.page)));
    await server.run();
    await ada.click('try-now').catch(() => {});
    for (const one of [ada, ben]) {
      await until(`${one.name} is back`, () => one.page.evaluate(() => window.__conclave.room.state === 'connected' && window.__conclave.room.remoteParticipants.size === 1), { limit: 60_000 });
    }
    await everyoneHearsAndSees([ada, ben]);
    assert.equal(await ada.page.evaluate(() => location.href), link);
    assert.ok((await ada.said()).some((said) => said.includes('before the restart')), 'what was said is still there');
    assert.equal(await ada.page.$eval('[data-testid="chat-input"]', (field) => field.value), 'a draft');
  });

  await t.test('a removed person does not come back', async () => {
    const identity = await ben.page.evaluate(() => window.__conclave.room.localParticipant.identity);
    const old = await ben.page.evaluate(() => window.__conclave.room.engine.token);
    await call(server, 'RemoveParticipant', slug, { room: slug, identity });
    assert.equal((await refusal(ben.page))[0], 'removed');
    assert.equal(await ben.page.$('[data-testid="rejoin"]'), null, 'no button that would bring them back');
    await ben.screenshot('removed-en');
    await ben.page.goto(link, { waitUntil: 'domcontentloaded' });
    await ben.type('name-input', 'Somebody else');
    await ben.click('join-button');
    assert.equal((await refusal(ben.page))[0], 'removed');
    const answer = await fetch(`${server.url}/rtc/validate?access_token=${old}`);
    assert.equal(answer.status, 401, 'nor with the token they had');
    const cas = await person(t, browser, 2, 'Cas');
    await enter(cas, link);
    await everyoneHearsAndSees([ada, cas]);
    await cas.close();
  });

  await t.test('what is ended for everyone is ended, for who was in it and for who comes', async () => {
    await call(server, 'DeleteRoom', slug, { room: slug });
    assert.equal((await refusal(ada.page))[0], 'ended');
    assert.equal(await ada.page.$('[data-testid="rejoin"]'), null);
    await ada.page.goto(link, { waitUntil: 'domcontentloaded' });
    await ada.click('join-button');
    assert.equal((await refusal(ada.page))[0], 'ended');
  });
  assert.deepEqual([...ada.errors, ...ben.errors], []);
});

test('no guest walks into an application’s room by its name, and is told so in the page’s language', { timeout: 3 * 60_000 }, async (t) => {
  const server = await production(t, 'by-link-rooms', LINKS);
  await call(server, 'CreateRoom', 'standup', { name: 'standup' });
  await call(server, 'CreateRoom', 'little', { name: 'little', max_participants: 1 });
  const browser = await chromium(t);
  const first = await person(t, browser, 1, 'First');
  const invitation = `${server.url}/m/little#token=${token('little', 'first')}`;
  await first.page.goto(invitation, { waitUntil: 'domcontentloaded' });
  await first.click('join-button');
  await first.connected();
  for (const [language, title, details, full] of [
    ['en', 'There is no meeting under this link', 'Details for your administrator', 'The meeting is full'],
    ['fr', 'Il n’y a pas de réunion sous ce lien', 'Détails pour votre administrateur', 'La réunion est complète'],
  ]) {
    const eve = await person(t, browser, 0, 'Eve');
    await inLanguage(eve.page, language);
    // No meeting by link has such a name: there is not even a door.
    await eve.page.goto(`${server.url}/m/standup`, { waitUntil: 'domcontentloaded' });
    assert.deepEqual(await refusal(eve.page), ['refused', 'unknown', title]);
    await eve.screenshot(`unknown-${language}`);
    // A token that has expired: in words, the server's own behind a fold.
    const jwt = token('standup', 'eve', { claims: { exp: 1_600_000_000, name: 'Eve' } });
    await eve.page.goto(`${server.url}/m/standup?token=${jwt}`, { waitUntil: 'domcontentloaded' });
    assert.equal(await eve.page.evaluate(() => location.search + location.hash), '', 'it does not stay in the address');
    await eve.click('join-button');
    const [reason, cause, heading] = await refusal(eve.page);
    assert.deepEqual([reason, cause], ['refused', 'expired']);
    assert.match(heading, language === 'fr' ? /^Votre invitation a expiré$/ : /^Your invitation has expired$/);
    const visible = await text(eve.page);
    assert.match(visible, new RegExp(details));
    assert.doesNotMatch(visible, /token is expired/);
    await eve.screenshot(`expired-${language}`);
    // What the server says only once it is spoken to.
    await eve.page.goto(`${server.url}/m/little#token=${token('little', 'eve')}`, { waitUntil: 'domcontentloaded' });
    await eve.click('join-button');
    assert.deepEqual(await refusal(eve.page), ['refused', 'full', full]);
  }
  await call(server, 'RemoveParticipant', 'little', { room: 'little', identity: 'first', revoke_token_ts: Math.floor(Date.now() / 1000) });
  assert.equal((await refusal(first.page))[0], 'removed');
  await first.page.reload({ waitUntil: 'domcontentloaded' });
  await first.click('join-button');
  assert.equal((await refusal(first.page))[0], 'removed', 'nor is that a lost connection');
  const people = await call(server, 'ListParticipants', 'standup', { room: 'standup' });
  assert.deepEqual(people.participants, []);
});

test('a link on a page of elsewhere puts nobody on the air', { timeout: 3 * 60_000 }, async (t) => {
  const server = await production(t, 'by-link-autojoin', LINKS);
  const slug = await startMeeting(server);
  const targets = [`${server.url}/m/${slug}?autojoin=1&name=Victim`, `${server.url}/m/evil?autojoin=1&token=${token('evil', 'victim')}`, `${server.url}/m/evil?autojoin=1#token=${token('evil', 'victim')}`];
  const elsewhere = http.createServer((request, response) => {
    const to = targets[Number(request.url.slice(1))];
    response.setHeader('Content-Type', 'text/html').end(to === undefined ? '' : `<script>location.replace(${JSON.stringify(to)})</script>`);
  });
  await new Promise((done) => elsewhere.listen(0, '127.0.0.1', done));
  t.after(() => elsewhere.close());
  const browser = await chromium(t);
  await browser.defaultBrowserContext().overridePermissions(server.url, ['camera', 'microphone']);
  for (const index of targets.keys()) {
    const victim = await person(t, browser, 0, 'Victim');
    await victim.context.overridePermissions(server.url, ['camera', 'microphone']);
    await victim.page.evaluateOnNewDocument(() => {
      window.__tracks = [];
      const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (wishes) => {
        const stream = await ask(wishes);
        window.__tracks.push(...stream.getTracks());
        return stream;
      };
    });
    await victim.page.goto(`http://127.0.0.1:${elsewhere.address().port}/${index}`);
    await until('the page is there', () => victim.page.url().startsWith(server.url));
    await until('the door is shown', () => victim.page.$('[data-testid="join-button"]'), { explain: async () => `${victim.page.url()} ${await text(victim.page)} ${victim.errors}` });
    await pause(5_000);
    for (const room of [slug, 'evil']) assert.deepEqual((await call(server, 'ListParticipants', room, { room })).participants, [], targets[index]);
    const live = await victim.page.evaluate(() => window.__tracks.filter((track) => track.readyState === 'live').length);
    assert.equal(live, 0, 'no device is live');
    // Whoever wants to go in, may.
    if (index === 0) assert.equal(await victim.page.$eval('[data-testid="name-input"]', (field) => field.value), 'Victim');
    await victim.click('join-button');
    await victim.connected();
    await victim.close();
  }
});

test('Firefox meets on localhost in development mode as it comes', { timeout: 3 * 60_000 }, async (t) => {
  // What `make run` starts: no address is named.
  const server = await Server.start('firefox-localhost', { settings: { CONCLAVE_MEDIA_ADDRESSES: '[]' } });
  t.after(() => server.stop());
  const firefox = await launchFirefox(SIGNS[0].tone, {}, { 'media.peerconnection.ice.loopback': false });
  t.after(() => firefox.close());
  const fox = new WebParticipant(firefox, { name: 'Fox', ...SIGNS[0], fakeMicrophone: true });
  const ada = await person(t, await chromium(t), 1, 'Ada');
  await fox.open();
  await fox.page.goto(server.url);
  await fox.click('start-meeting');
  // Firefox asks, and so does the page before.
  await (await fox.page.waitForSelector('.mirror-ask .button')).click();
  for (const device of ['mic', 'camera']) await shown(fox.page, `prejoin-${device}`).then(() => fox.page.waitForSelector(`[data-testid="prejoin-${device}"][data-on="true"]`));
  await fox.type('name-input', fox.name);
  await fox.click('join-button');
  await fox.connected();
  await enter(ada, await fox.page.evaluate(() => location.href));
  await until('Fox sees Ada', async () => (await fox.people()).length === 1);
  const arrives = (one) => one.stats('inbound-rtp').then((all) => ['audio', 'video'].every((kind) => all.some((entry) => entry.kind === kind && entry.packetsReceived > 50)));
  for (const one of [fox, ada]) await until(`${one.name} gets sound and picture`, () => arrives(one));
});
