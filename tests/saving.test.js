/** What is not sent because nobody sees or hears it, in real browsers: layers of a picture, and the quieter voices. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { serveBarePage } from './lib/bare.js';
import { launchChromium } from './lib/browsers.js';
import { BareParticipant, SIGNS } from './lib/participants.js';
import { Server } from './lib/server.js';
import { token } from './lib/token.js';
import { until } from './lib/until.js';

/** LiveKit's VideoQuality. */
const [MEDIUM, HIGH] = [1, 2];
const VOICES = 5;

let server, page, browser;
before(async () => {
  server = await Server.start('saving', { settings: { CONCLAVE_MEDIA_AUDIO_TOP_N: String(VOICES) } });
  page = await serveBarePage();
  browser = await launchChromium();
});
after(async () => {
  await browser?.close();
  await page?.stop();
  await server?.stop();
});

test('Chromium does not encode layers that nobody wants, and does so again when somebody does', async (t) => {
  const ada = new BareParticipant(browser, { name: 'ada', ...SIGNS[0], width: 1280, height: 720, fps: 15 });
  const ben = new BareParticipant(browser, { name: 'ben', ...SIGNS[1] });
  t.after(() => Promise.all([ada.close(), ben.close()]));
  await ada.join(page.url, server.socketUrl, token('layers', 'ada'), { room: { dynacast: true } });
  await ben.join(page.url, server.socketUrl, token('layers', 'ben'), { publish: false });

  /** Frames sent so far and whether the encoder is on, by rid. */
  const encoders = async () =>
    Object.fromEntries((await ada.stats('outbound-rtp')).filter((one) => one.kind === 'video').map((one) => [one.rid, { frames: one.framesSent, active: one.active }]));
  const explain = async () => JSON.stringify(await encoders());
  /** Exactly these layers are sent: their frames go on, the others' do not. Returns after how many seconds. */
  const areSent = async (rids) => {
    const asked = performance.now();
    let before = await encoders();
    await until(
      `${rids.join(' ') || 'none'} of the layers are sent`,
      async () => {
        const now = await encoders();
        const goesOn = (rid) => now[rid].frames > before[rid].frames;
        const fits = ['q', 'h', 'f'].every((rid) => now[rid].active === rids.includes(rid) && goesOn(rid) === rids.includes(rid));
        before = now;
        return fits;
      },
      { limit: 60_000, every: 700, explain },
    );
    return ((performance.now() - asked) / 1000).toFixed(1);
  };
  const publication = (change, ...args) =>
    ben.page.evaluate(
      (how, values) => {
        for (const one of window.__conclave.room.remoteParticipants.get('ada').videoTrackPublications.values()) one[how](...values);
      },
      change,
      args,
    );
  const decodes = (width) => until(`${width} pixels are decoded`, async () => (await ben.look()).ada?.width === width, { limit: 60_000, explain: async () => JSON.stringify(await ben.look()) });

  const times = [];
  const wants = async (what, rids, width) => {
    times.push(`${what}: ${rids.join(' ') || 'nothing'} after ${await areSent(rids)} s`);
    if (width) await decodes(width);
  };
  await wants('all', ['q', 'h', 'f'], 1280);
  await publication('setVideoQuality', MEDIUM);
  await wants('MEDIUM', ['q', 'h'], 640);
  await publication('setVideoQuality', HIGH);
  await wants('HIGH', ['q', 'h', 'f'], 1280);
  await publication('setEnabled', false);
  await wants('disabled', []);
  await publication('setEnabled', true);
  await wants('enabled', ['q', 'h', 'f'], 1280);
  for (const line of times) t.diagnostic(line);
  assert.deepEqual([...ada.errors, ...ben.errors], []);
});

test('of seven who talk, the five loudest are heard, and who raises the voice is', async (t) => {
  // The quiet ones are there first: their seats are taken from them.
  const QUIET = 0.004;
  const volumes = { uma: QUIET, vic: QUIET, wes: 0.03, xia: 1, yan: 1, zoe: 1, ada: 1 };
  const tones = [...SIGNS.map((sign) => sign.tone), 860];
  const talkers = Object.entries(volumes).map(
    ([name, volume], index) => new BareParticipant(browser, { name, tone: tones[index], hue: 0, speech: true, volume }),
  );
  const ear = new BareParticipant(browser, { name: 'ear', ...SIGNS[0] });
  t.after(() => Promise.all([...talkers, ear].map((one) => one.close())));
  const join = (one) => one.join(page.url, server.socketUrl, token('voices', one.name), { camera: false, publish: one !== ear });
  await Promise.all(talkers.slice(0, 2).map(join));
  await Promise.all([...talkers.slice(2), ear].map(join));

  /** Who is heard: packets of the voice arrive, and its tone is in them. */
  let before = {};
  const heard = async () => {
    const reports = (await ear.stats('inbound-rtp')).filter((one) => one.kind === 'audio');
    const packets = Object.fromEntries(reports.map((one) => [one.identity, one.packetsReceived]));
    const sounds = await ear.listen(tones);
    const arrive = talkers.filter((one) => packets[one.name] > (before[one.name] ?? 0));
    before = packets;
    const clear = arrive.filter((one) => sounds[one.name]?.shares?.[one.tone] > 0.3);
    return { arrive: arrive.map((one) => one.name), clear: clear.map((one) => one.name) };
  };
  /** Each of them was heard by now, and nobody else is any more. */
  const areHeard = async (names) => {
    const once = new Set();
    let now;
    await until(
      `${names.join(', ')} are heard`,
      async () => {
        now = await heard();
        now.clear.forEach((name) => once.add(name));
        return names.every((name) => once.has(name)) && now.arrive.every((name) => names.includes(name));
      },
      { limit: 90_000, every: 500, explain: () => JSON.stringify({ ...now, once: [...once] }) },
    );
  };
  await areHeard(['wes', 'xia', 'yan', 'zoe', 'ada']);
  const begun = performance.now();
  await talkers[0].page.evaluate(() => window.__test.speak(1));
  await until('uma is heard', async () => (await heard()).clear.includes('uma'), { every: 300, explain: async () => JSON.stringify(await heard()) });
  t.diagnostic(`who raises the voice is heard after ${((performance.now() - begun) / 1000).toFixed(1)} s, by the test's own listening`);
  await areHeard(['uma', 'xia', 'yan', 'zoe', 'ada']);
  const lost = (await ear.stats('inbound-rtp')).filter((one) => one.kind === 'audio').map((one) => one.packetsLost);
  t.diagnostic(`packets lost, as the listener counts them: ${lost.join(' ')}`);
  assert.deepEqual([...talkers, ear].flatMap((one) => one.errors), []);
});
