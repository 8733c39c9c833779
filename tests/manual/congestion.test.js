/**
 * Five people watch one. The network of one of them becomes too slow, and recovers: the others notice nothing, the slow
 * one keeps sound and a smaller picture, and has the large one back soon.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { serveBarePage } from '../lib/bare.js';
import { launchChromium } from '../lib/browsers.js';
import { BareParticipant, SIGNS } from '../lib/participants.js';
import { OUTPUT } from '../lib/paths.js';
import { chooseSeed } from '../lib/random.js';
import { Relay } from '../lib/relay.js';
import { Server } from '../lib/server.js';
import { token } from '../lib/token.js';
import { pause, until } from '../lib/until.js';

const ROOM = 'narrow';
const TOP = 640;
const FPS = 20;
/** Fills the large layer's rate, and leaves the small layer's encoder all its frames. */
const GRAIN = 35;
/** How long each network is looked at, in decoded seconds of sound. */
const SPAN = 10;

const NETWORKS = {
  narrow: { name: '300 kbit/s', down: { rate: 300_000, queue: 200, delay: 20 }, smaller: true },
  megabit: { name: '1 Mbit/s with a queue of 200 ms', down: { rate: 1_000_000, queue: 200, delay: 20 }, smaller: true },
  lossy: { name: '5 % loss', down: { loss: 0.05, delay: 20 }, smaller: false },
  lossier: { name: '10 % loss', down: { loss: 0.1, delay: 20 }, smaller: false },
};

const layer = (part, maxBitrate) => ({ width: TOP / part, height: 360 / part, encoding: { maxBitrate, maxFramerate: FPS } });
const { encoding } = layer(1, 1_700_000);

/** `full`: what the encoder sends once it has grown, bits per second. */
const PUBLISHERS = [
  {
    name: 'VP8 in two layers',
    // As many bits as a large picture has, on as few pixels as a small machine decodes five times over.
    defaults: { videoCodec: 'vp8', videoEncoding: encoding, videoSimulcastLayers: [layer(2, 180_000)] },
    full: 1_400_000,
    networks: Object.values(NETWORKS),
  },
  {
    // Chromium gives a layer of VP9 as many bits as it has pixels: 1 Mbit/s would be enough for all of them.
    name: 'VP9 in L3T3_KEY',
    defaults: { videoCodec: 'vp9', videoEncoding: encoding, scalabilityMode: 'L3T3_KEY', backupCodec: false },
    full: 450_000,
    networks: [NETWORKS.narrow, NETWORKS.lossier],
  },
];

