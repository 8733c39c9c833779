/**
 * Data tracks between npm `livekit-client` in Chromium and the native SDK: frames arrive as they were sent, at those who
 * subscribed and at nobody else, over a resume too; who may not publish data hears so.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serveBarePage } from './lib/bare.js';
import { launchChromium } from './lib/browsers.js';
import { BareParticipant, NativeParticipant, SIGNS } from './lib/participants.js';
import { Wire } from './lib/relay.js';
import { Server } from './lib/server.js';
import { token } from './lib/token.js';
import { until } from './lib/until.js';

const ROOM = 'measurements';

/** More than one packet. */
const LENGTH = 5000;

test('data tracks', { timeout: 4 * 60_000 }, async (t) => {
  const server = await Server.start('data-tracks');
  t.after(() => server.stop());
  const page = await serveBarePage();
  t.after(page.stop);
  const wire = await Wire.start(server.port);
  t.after(() => wire.stop());
  const browser = await launchChromium();
  t.after(() => browser.close());

  const [ada, ben, eve] = ['ada', 'ben', 'eve'].map((name, index) => new BareParticipant(browser, { name, ...SIGNS[index] }));
  const nat = new NativeParticipant({ name: 'nat', ...SIGNS[3] });
  t.after(() => nat.close());
  const silent = { publish: false };
  const cutUrl = `ws://127.0.0.1:${wire.port}`;
  await ada.join(page.url, cutUrl, token(ROOM, 'ada'), silent);
  await ben.join(page.url, cutUrl, token(ROOM, 'ben'), silent);
  await eve.join(page.url, server.socketUrl, token(ROOM, 'eve', { grant: { canPublishData: false } }), silent);
  await nat.join(server.socketUrl, token(ROOM, 'nat'), silent);
  for (const one of [ada, ben, eve]) await one.page.evaluate(listenForPackets);

  await t.test('frames arrive as they were sent, at those who subscribed', async () => {
    await ada.page.evaluate(publish, 'position', LENGTH);
    await nat.do('publish_data', { name: 'speed' });
    await ben.page.evaluate(subscribe, 'ada', 'position');
    await ben.page.evaluate(subscribe, 'nat', 'speed');
    await nat.do('subscribe_data', { name: 'position' });
    await gets(ben, 'position');
    await nat.do('push', { text: 'speed 1' });
    await until('ben has what the native client sent', async () => {
      await nat.do('push', { text: 'speed 2' });
      return (await framesOf(ben)).includes('speed 2');
    });
    await gets(nat, 'position');
    assert.equal(await packetsOf(eve), 0, 'eve has not subscribed');
    assert.equal(await packetsOf(ada), 0, 'nobody gets what is its own');
  });

  await t.test('who may not publish data is told so', async () => {
    const refusal = await eve.page.evaluate(() =>
      window.__conclave.room.localParticipant.publishDataTrack({ name: 'secret' }).then(
        () => 'published',
        (error) => error.reasonName,
      ),
    );
    assert.equal(refusal, 'NotAllowed');
  });

  await t.test('a name that is taken is refused, and the track that has it goes on', async () => {
    const refusal = await ada.page.evaluate(() =>
      window.__conclave.room.localParticipant.publishDataTrack({ name: 'position' }).then(
        () => 'published',
        (error) => error.reasonName,
      ),
    );
    assert.equal(refusal, 'DuplicateName');
    await gets(ben, 'position');
  });

  await t.test('after a resume of both ends frames arrive', async () => {
    const resumed = async (one, since) => (await one.events()).slice(since).some((event) => event.name === 'reconnected');
    const noticed = async (one, since) => (await one.events()).slice(since).some((event) => event.name === 'signalReconnecting' || event.name === 'reconnecting');
    const marks = new Map();
    for (const one of [ada, ben]) marks.set(one, (await one.events()).length);
    assert.ok(wire.cut() > 0, 'something was cut');
    for (const one of [ada, ben]) {
      await until(`${one.name} is back`, async () => (await resumed(one, marks.get(one))) || ((await noticed(one, marks.get(one))) && (await one.page.evaluate(() => window.__conclave.room.state === 'connected'))));
    }
    await gets(ben, 'position');
    await gets(nat, 'position');
    // Subscriptions are made and ended as before.
    await eve.page.evaluate(subscribe, 'ada', 'position');
    await gets(eve, 'position');
  });

  await t.test('who ends its subscription gets no more', async () => {
    await eve.page.evaluate(() => window.__readers.position.cancel());
    let before;
    await until('nothing comes any more', async () => {
      const [last, now] = [before, await packetsOf(eve)];
      before = now;
      return last === now;
    }, { every: 1000 });
    await gets(ben, 'position');
    assert.equal(await packetsOf(eve), before);
  });

  await t.test('a track that ends is gone for everybody', async () => {
    await ada.page.evaluate(() => window.__stop());
    await until('ben sees it end', () => ben.page.evaluate(() => window.__ended.includes('position')));
    assert.equal(await ben.page.evaluate(() => window.__conclave.room.remoteParticipants.get('ada').dataTracks.size), 0);
  });
});

/** In the page: counts packets of data tracks, whoever they are for. */
function listenForPackets() {
  Object.assign(window, { __packets: 0, __frames: [], __readers: {}, __ended: [] });
  window.__conclave.room.engine.on('dataTrackPacketReceived', () => window.__packets++);
}

/** In the page: publishes a data track, and sends frames with its name and a number until `__stop`. */
async function publish(name, length) {
  const track = await window.__conclave.room.localParticipant.publishDataTrack({ name });
  let number = 0;
  const timer = setInterval(() => {
    const payload = new TextEncoder().encode(`${name} ${++number} `.padEnd(length, '.'));
    track.tryPush({ payload }).catch(() => {});
  }, 100);
  window.__stop = () => {
    clearInterval(timer);
    return track.unpublish();
  };
}

/** In the page: reads the frames of somebody's data track. */
async function subscribe(identity, name) {
  const tracks = () => window.__conclave.room.remoteParticipants.get(identity)?.dataTracks;
  while (!tracks()?.get(name)) await new Promise((done) => setTimeout(done, 20));
  const reader = tracks().get(name).subscribe().getReader();
  window.__readers[name] = reader;
  const read = async () => {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      window.__frames.push(new TextDecoder().decode(next.value.payload));
    }
    window.__ended.push(name);
  };
  read();
}

const framesOf = (one) => (one.kind === 'native' ? one.do('frames') : one.page.evaluate(() => window.__frames));

const packetsOf = (one) => one.page.evaluate(() => window.__packets);

/** New whole frames arrive. */
async function gets(one, name) {
  const since = (await framesOf(one)).length;
  const isFrame = (frame) => frame.startsWith(`${name} `) && frame.length === LENGTH;
  const frames = await until(`${one.name} gets frames`, async () => {
    const frames = (await framesOf(one)).slice(since).filter((frame) => frame.startsWith(name));
    return frames.length >= 3 && frames;
  });
  for (const frame of frames) assert.ok(isFrame(frame), `${one.name}: ${frame.slice(0, 30)}… of ${frame.length}`);
  const numbers = frames.map((frame) => Number(frame.split(' ')[1]));
  assert.deepEqual(numbers, [...new Set(numbers)], 'none twice');
}
