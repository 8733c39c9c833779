/**
 * Every version of npm `livekit-client` that is in use, and the native SDK, on each endpoint it knows: the older protocol
 * with two PeerConnections (`/rtc`) and the newer one with one (`/rtc/v1`). Two of a version, one on each, go through all
 * that a meeting has; then all meet in one room.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { serveBarePage } from './lib/bare.js';
import { launchChromium, launchFirefox } from './lib/browsers.js';
import { everyoneHearsAndSees } from './lib/everyone.js';
import { BareParticipant, NativeParticipant, SIGNS } from './lib/participants.js';
import { Wire } from './lib/relay.js';
import { Server } from './lib/server.js';
import { token } from './lib/token.js';
import { pause, until } from './lib/until.js';

/** Small pictures: many encoders share this machine. */
const SMALL = { width: 320, height: 180, fps: 8 };
/** Joins of which the median is told. */
const JOINS = 5;

/** `single` on one PeerConnection. 2.15 knows it only as an experiment, without the endpoint. */
const PAIRS = [
  { name: '2.15 and 2.23', clients: [{ version: '2.15', single: false }, { version: '2.23', single: true }] },
  { name: '2.18', clients: [{ version: '2.18', single: false }, { version: '2.18', single: true }] },
  { name: '2.21', clients: [{ version: '2.21', single: false }, { version: '2.21', single: true }] },
  { name: '2.23', clients: [{ version: '2.23', single: false }, { version: '2.23', single: true }] },
  { name: 'native 1.2', clients: [{ native: true, single: false }, { native: true, single: true }] },
  { name: 'Firefox and 2.23', clients: [{ version: '2.15', single: false, firefox: true }, { version: '2.23', single: true }] },
];

let server, page, wire, chromium, firefox;

before(async () => {
  // Six people hum steadily in one room, and each must be heard: not only the five loudest.
  server = await Server.start('clients', { settings: { CONCLAVE_MEDIA_AUDIO_TOP_N: '0' } });
  page = await serveBarePage();
  wire = await Wire.start(server.port);
  [chromium, firefox] = await Promise.all([launchChromium(), launchFirefox(SIGNS[0].tone)]);
});

after(async () => {
  await Promise.all([chromium, firefox].map((browser) => browser?.close()));
  await page?.stop();
  await wire?.stop();
  await server?.stop();
});

const endpoint = (client) => (client.single ? '/rtc/v1' : '/rtc');

function participant(client, index) {
  const name = `${client.native ? 'native' : client.version}${client.firefox ? '-firefox' : ''}${client.single ? '-v1' : '-v0'}`;
  const options = { name, ...SIGNS[index], ...SMALL };
  const one = client.native
    ? new NativeParticipant(options)
    : new BareParticipant(client.firefox ? firefox : chromium, { ...options, fakeMicrophone: Boolean(client.firefox) });
  return Object.assign(one, { client });
}

async function enter(one, room, { camera = true } = {}) {
  const { client } = one;
  const url = `ws://127.0.0.1:${wire.port}`;
  const jwt = token(room, one.name);
  const asked = wire.paths.length;
  if (client.native) {
    await one.join(url, jwt, { single: client.single, camera });
  } else {
    const newest = client.version === '2.23';
    const options = { singlePeerConnection: client.single };
    await one.join(newest ? page.url : `${page.url}${client.version}/`, url, jwt, { room: options, camera });
    assert.equal(await one.page.evaluate(() => window.LivekitClient.version.split('.').slice(0, 2).join('.')), client.version);
  }
  assert.ok(wire.paths.slice(asked).includes(endpoint(client)), `${one.name} came by ${wire.paths.slice(asked)}`);
}

async function close(people) {
  for (const one of people) await one.close();
}

