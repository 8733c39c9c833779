/**
 * Every codec that browsers send, as simulcast and as SVC, in the clear and with LiveKit's end-to-end encryption: a
 * subscriber that asks HIGH, LOW, HIGH decodes each.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { serveBarePage } from './lib/bare.js';
import { launchChromium, launchFirefox } from './lib/browsers.js';
import { BareParticipant, SIGNS } from './lib/participants.js';
import { ROOT } from './lib/paths.js';
import { Server } from './lib/server.js';
import { token } from './lib/token.js';
import { until } from './lib/until.js';

/** LiveKit's VideoQuality. */
const [LOW, , HIGH] = [0, 1, 2];

/** LiveKit's end-to-end encryption knows no AV1 (see the test of that). `layers`: how the client makes its layers. */
const MATRIX = [
  { codec: 'vp8', layers: 'simulcast' },
  { codec: 'h264', layers: 'simulcast' },
  { codec: 'vp9', layers: 'SVC L3T3_KEY', options: { scalabilityMode: 'L3T3_KEY' } },
  { codec: 'vp9', layers: 'SVC L3T3', options: { scalabilityMode: 'L3T3' } },
  { codec: 'vp9', layers: 'simulcast', options: { scalabilityMode: 'L1T3', simulcast: true } },
  { codec: 'av1', layers: 'SVC L3T3_KEY', options: { scalabilityMode: 'L3T3_KEY' } },
  { codec: 'av1', layers: 'SVC L3T3', options: { scalabilityMode: 'L3T3' } },
  { codec: 'av1', layers: 'simulcast', options: { scalabilityMode: 'L1T3', simulcast: true } },
  { codec: 'vp8', layers: 'simulcast', encrypted: true },
  { codec: 'h264', layers: 'simulcast', encrypted: true },
  { codec: 'vp9', layers: 'SVC L3T3_KEY', options: { scalabilityMode: 'L3T3_KEY' }, encrypted: true },
  { codec: 'vp9', layers: 'simulcast', options: { scalabilityMode: 'L1T3', simulcast: true }, encrypted: true },
];

/**
 * Firefox as a subscriber (no H.264: its decoder would be fetched from elsewhere), and as a publisher: there
 * livekit-client knows VP8 only, and publishes that whatever the app asks for.
 */
const TO_FIREFOX = MATRIX.filter((one) => one.codec !== 'h264' && one.layers !== 'SVC L3T3' && !(one.encrypted && one.options?.simulcast));
const FROM_FIREFOX = [false, true].map((encrypted) => ({ codec: 'vp8', layers: 'simulcast', encrypted }));

const rows = [];
let server, page;
before(async () => {
  server = await Server.start('codecs');
  page = await serveBarePage();
});
after(async () => {
  console.log(rows.map((row) => `# ${row}`).join('\n'));
  for (const browser of browsers.values()) await browser.close();
  await page?.stop();
  await server?.stop();
});

/** Who sends and who receives have a browser each; the same ones in all tests, for starting them takes long. */
const browsers = new Map();
async function browser(kind, role) {
  const name = `${kind} ${role}`;
  if (!browsers.has(name)) browsers.set(name, await (kind === 'Firefox' ? launchFirefox(SIGNS[3].tone) : launchChromium()));
  return browsers.get(name);
}

const inbound = async (who) => (await who.stats('inbound-rtp')).find((one) => one.kind === 'video') ?? {};

const ask = (who, publisher, quality) =>
  who.page.evaluate(
    (identity, wanted) => {
      const { videoTrackPublications } = window.__conclave.room.remoteParticipants.get(identity);
      for (const publication of videoTrackPublications.values()) publication.setVideoQuality(wanted);
    },
    publisher,
    quality,
  );

/** What each layer of a sender's picture is at. */
const layersOf = async (sender) => {
  const sent = (await sender.stats('outbound-rtp')).filter((one) => one.kind === 'video');
  return sent.map((one) => [one.rid, one.frameWidth, one.framesPerSecond, one.framesSent, one.targetBitrate, one.qualityLimitationReason]);
};

