/**
 * A cut signal connection is resumed while media goes on; where the server asks for it, or has forgotten everyone, a
 * client comes in anew. Both with npm `livekit-client` and the native SDK.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serveBarePage } from './lib/bare.js';
import { launchChromium } from './lib/browsers.js';
import { everyoneHearsAndSees } from './lib/everyone.js';
import { BareParticipant, NativeParticipant, SIGNS, WebParticipant } from './lib/participants.js';
import { Wire } from './lib/relay.js';
import { Server } from './lib/server.js';
import { token } from './lib/token.js';
import { until } from './lib/until.js';

const ROOM = 'again';

test('reconnecting', { timeout: 6 * 60_000 }, async (t) => {
  const server = await Server.start('reconnect');
  t.after(() => server.stop());
  const page = await serveBarePage();
  t.after(page.stop);
  const wire = await Wire.start(server.port);
  t.after(() => wire.stop());
  const browser = await launchChromium();
  t.after(() => browser.close());

  const ada = new BareParticipant(browser, { name: 'ada', ...SIGNS[0] });
  const nat = new NativeParticipant({ name: 'nat', ...SIGNS[1] });
  t.after(() => nat.close());
  // Someone who is not cut, and tells whether the others were gone for him.
  const ben = new BareParticipant(browser, { name: 'ben', ...SIGNS[2] });
  const people = [ada, nat, ben];
  const cutUrl = `ws://127.0.0.1:${wire.port}`;
  await ada.join(page.url, cutUrl, token(ROOM, 'ada'));
  await nat.join(cutUrl, token(ROOM, 'nat'));
  await ben.join(page.url, server.socketUrl, token(ROOM, 'ben'));
  await everyoneHearsAndSees(people);
  const happened = async (one, name, since) => (await one.events()).slice(since).some((event) => event.name === name);

  await t.test('a cut signal connection is resumed without a gap in media', async () => {
    const marks = new Map();
    for (const one of people) marks.set(one, { events: (await one.events()).length });
    await ben.page.evaluate(() => {
      window.__left = [];
      window.__conclave.room.on('participantDisconnected', (person) => window.__left.push(person.identity));
    });
    const before = { ada: await sound(ada), nat: await sound(nat), ben: await sound(ben) };
    assert.ok(wire.cut() > 0, 'something was cut');
    for (const one of [ada, nat]) {
      const since = marks.get(one).events;
      await until(`${one.name} has resumed`, async () => (await happened(one, 'reconnected', since)) || (await happened(one, 'reconnecting', since)) || (await happened(one, 'signalReconnecting', since)));
      await until(`${one.name} is connected`, async () => (one === nat ? (await nat.do('state')).state === 'CONN_CONNECTED' : ada.page.evaluate(() => window.__conclave.room.state === 'connected')));
    }
    await everyoneHearsAndSees(people);
    const after = { ada: await sound(ada), nat: await sound(nat), ben: await sound(ben) };
    for (const name of ['ada', 'nat', 'ben']) {
      const lost = after[name].lost - before[name].lost;
      const packets = after[name].packets - before[name].packets;
      t.diagnostic(`${name}: ${packets} audio packets received over the cut, ${lost} lost, ${after[name].concealed - before[name].concealed} samples concealed`);
      assert.deepEqual(after[name].ssrcs, before[name].ssrcs, `${name} keeps its streams`);
      assert.ok(lost <= packets * 0.01, `${name} lost ${lost} of ${packets}`);
    }
    assert.deepEqual(await ben.page.evaluate(() => window.__left), [], 'for Ben nobody was ever gone');
  });

  await t.test('what happens while the signal connection is away is known after the resume', async () => {
    const since = (await ada.events()).length;
    await ben.page.evaluate(() => {
      window.__words = [];
      window.__conclave.room.on('dataReceived', (payload) => window.__words.push(new TextDecoder().decode(payload)));
    });
    const say = (word) => ada.page.evaluate((word) => void window.__conclave.room.localParticipant.publishData(new TextEncoder().encode(word), { reliable: true }), word);
    await say('before');
    wire.cut({ stay: true });
    await until('ada notices', async () => (await happened(ada, 'signalReconnecting', since)) || (await happened(ada, 'reconnecting', since)));
    // The client keeps it back until it has resumed.
    await say('meanwhile');
    await ben.page.evaluate(() => window.__conclave.room.localParticipant.setMicrophoneEnabled(false));
    ben.microphone = false;
    wire.mend();
    await everyoneHearsAndSees(people);
    await say('after');
    const words = () => ben.page.evaluate(() => window.__words);
    await until('ben has every word', async () => (await words()).includes('after'));
    assert.deepEqual(await words(), ['before', 'meanwhile', 'after']);
    await ben.page.evaluate(() => window.__conclave.room.localParticipant.setMicrophoneEnabled(true));
    ben.microphone = true;
    await everyoneHearsAndSees(people);
  });

  await t.test('npm client: the server asks for a full reconnect', async () => {
    const since = (await ada.events()).length;
    await ada.page.evaluate(() => window.__conclave.room.simulateScenario('leave-full-reconnect'));
    await until('ada came in anew', () => happened(ada, 'reconnected', since));
    // The client says so up to two seconds before it is done inside, and withholds the events of that time from its
    // application (livekit-client 2.23: `emitWhenConnected` asks `engine.pendingReconnect`).
    await until('ada is done', () => ada.page.evaluate(() => !window.__conclave.room.engine.pendingReconnect));
    await everyoneHearsAndSees(people);
  });

  await t.test('native client: the server asks for a full reconnect', async () => {
    const since = (await nat.events()).length;
    await nat.do('simulate', { scenario: 'full-reconnect' });
    await until('nat came in anew', () => happened(nat, 'reconnected', since));
    await everyoneHearsAndSees(people);
  });

  await t.test('a server that was restarted takes everyone back', async () => {
    const marks = new Map();
    for (const one of people) marks.set(one, (await one.events()).length);
    await server.stop('SIGKILL');
    await server.run();
    for (const one of people) await until(`${one.name} came in anew`, () => happened(one, 'reconnected', marks.get(one)), { limit: 60_000 });
    await everyoneHearsAndSees(people);
  });
});

/** Counters of the sound that one participant receives. */
async function sound(participant) {
  const entries = participant.kind === 'native' ? await participant.do('inbound') : await participant.stats('inbound-rtp');
  const audio = entries.filter((one) => one.kind === 'audio');
  const sum = (field) => audio.reduce((total, one) => total + (one[field] ?? 0), 0);
  const live = audio.filter((one) => one.packetsReceived > 0);
  return { packets: sum('packetsReceived'), lost: sum('packetsLost'), concealed: sum('concealedSamples'), ssrcs: live.map((one) => one.ssrc).sort() };
}

test('who comes in while the web client is still finishing a full reconnect is heard by it', { timeout: 3 * 60_000 }, async (t) => {
  const server = await Server.start('reconnect-web');
  t.after(() => server.stop());
  const browser = await launchChromium();
  t.after(() => browser.close());
  const ada = new WebParticipant(browser, { name: 'Ada', ...SIGNS[0] });
  const nat = new NativeParticipant({ name: 'Nat', ...SIGNS[1] });
  t.after(() => nat.close());
  await ada.join(server.url, ROOM);
  await nat.join(server.socketUrl, token(ROOM, 'nat'));
  await everyoneHearsAndSees([ada, nat]);

  const since = (await ada.events()).length;
  await ada.page.evaluate(() => window.__conclave.room.simulateScenario('leave-full-reconnect'));
  await until('Ada came in anew', async () => (await ada.events()).slice(since).some((event) => event.name === 'reconnected'), { every: 20 });
  // From here on livekit-client keeps events to itself for a while, and some of them for ever.
  await nat.leave();
  await nat.join(server.socketUrl, token(ROOM, 'nat'));
  await everyoneHearsAndSees([ada, nat]);
});
