/**
 * LiveKit's Go SDK, on which its CLI, egress, ingress, SIP and most bots stand: pion inside, an implementation of WebRTC that
 * shares nothing with libwebrtc's. It leaves it to the server to begin DTLS, names codecs as MIME types, and gives up a section
 * that was once inactive. What arrives is counted: packets of sound, whole frames of pictures.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { serveBarePage } from './lib/bare.js';
import { launchChromium } from './lib/browsers.js';
import { GoParticipant, GoProgram } from './lib/go.js';
import { BareParticipant, NativeParticipant, SIGNS } from './lib/participants.js';
import { Server } from './lib/server.js';
import { token } from './lib/token.js';
import { until } from './lib/until.js';

const SMALL = { width: 320, height: 180, fps: 8 };
const SOUND = { opus: 50 };
const ALL = { opus: 50, h264: 15 };

let server, program;

before(async () => {
  // Eight speak at once, and each must be heard.
  server = await Server.start('go', { settings: { CONCLAVE_MEDIA_AUDIO_TOP_N: '0' } });
  program = new GoProgram();
});

after(async () => {
  await program?.end();
  await server?.stop();
});

async function enter(name, room, options) {
  const one = new GoParticipant(program, name);
  await one.join(server.socketUrl, token(room, name), options);
  return one;
}

/** So much more of each kind than now. */
async function arrives(listener, speaker, wanted, { limit = 30_000 } = {}) {
  const amount = (counts, codec) => counts[codec]?.[codec === 'opus' ? 'packets' : 'frames'] ?? 0;
  const first = await listener.received(speaker.identity);
  let now = first;
  await until(
    `${listener.name} gets ${Object.keys(wanted)} of ${speaker.name}`,
    async () => {
      now = await listener.received(speaker.identity);
      return Object.entries(wanted).every(([codec, count]) => amount(now, codec) >= amount(first, codec) + count);
    },
    { limit, every: 250, explain: () => JSON.stringify(now) },
  );
}

/** Each gets what each of the others sends. */
async function allArrives(people, wanted, options) {
  const pairs = people.flatMap((listener) => people.filter((one) => one !== listener).map((speaker) => [listener, speaker]));
  await Promise.all(pairs.map(([listener, speaker]) => arrives(listener, speaker, wanted, options)));
}

for (const single of [false, true]) {
  const name = single ? 'one PeerConnection' : 'two PeerConnections';
  test(`${name}: join, publish, subscribe, data`, { timeout: 2 * 60_000 }, async () => {
    const room = `go-${single}`;
    const ada = await enter('ada', room, { single, publish: ['opus', 'vp8'] });
    const ben = await enter('ben', room, { single, publish: ['opus', 'vp8'] });
    await allArrives([ada, ben], { opus: 50, vp8: 15 });
    for (const reliable of [true, false]) {
      for (const [writer, reader] of [[ada, ben], [ben, ada]]) {
        const text = `${reliable} of ${writer.name}`;
        await until(`${reader.name} gets data of ${writer.name}`, async () => {
          await writer.send(text, reliable);
          return (await reader.got()).includes(`${writer.name}: ${text}`);
        });
      }
    }
    await Promise.all([ada, ben].map((one) => one.leave()));
  });

  test(`${name}: H.264, one stream and simulcast`, { timeout: 2 * 60_000 }, async () => {
    const room = `go-h264-${single}`;
    const ada = await enter('ada', room, { single, publish: ['opus', 'h264'] });
    const ben = await enter('ben', room, { single, publish: ['opus', 'h264-simulcast'] });
    await allArrives([ada, ben], ALL);
    await Promise.all([ada, ben].map((one) => one.leave()));
  });

  test(`${name}: somebody leaves, somebody else comes, again and again`, { timeout: 3 * 60_000 }, async () => {
    const room = `go-turns-${single}`;
    const ada = await enter('ada', room, { single, publish: ['opus', 'h264'] });
    for (const guest of ['ben', 'cleo', 'dan']) {
      const one = await enter(guest, room, { single, publish: ['opus', 'h264'] });
      await allArrives([ada, one], ALL);
      await one.leave();
      await until(`${guest} is gone`, async () => (await ada.people()).length === 0);
    }
    // And a track, without its owner leaving.
    const eve = await enter('eve', room, { single, publish: ['opus'] });
    for (let turn = 0; turn < 3; turn++) {
      const [sid] = await eve.do('publish', { what: ['h264'] });
      await arrives(ada, eve, ALL);
      await eve.do('unpublish', { sid });
      await until('the picture is gone', async () => !('h264' in (await ada.received('eve'))));
    }
    await arrives(ada, eve, SOUND);
    await Promise.all([ada, eve].map((one) => one.leave()));
  });

  test(`${name}: the server lets them come in anew`, { timeout: 2 * 60_000 }, async () => {
    const room = `go-anew-${single}`;
    const ada = await enter('ada', room, { single, publish: ['opus', 'h264'] });
    const ben = await enter('ben', room, { single, publish: ['opus', 'h264'] });
    await allArrives([ada, ben], ALL);
    for (const scenario of ['full-reconnect', 'signal']) {
      const before = (await ada.events()).filter((event) => event === 'reconnected').length;
      await ada.simulate(scenario);
      await until(`ada is back after ${scenario}`, async () => (await ada.events()).filter((event) => event === 'reconnected').length > before, {
        explain: () => ada.events(),
      });
      await allArrives([ada, ben], ALL);
    }
    await Promise.all([ada, ben].map((one) => one.leave()));
  });
}

