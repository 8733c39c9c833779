/**
 * A picture in two codecs: Chromium publishes VP9 with VP8 as its backup, and who has no VP9 sees it all the same. Two
 * codecs at a time (`SIMULCAST`), or one for everybody (livekit-client's default, `PREFER_REGRESSION`).
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { serveBarePage } from './lib/bare.js';
import { launchChromium } from './lib/browsers.js';
import { BareParticipant, SIGNS } from './lib/participants.js';
import { Server } from './lib/server.js';
import { token } from './lib/token.js';
import { until } from './lib/until.js';

/** LiveKit's BackupCodecPolicy. */
const [PREFER_REGRESSION, SIMULCAST] = [0, 1];
const SIZE = { width: 640, height: 360, fps: 10 };

let server, page, browser;
before(async () => {
  server = await Server.start('backup');
  page = await serveBarePage();
  browser = await launchChromium();
});
after(async () => {
  await browser?.close();
  await page?.stop();
  await server?.stop();
});

/** Runs in the page before its scripts: a browser that was built without VP9. */
function withoutVp9() {
  const connection = RTCPeerConnection.prototype;
  const known = RTCRtpReceiver.getCapabilities('video').codecs.filter((codec) => !/vp9/i.test(codec.mimeType));
  const limit = (transceiver) => {
    if (transceiver.receiver.track.kind === 'video') transceiver.setCodecPreferences(known);
    return transceiver;
  };
  const { addTransceiver, setRemoteDescription } = connection;
  connection.addTransceiver = function (...args) {
    return limit(addTransceiver.apply(this, args));
  };
  // Where the server offers, before the answer is made.
  connection.setRemoteDescription = async function (description) {
    await setRemoteDescription.call(this, description);
    if (description.type === 'offer') this.getTransceivers().forEach(limit);
  };
}

async function join(room, name, sign, { vp9 = true, single = true, ...wishes } = {}) {
  const one = new BareParticipant(browser, { name, ...SIGNS[sign], ...SIZE });
  await one.open();
  if (!vp9) await one.page.evaluateOnNewDocument(withoutVp9);
  const { publish = false, ...defaults } = wishes;
  const options = { singlePeerConnection: single, publishDefaults: { dtx: false, ...defaults } };
  await one.join(page.url, server.socketUrl, token(room, name), { publish: Boolean(publish), room: options });
  return one;
}

const publisher = (room, backupCodecPolicy) =>
  join(room, 'ada', 0, { publish: true, videoCodec: 'vp9', scalabilityMode: 'L3T3_KEY', backupCodec: true, backupCodecPolicy });

/** Streams of a kind with their codec. */
async function streams(who, kind) {
  const codecs = await who.stats('codec');
  const mime = (one) => codecs.find((codec) => codec.id === one.codecId)?.mimeType ?? '';
  return (await who.stats(kind)).filter((one) => one.kind === 'video').map((one) => ({ ...one, codec: mime(one).toLowerCase() }));
}

/** The whole picture is decoded, and goes on, in this codec. */
async function sees(who, codec) {
  let seen;
  const look = async () => ([seen] = (await streams(who, 'inbound-rtp')).filter((one) => one.codec === codec).sort((a, b) => b.framesDecoded - a.framesDecoded));
  const explain = async () => JSON.stringify(await streams(who, 'inbound-rtp'));
  await until(`${who.name} sees ${codec}`, async () => (await look(), seen?.framesDecoded > 0 && seen.frameWidth === SIZE.width), { limit: 60_000, explain });
  const begun = seen.framesDecoded;
  await until('frames go on', async () => (await look(), seen?.framesDecoded >= begun + 10), { explain });
  assert.deepEqual([seen.frameWidth, seen.frameHeight], [SIZE.width, SIZE.height]);
  const { hue } = (await who.look()).ada;
  assert.ok(Math.min(hue, 360 - hue) < 20, `ada's hue, not ${hue}`);
}

/**
 * Frames that the publisher has sent in this codec, as its connection counts them: livekit-client tells of the first
 * codec only.
 */
const sent = (who, codec) =>
  who.page.evaluate(async (wanted) => {
    const report = await window.__conclave.room.engine.pcManager.publisher.getStats();
    const all = [...report.values()];
    const mime = (one) => all.find((codec) => codec.id === one.codecId)?.mimeType?.toLowerCase();
    const own = all.filter((one) => one.type === 'outbound-rtp' && mime(one) === wanted);
    return own.reduce((sum, one) => sum + one.framesSent, 0);
  }, codec);

/** The publisher stops sending this codec. */
async function rests(who, codec) {
  let before = -1;
  await until(
    `nothing is sent in ${codec}`,
    async () => {
      const now = await sent(who, codec);
      return now === before || void (before = now);
    },
    { limit: 30_000, every: 1500, explain: () => before },
  );
}

test('who has no VP9 gets VP8 while the others keep VP9, and nobody encodes it for nobody', async (t) => {
  const ada = await publisher('two', SIMULCAST);
  const ben = await join('two', 'ben', 1);
  t.after(() => Promise.all([ada, ben].map((one) => one.close())));
  await sees(ben, 'video/vp9');
  assert.equal(await sent(ada, 'video/vp8'), 0, 'nobody needs it');

  const [cleo, dora] = [await join('two', 'cleo', 2, { vp9: false }), await join('two', 'dora', 3, { vp9: false, single: false })];
  await Promise.all([sees(cleo, 'video/vp8'), sees(dora, 'video/vp8'), sees(ben, 'video/vp9')]);
  const codecs = await cleo.page.evaluate(() => [...window.__conclave.room.remoteParticipants.get('ada').videoTrackPublications.values()].map((one) => one.trackInfo.codecs.map((codec) => codec.mimeType)));
  assert.deepEqual(codecs, [['video/VP9', 'video/VP8']], 'one track, in two codecs');

  await Promise.all([cleo.close(), dora.close()]);
  await rests(ada, 'video/vp8');
  await sees(ben, 'video/vp9');
  t.diagnostic(`frames sent: ${await sent(ada, 'video/vp9')} in VP9, ${await sent(ada, 'video/vp8')} in VP8`);
  assert.deepEqual([ada, ben, cleo, dora].flatMap((one) => one.errors), []);
});

test('where one codec is to be sent, everybody gets the one that everybody has', async (t) => {
  const ada = await publisher('one', PREFER_REGRESSION);
  const [ben, bob] = [await join('one', 'ben', 1), await join('one', 'bob', 2, { single: false })];
  t.after(() => Promise.all([ada, ben, bob].map((one) => one.close())));
  await Promise.all([sees(ben, 'video/vp9'), sees(bob, 'video/vp9')]);
  const cleo = await join('one', 'cleo', 3, { vp9: false });
  await Promise.all([cleo, ben, bob].map((one) => sees(one, 'video/vp8')));
  await rests(ada, 'video/vp9');
  await cleo.close();
  await sees(ben, 'video/vp8');
  assert.deepEqual([ada, ben, bob, cleo].flatMap((one) => one.errors), []);
});
