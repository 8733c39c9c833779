/**
 * What our page costs its main thread in a meeting of 25, beside a page that has nothing but `livekit-client` and a `<video>`
 * element for each picture: same room, same options of the engine, same pictures at the same size. They take turns; only
 * the ratio says something, for machines differ.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serveBarePage } from '../lib/bare.js';
import { launchChromium } from '../lib/browsers.js';
import { LineProgram } from '../lib/lines.js';
import { CROWD } from '../lib/paths.js';
import { Server } from '../lib/server.js';
import { KEY, SECRET, token } from '../lib/token.js';
import { pause, until } from '../lib/until.js';

const ROOM = 'tiles';
const OTHERS = 24;
/** Pictures a second of each of the others. */
const FRAMES = 12;
const ROUNDS = Number(process.env.REPEATS ?? 5);
/** Seconds. */
const SETTLE = 5;
const MEASURED = 20;
const SIZE = { width: 1440, height: 900 };
/** CPU seconds of the main thread, as Chromium counts them: all of its tasks, and what of them was script, layout and style. */
const FIGURES = ['TaskDuration', 'ScriptDuration', 'LayoutDuration', 'RecalcStyleDuration'];

const decoded = (page) =>
  page.evaluate(async () => {
    const streams = [];
    const { room } = window.__conclave;
    for (const person of room.remoteParticipants.values()) {
      for (const { track } of person.videoTrackPublications.values()) {
        for (const one of (await track?.getRTCStatsReport())?.values() ?? []) if (one.type === 'inbound-rtp') streams.push(one.framesDecoded);
      }
    }
    return streams;
  });

/** Our page, with microphone and camera on. */
async function ours(page, server) {
  await page.goto(`${server.url}/m/${ROOM}?name=Ada&autojoin=1`, { waitUntil: 'domcontentloaded' });
}

/** The same without ours: every picture where ours has it. */
async function bare(page, server, address, places) {
  await page.goto(address);
  await page.evaluate(
    async (url, jwt, cells) => {
      const { Room, RoomEvent, VideoPresets } = window.LivekitClient;
      const room = new Room({
        adaptiveStream: { pixelDensity: 'screen' },
        dynacast: true,
        publishDefaults: { videoCodec: 'vp8', simulcast: true, videoSimulcastLayers: [VideoPresets.h180, VideoPresets.h360], dtx: true, red: true },
      });
      window.__conclave = { room };
      document.body.style.cssText = 'margin:0;background:#101716';
      let next = 0;
      const show = (track) => {
        const element = track.attach();
        if (track.kind === 'video') {
          const { x, y, width, height } = cells[next++ % cells.length];
          Object.assign(element.style, { position: 'absolute', left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px`, objectFit: 'cover' });
        }
        document.body.append(element);
      };
      room.on(RoomEvent.TrackSubscribed, show);
      await room.connect(url, jwt);
      await room.localParticipant.enableCameraAndMicrophone();
      show(room.localParticipant.getTrackPublication('camera').track);
    },
    server.socketUrl,
    token(ROOM, 'Ada'),
    places,
  );
}

/** Seconds of the main thread by the second, once everything is there. */
async function measure(page) {
  const all = async () => {
    const frames = await decoded(page);
    return frames.length === OTHERS && frames.every((count) => count > 0);
  };
  await until('all pictures are there', all, { limit: 120_000, every: 1000, explain: async () => JSON.stringify(await decoded(page)) });
  const session = await page.createCDPSession();
  // CPU time, not time on the clock: others use this machine too.
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  const read = async () => Object.fromEntries((await session.send('Performance.getMetrics')).metrics.map(({ name, value }) => [name, value]));
  await pause(SETTLE * 1000);
  const [began, before, seen] = [performance.now(), await read(), await decoded(page)];
  await pause(MEASURED * 1000);
  const [ended, after, then] = [performance.now(), await read(), await decoded(page)];
  const took = (ended - began) / 1000;
  const part = Object.fromEntries(FIGURES.map((figure) => [figure, (after[figure] - before[figure]) / took]));
  const frames = then.reduce((sum, count) => sum + count, 0) - seen.reduce((sum, count) => sum + count, 0);
  return { ...part, framesPerSecond: frames / took };
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

test('a meeting of 25 costs the main thread of our page little more than that of a bare one', { timeout: 30 * 60_000 }, async (t) => {
  const server = await Server.start('tiles');
  t.after(() => server.stop());
  const other = await serveBarePage();
  t.after(() => other.stop());
  const crowd = new LineProgram(CROWD, [server.socketUrl, ROOM, String(OTHERS), '5', KEY, SECRET, String(FRAMES)]);
  t.after(() => crowd.end());
  const here = async () => {
    crowd.write({});
    return (await crowd.read()).in === OTHERS;
  };
  await until('the others are there', here, { limit: 120_000, every: 1000 });

  let places;
  const runs = { ours: [], bare: [] };
  for (let round = 0; round < ROUNDS; round++) {
    for (const which of ['ours', 'bare']) {
      // A browser of its own: nothing of the other page is left in it.
      const browser = await launchChromium([], { defaultViewport: SIZE });
      const page = await browser.newPage();
      await (which === 'ours' ? ours(page, server) : bare(page, server, other.url, places));
      const figures = await measure(page);
      if (which === 'ours') {
        places = await page.$$eval('[data-testid="tile"]', (tiles) => tiles.map((tile) => tile.getBoundingClientRect().toJSON()));
        assert.equal(places.length, OTHERS + 1, 'all are on one page');
      }
      runs[which].push(figures);
      await browser.close();
    }
  }
  const ratio = (figure) => median(runs.ours.map((run) => run[figure])) / median(runs.bare.map((run) => run[figure]));
  const percents = (which, figure) => runs[which].map((run) => (100 * run[figure]).toFixed(1)).join(' ');
  for (const figure of FIGURES) t.diagnostic(`${figure}, % of a core: ours ${percents('ours', figure)}; bare ${percents('bare', figure)}; medians ${ratio(figure).toFixed(2)} to 1`);
  for (const which of ['ours', 'bare']) t.diagnostic(`${which} decoded ${runs[which].map((run) => run.framesPerSecond.toFixed(0)).join(' ')} pictures a second`);
  t.diagnostic(`main thread, ours to bare: ${ratio('TaskDuration').toFixed(2)} (aim: at most 1.2)`);
});