// The SDK loses an answer that comes before it has made its own offer valid: one join in thirteen, before the server waited.
test('sixty come in over one PeerConnection, four at once', { timeout: 3 * 60_000 }, async () => {
  for (let round = 0; round < 15; round++) {
    const names = ['ada', 'ben', 'cleo', 'dan'];
    const people = await Promise.all(names.map((name) => enter(name, `go-joins-${name}`, { single: true })));
    await Promise.all(people.map((one) => one.leave()));
  }
});

test('a meeting of eight: all of 112 tracks', { timeout: 4 * 60_000 }, async (t) => {
  const names = ['ada', 'ben', 'cleo', 'dan', 'eve', 'fay', 'gus', 'hal'];
  const publish = ['opus', 'h264-simulcast'];
  const people = await Promise.all(names.map((name) => enter(name, 'eight', { publish })));
  await allArrives(people, { opus: 25, h264: 5 }, { limit: 60_000 });
  const tracks = await Promise.all(people.map(async (one) => Object.keys(await one.counts()).length));
  t.diagnostic(`tracks: ${tracks.join(' + ')} = ${tracks.reduce((sum, count) => sum + count)}`);
  assert.deepEqual(tracks, names.map(() => 14));
  await Promise.all(people.map((one) => one.leave()));
});

test('with a browser and the native SDK in one room', { timeout: 3 * 60_000 }, async (t) => {
  const page = await serveBarePage();
  const chromium = await launchChromium();
  const browser = new BareParticipant(chromium, { name: 'browser', ...SIGNS[1], ...SMALL });
  const native = new NativeParticipant({ name: 'native', ...SIGNS[2], ...SMALL });
  t.after(async () => {
    await Promise.all([browser.close(), native.close()]);
    await Promise.all([chromium.close(), page.stop()]);
  });
  const ada = await enter('ada', 'mixed', { publish: ['opus', 'h264'] });
  const ben = await enter('ben', 'mixed', { single: true, publish: ['opus', 'vp8'] });
  await browser.join(page.url, server.socketUrl, token('mixed', 'browser'));
  await native.join(server.socketUrl, token('mixed', 'native'));
  for (const listener of [ada, ben]) {
    for (const speaker of [browser, native]) await arrives(listener, speaker, { opus: 50, vp8: 10 });
  }
  const [tone, hue] = [SIGNS[0].tone, 0];
  const tones = SIGNS.map((sign) => sign.tone);
  for (const listener of [browser, native]) {
    let before = {};
    let seen, heard;
    await until(
      `${listener.name} hears and sees both`,
      async () => {
        [heard, seen] = [await listener.listen(tones), await listener.look('camera')];
        const good = ['ada', 'ben'].every((name) => {
          const view = seen[name];
          const isRed = view?.hue !== null && Math.min(view?.hue, 360 - view?.hue) < 20;
          return heard[name]?.shares?.[tone] > 0.4 && isRed && view.height === 180 && view.frames > (before[name]?.frames ?? Infinity);
        });
        before = seen;
        return good;
      },
      { every: 500, explain: () => JSON.stringify({ hue, heard, seen }) },
    );
  }
  await Promise.all([ada, ben].map((one) => one.leave()));
});