/**
 * Asks, and returns the size that is decoded once `fits` it for fifteen pictures on end. A sender that has just begun finds out
 * how much it may send, and may take its largest layer back for a moment; what counts is where it ends.
 */
async function decodes(who, sender, quality, fits) {
  await ask(who, sender.name, quality);
  let seen, fitsSince;
  let changes = 0;
  await until(
    `quality ${quality} is decoded`,
    async () => {
      seen = await inbound(who);
      if (!(seen.framesDecoded > 0 && fits(seen.frameWidth))) {
        changes += fitsSince === undefined ? 0 : 1;
        fitsSince = undefined;
        return false;
      }
      fitsSince ??= seen.framesDecoded;
      return seen.framesDecoded >= fitsSince + 15;
    },
    { limit: 40_000, explain: async () => JSON.stringify({ seen, changes, sent: await layersOf(sender) }) },
  );
  assert.ok(changes <= 4, `the size stays: it changed ${changes} times; sent: ${JSON.stringify(await layersOf(sender))}`);
  return `${seen.frameWidth}x${seen.frameHeight}${changes ? ` after ${changes} changes` : ''}`;
}

/** Bytes of a picture that a packet of Chromium holds at least, when it is full. */
const FULL = 1000;

/** What one picture costs: bytes and packets for each decoded frame. Key pictures have all layers, and are left out where they can be. */
async function cost(viewer, patience = 5) {
  const begun = await inbound(viewer);
  await until('a few seconds more', async () => (await inbound(viewer)).framesDecoded >= begun.framesDecoded + 60, { limit: 40_000 });
  const now = await inbound(viewer);
  if (now.keyFramesDecoded > begun.keyFramesDecoded && patience > 0) return cost(viewer, patience - 1);
  const each = (name) => (now[name] - begun[name]) / (now.framesDecoded - begun.framesDecoded);
  return { bytes: each('bytesReceived'), packets: each('packetsReceived'), keys: now.keyFramesDecoded - begun.keyFramesDecoded };
}

async function check(t, from, to, { codec, layers, options = {}, encrypted = false }) {
  const room = `codecs-${from}-${to}-${codec}-${layers}-${encrypted}`.replaceAll(' ', '-');
  const fake = (kind) => (kind === 'Firefox' ? { ...SIGNS[3], fakeMicrophone: true } : SIGNS[0]);
  const ada = new BareParticipant(await browser(from, 'sends'), { name: 'ada', width: 1280, height: 720, fps: 20, ...fake(from) });
  const ben = new BareParticipant(await browser(to, 'receives'), { name: 'ben', ...fake(to) });
  t.after(() => Promise.all([ada.close(), ben.close()]));
  const wish = { dynacast: false, publishDefaults: { videoCodec: codec, dtx: false, backupCodec: false, ...options } };
  const secret = encrypted ? 'correct horse battery staple' : undefined;
  await ada.join(page.url, server.socketUrl, token(room, 'ada'), { room: wish, secret });
  await ben.join(page.url, server.socketUrl, token(room, 'ben'), { publish: false, secret });

  // Firefox begins with its smallest layer, and without much processor never sends the largest.
  const high = await decodes(ben, ada, HIGH, (width) => (from === 'Firefox' ? width >= 640 : width === 1280));
  const [full] = high.split('x').map(Number);
  const low = await decodes(ben, ada, LOW, (width) => width <= full / 2);
  const again = await decodes(ben, ada, HIGH, (width) => width >= full);
  const picture = await cost(ben);
  const seen = await inbound(ben);
  const reports = await ben.stats('codec');
  const mime = reports.find((one) => one.id === seen.codecId)?.mimeType ?? seen.decoderImplementation;
  assert.equal(mime?.toLowerCase(), `video/${codec}`);
  const isEncrypted = await ben.page.evaluate(() => [...window.__conclave.room.remoteParticipants.get('ada').videoTrackPublications.values()][0].isEncrypted);
  assert.equal(isEncrypted, encrypted);
  if (encrypted) {
    await until('the tone is heard', async () => (await ben.listen([ada.tone])).ada?.shares?.[ada.tone] > 0.3, {
      explain: async () => JSON.stringify(await ben.listen([ada.tone])),
    });
  }
  const sent = (await ada.stats('outbound-rtp')).filter((one) => one.kind === 'video');
  const mode = sent.map((one) => one.scalabilityMode).find(Boolean) ?? `${sent.length} streams`;
  const row = [`${from} to ${to}`, codec, encrypted ? 'encrypted' : 'clear', layers, mode, `HIGH ${high}`, `LOW ${low}`, `HIGH ${again}`];
  row.push(`${Math.round(picture.bytes)} bytes and ${picture.packets.toFixed(2)} packets a frame`);
  row.push(`${seen.framesDecoded} frames, ${seen.keyFramesDecoded} key, ${seen.pliCount} PLI, ${seen.freezeCount} freezes`, mime ?? '');
  rows.push(row.join(' | '));
  t.diagnostic(rows.at(-1));
  // The layers below the one that is seen are needed for key pictures only: each other picture comes as one layer, of which
  // one packet is not full. With all of them three are not. In L3T3 each picture needs them: that they come shows in that
  // it is decoded.
  if (mode.endsWith('_KEY')) {
    const unfilled = picture.packets - picture.bytes / FULL;
    assert.ok(unfilled < 1.1, `the lower layers stay behind: ${JSON.stringify(picture)}`);
  }
}

