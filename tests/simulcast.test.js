/** Simulcast: all three layers of a Chromium publisher arrive, and a subscriber has the one it asks for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serveBarePage } from './lib/bare.js';
import { launchChromium } from './lib/browsers.js';
import { freezes } from './lib/frames.js';
import { BareParticipant, SIGNS } from './lib/participants.js';
import { Server } from './lib/server.js';
import { token } from './lib/token.js';
import { until } from './lib/until.js';

const ROOM = 'layers';
/** LiveKit's VideoQuality. */
const [LOW, MEDIUM, HIGH] = [0, 1, 2];
const WIDTH = { [LOW]: 320, [MEDIUM]: 640, [HIGH]: 1280 };

test('a subscriber that asks HIGH, LOW, HIGH gets each without a freeze', async (t) => {
  const server = await Server.start('simulcast');
  t.after(() => server.stop());
  const page = await serveBarePage();
  t.after(page.stop);
  const browsers = [await launchChromium(), await launchChromium()];
  t.after(() => Promise.all(browsers.map((browser) => browser.close())));

  const ada = new BareParticipant(browsers[0], { name: 'ada', ...SIGNS[0], width: 1280, height: 720, fps: 20 });
  const ben = new BareParticipant(browsers[1], { name: 'ben', ...SIGNS[1] });
  await ada.join(page.url, server.socketUrl, token(ROOM, 'ada'), { room: { dynacast: false } });
  await ben.join(page.url, server.socketUrl, token(ROOM, 'ben'), { publish: false });

  let sent;
  await until(
    'Chromium sends three layers',
    async () => {
      sent = (await ada.stats('outbound-rtp')).filter((one) => one.kind === 'video');
      return ['q', 'h', 'f'].every((rid) => sent.some((one) => one.rid === rid && one.framesSent > 20));
    },
    { limit: 60_000, explain: () => JSON.stringify(sent.map(({ rid, framesSent, qualityLimitationReason }) => ({ rid, framesSent, qualityLimitationReason }))) },
  );

  const decodes = async (width) => (await ben.look())[ada.identity]?.width === width;
  const ask = (quality) =>
    ben.page.evaluate((wanted) => {
      for (const publication of window.__conclave.room.remoteParticipants.get('ada').videoTrackPublications.values()) {
        publication.setVideoQuality(wanted);
      }
    }, quality);

  await ask(HIGH);
  await until('1280 pixels are decoded', () => decodes(1280));
  assert.ok(await ben.page.evaluate(() => window.__test.watch('ada')));
  // The frames before the first switch are part of the figures: on a slow machine the watcher begins late.
  await until('the watcher sees frames', () => ben.page.evaluate(() => window.__frames.length >= 20));
  const figures = [];
  for (const quality of [LOW, HIGH, MEDIUM, LOW, HIGH]) {
    await ask(quality);
    await until(`${WIDTH[quality]} pixels are decoded`, () => decodes(WIDTH[quality]), { explain: async () => JSON.stringify(await ben.look()) });
    // A second of each, so that a stream that stops after the switch is seen.
    const [before] = (await ben.stats('inbound-rtp')).filter((one) => one.kind === 'video');
    await until('frames go on', async () => {
      const [after] = (await ben.stats('inbound-rtp')).filter((one) => one.kind === 'video');
      return after.framesDecoded >= before.framesDecoded + 20;
    });
  }

  const frames = await ben.page.evaluate(() => window.__frames);
  const { longest, sizes, count } = freezes(frames);
  const [inbound] = (await ben.stats('inbound-rtp')).filter((one) => one.kind === 'video');
  figures.push(`sizes in order: ${sizes.join(' ')}`, `longest step between frames ${(longest * 1000).toFixed(0)} ms of media time over ${count} frames`);
  figures.push(`browser counts ${inbound.freezeCount} freezes, ${inbound.totalFreezesDuration} s; ${inbound.pliCount} PLI, ${inbound.keyFramesDecoded} key frames`);
  for (const line of figures) t.diagnostic(line);
  assert.deepEqual(sizes, [1280, 320, 1280, 640, 320, 1280], 'the sizes in the order of asking');
  assert.ok(longest < 1, `a freeze of ${longest} s of media time`);
});