for (const { name, clients } of PAIRS) {
  test(`${name}: two and one PeerConnection meet`, { timeout: 3 * 60_000 }, async (t) => {
    const people = clients.map(participant);
    t.after(() => close(people));
    await t.test('they hear and see each other', async () => {
      for (const one of people) await enter(one, name);
      await everyoneHearsAndSees(people);
    });

    await t.test('who is muted is silent, and heard again afterwards', async () => {
      const [first, second] = people;
      await Promise.all([first.toggleMicrophone(), second.toggleCamera()]);
      await everyoneHearsAndSees(people);
      await Promise.all([first.toggleMicrophone(), second.toggleCamera()]);
      await everyoneHearsAndSees(people);
    });

    await t.test('chat and data arrive', () => talk(people, 'hello'));

    await t.test('a cut signal connection is resumed', async () => {
      const marks = await eventCounts(people);
      assert.ok(wire.cut() > 0, 'something was cut');
      for (const one of people) await happened(one, 'reconnected', marks.get(one));
      await everyoneHearsAndSees(people);
      await talk(people, 'still here');
    });

    await t.test('they come in anew when the server says so', async () => {
      const marks = await eventCounts(people);
      for (const one of people) {
        await one.simulateFullReconnect();
        await happened(one, 'reconnected', marks.get(one));
        // livekit-client keeps events to itself until it is done inside.
        if (one.page) await until(`${one.name} is done`, () => one.page.evaluate(() => !window.__conclave.room.engine.pendingReconnect));
      }
      await everyoneHearsAndSees(people);
      await talk(people, 'back again');
    });
    // In Firefox, livekit-client does not catch what its WebSocket throws when it is cut.
    const careful = people.filter((one) => !one.client.firefox);
    assert.deepEqual(careful.flatMap((one) => one.errors), [], 'no script of a page failed');
  });
}

test('all versions in one room', { timeout: 5 * 60_000 }, async (t) => {
  // One of each, on one endpoint or the other: all share two cores.
  const clients = [
    { version: '2.15', single: false },
    { version: '2.18', single: false },
    { version: '2.21', single: true },
    { version: '2.23', single: true },
    { native: true, single: false },
    { native: true, single: true },
  ];
  const people = clients.map(participant);
  t.after(() => close(people));
  const shown = ['2.15-v0', '2.23-v1', 'native-v0'];
  for (const one of people) await enter(one, 'all', { camera: shown.includes(one.name) });
  await everyoneHearsAndSees(people, { limit: 90_000 });
  await talk(people, 'hello all');
  await Promise.all(people.map((one) => one.leave()));
});

test('how long joining takes', { timeout: 3 * 60_000 }, async (t) => {
  const speaker = participant({ native: true, single: true }, 1);
  const listeners = [];
  t.after(() => close([speaker, ...listeners]));
  await enter(speaker, 'times');
  const all = ({ connected, sound, picture }) => connected !== null && sound !== null && picture !== null;
  const begun = (one) => until(`${one.name} hears and sees`, async () => {
    const times = await one.do('beginnings');
    return all(times) && times;
  }, { every: 50 });
  for (const single of [true, false]) {
    const alone = [];
    for (let i = 0; i < JOINS; i++) {
      const one = participant({ native: true, single }, 2);
      one.name = `listener-${single}-${i}`;
      listeners.push(one);
      await one.join(server.socketUrl, token('times', one.name), { single, publish: false });
      alone.push(await begun(one));
      await one.close();
    }
    // In a row: nobody waits for the one before.
    const row = Array.from({ length: JOINS }, (_, i) => Object.assign(participant({ native: true, single }, 2), { name: `row-${single}-${i}` }));
    listeners.push(...row);
    await Promise.all(row.map(async (one, i) => {
      await pause(150 * i);
      await one.join(server.socketUrl, token('times', one.name), { single, publish: false });
    }));
    const inARow = await Promise.all(row.map(begun));
    await close(row);
    const tell = (times) => ['connected', 'sound', 'picture'].map((what) => `${what} ${median(times.map((one) => one[what]))} ms`).join(', ');
    t.diagnostic(`native client, ${single ? 'one PeerConnection' : 'two PeerConnections'}: ${tell(alone)}; in a row: ${tell(inARow)}`);
  }
});

function median(numbers) {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
}

/** Each says something in the chat, and sends a packet of each kind; all others get it. */
async function talk(people, text) {
  for (const writer of people) {
    await writer.say(`${text} from ${writer.name}`);
    await writer.send(`${text} surely from ${writer.name}`, true);
  }
  for (const writer of people) {
    for (const reader of people.filter((one) => one !== writer)) {
      await until(`${reader.name} reads ${writer.name}`, async () => (await reader.said()).includes(`${text} from ${writer.name}`));
      await until(`${reader.name} gets data of ${writer.name}`, async () => (await reader.got()).includes(`${text} surely from ${writer.name}`));
      // What may be lost is sent until it arrives.
      const packet = `${text} perhaps from ${writer.name}`;
      await until(`${reader.name} gets lossy data of ${writer.name}`, async () => {
        await writer.send(packet, false);
        return (await reader.got()).includes(packet);
      });
    }
  }
}

async function eventCounts(people) {
  return new Map(await Promise.all(people.map(async (one) => [one, (await one.events()).length])));
}

function happened(one, name, since) {
  return until(`${one.name}: ${name}`, async () => (await one.events()).slice(since).some((event) => event.name === name), {
    explain: async () => JSON.stringify((await one.events()).slice(since)),
  });
}