const pick = process.env.CODEC;
const combine = (from, to, combination) => {
  const { codec, layers, encrypted } = combination;
  const name = `${from} to ${to}: ${codec} ${layers}${encrypted ? ', end-to-end encrypted' : ''}`;
  test(name, { skip: pick && !name.includes(pick) }, (t) => check(t, from, to, combination));
};

for (const combination of MATRIX) combine('Chromium', 'Chromium', combination);
for (const combination of TO_FIREFOX) combine('Chromium', 'Firefox', combination);
for (const combination of FROM_FIREFOX) combine('Firefox', 'Chromium', combination);

test('AV1, end-to-end encrypted: not in livekit-client', { skip: pick && !'av1'.includes(pick) }, (t) => {
  const worker = readFileSync(path.join(ROOT, 'tests/node_modules/livekit-client/dist/livekit-client.e2ee.worker.js'), 'utf8');
  // Once it is gone, AV1 belongs into the matrix.
  assert.match(worker, /av1.{0,200}is not yet supported for end to end encryption/s);
  rows.push('AV1 | encrypted | livekit-client 2.23 refuses to encrypt it: nothing for a server to forward');
  t.diagnostic(rows.at(-1));
});

test('redundant audio reaches who knows it, and plain Opus who does not', { skip: pick && pick !== 'red' }, async (t) => {
  const ada = new BareParticipant(await browser('Chromium', 'sends'), { name: 'ada', ...SIGNS[0] });
  const ben = new BareParticipant(await browser('Chromium', 'receives'), { name: 'ben', ...SIGNS[1] });
  const cleo = new BareParticipant(await browser('Firefox', 'receives'), { name: 'cleo', ...SIGNS[3], fakeMicrophone: true });
  t.after(() => Promise.all([ada, ben, cleo].map((one) => one.close())));
  await ada.join(page.url, server.socketUrl, token('red', 'ada'));
  // What is within the redundancy counts as the codec received; its size tells. A packet holds the one before it too.
  const size = {};
  for (const [listener, kind] of [[ben, 'Chromium'], [cleo, 'Firefox']]) {
    await listener.join(page.url, server.socketUrl, token('red', listener.name), { publish: false });
    await until('the tone is heard', async () => (await listener.listen([ada.tone])).ada?.shares?.[ada.tone] > 0.3, {
      explain: async () => JSON.stringify(await listener.listen([ada.tone])),
    });
    const audio = (await listener.stats('inbound-rtp')).find((one) => one.kind === 'audio');
    size[kind] = audio.bytesReceived / audio.packetsReceived;
    rows.push(`${kind}: ${size[kind].toFixed(0)} bytes of sound a packet, ${audio.packetsReceived} packets, ${audio.packetsLost} lost`);
    t.diagnostic(rows.at(-1));
  }
  assert.ok(size.Chromium > 1.4 * size.Firefox, JSON.stringify(size));
});