for (const { name, defaults, full, networks } of PUBLISHERS) test(`${name}: a slow network is its owner's alone, and costs him pixels rather than sound`, { timeout: 10 * 60_000 }, async (t) => {
  const server = await Server.start('congestion', { shards: 1 });
  t.after(() => server.stop());
  const relay = await Relay.start(server.mediaPort, { seed: chooseSeed() });
  t.after(() => relay.stop());
  const page = await serveBarePage();
  t.after(page.stop);
  const browsers = [await launchChromium(), await launchChromium()];
  t.after(() => Promise.all(browsers.map((browser) => browser.close())));

  const ada = new BareParticipant(browsers[0], { name: 'ada', ...SIGNS[0], width: TOP, height: 360, fps: FPS, noise: GRAIN });
  const publishDefaults = { dtx: false, ...defaults };
  await ada.join(page.url, server.socketUrl, token(ROOM, 'ada'), { room: { dynacast: false, publishDefaults } });
  const watchers = [];
  for (let i = 0; i < 5; i++) {
    const name = `watcher${i}`;
    const relays = i === 0 ? { [server.mediaPort]: relay.port } : {};
    const one = new BareParticipant(browsers[1], { name, ...SIGNS[1], relays });
    await one.join(page.url, server.socketUrl, token(ROOM, name), { publish: false });
    watchers.push(one);
  }
  const [slow, ...others] = watchers;
  const width = async (one) => (await one.look())[ada.identity]?.width ?? 0;
  const explain = async () => JSON.stringify({
    widths: await Promise.all(watchers.map(width)),
    sent: (await ada.stats('outbound-rtp')).filter((one) => one.kind === 'video').map(({ rid, framesPerSecond, targetBitrate }) => ({ rid, framesPerSecond, targetBitrate })),
  });
  const allLarge = () => until('everybody has the large picture', async () => (await Promise.all(watchers.map(width))).every((w) => w === TOP), { limit: 60_000, explain });
  await allLarge();
  // A sender begins with little; what is to be too much must first be there.
  let last = await sent(ada);
  await until('the large picture has grown to its full rate', async () => {
    await pause(1000);
    const now = await sent(ada);
    const total = (layers) => Object.values(layers).reduce((sum, { bytes }) => sum + bytes, 0);
    const rate = (total(now) - total(last)) * 8;
    last = now;
    return rate > full;
  }, { limit: 120_000, explain });

  const figures = [];
  for (const network of networks) {
    await allLarge();
    const began = performance.now();
    await relay.impair(network.down, {});
    let smallerAfter;
    if (network.smaller) {
      await until(`${network.name}: a smaller picture`, async () => (await width(slow)) < TOP, { limit: 30_000, explain });
      smallerAfter = (performance.now() - began) / 1000;
    }
    // The estimate settles.
    await pause(5000);
    const [before, sentBefore] = [await Promise.all(watchers.map(received)), await sent(ada)];
    await until('a while has been heard', async () => (await received(slow)).heard - before[0].heard > SPAN, { limit: 60_000 });
    const [after, sentAfter] = [await Promise.all(watchers.map(received)), await sent(ada)];
    const grown = (index, field) => after[index][field] - before[index][field];
    const delay = grown(0, 'waited') / Math.max(1, grown(0, 'emitted'));
    const widths = await Promise.all(watchers.map(width));
    const lifted = performance.now();
    await relay.impair({}, {});
    await allLarge();
    const figure = {
      network: network.name,
      layers: Object.fromEntries(Object.entries(sentAfter).map(([rid, { bytes, frames }]) => [rid, {
        kilobits: Math.round(((bytes - sentBefore[rid].bytes) * 8) / grown(0, 'heard') / 1000),
        framesPerSecond: (frames - sentBefore[rid].frames) / grown(0, 'heard'),
      }])),
      smallerAfterSeconds: smallerAfter,
      slow: {
        width: widths[0],
        framesPerSecond: grown(0, 'frames') / grown(0, 'heard'),
        concealed: grown(0, 'concealed') / grown(0, 'samples'),
        jitterBufferMilliseconds: delay * 1000,
      },
      others: others.map((_, index) => ({
        width: widths[index + 1],
        framesPerSecond: grown(index + 1, 'frames') / grown(index + 1, 'heard'),
        lost: grown(index + 1, 'lost'),
      })),
      largeAgainAfterSeconds: (performance.now() - lifted) / 1000,
    };
    figures.push(figure);
    t.diagnostic(JSON.stringify(figure));
  }
  writeFileSync(path.join(OUTPUT, `congestion-${defaults.videoCodec}.json`), JSON.stringify(figures, null, 2));

  for (const [index, figure] of figures.entries()) {
    if (networks[index].smaller) assert.ok(figure.slow.width < TOP, `${figure.network}: a smaller picture`);
    assert.ok(figure.slow.framesPerSecond >= 15, `${figure.network}: ${figure.slow.framesPerSecond} frames a second`);
    assert.ok(figure.slow.concealed < 0.05, `${figure.network}: ${(figure.slow.concealed * 100).toFixed(1)} % of the sound is made up`);
    for (const other of figure.others) {
      assert.equal(other.width, TOP, `${figure.network}: the others keep the large picture`);
      assert.ok(other.framesPerSecond >= FPS / 2, `${figure.network}: the others see it move`);
    }
  }
});

/** Bytes and frames of each layer so far. */
async function sent(participant) {
  const video = (await participant.stats('outbound-rtp')).filter((one) => one.kind === 'video');
  return Object.fromEntries(video.map(({ rid = 'all', bytesSent, framesSent }) => [rid, { bytes: bytesSent, frames: framesSent }]));
}

/** What one has received so far; times in seconds of sound, which a loaded machine does not stretch. */
async function received(participant) {
  const inbound = await participant.stats('inbound-rtp');
  const of = (kind) => inbound.find((one) => one.kind === kind) ?? {};
  const [audio, video] = [of('audio'), of('video')];
  return {
    heard: (audio.totalSamplesReceived ?? 0) / 48_000,
    samples: audio.totalSamplesReceived ?? 0,
    concealed: audio.concealedSamples ?? 0,
    frames: video.framesDecoded ?? 0,
    lost: video.packetsLost ?? 0,
    waited: audio.jitterBufferDelay ?? 0,
    emitted: audio.jitterBufferEmittedCount ?? 0,
  };
}
