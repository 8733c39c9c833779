import assert from 'node:assert/strict';
import { serveBarePage } from './bare.js';
import { launchChromium } from './browsers.js';
import { LineProgram } from './lines.js';
import { BareParticipant, NativeParticipant, SIGNS } from './participants.js';
import { CROWD } from './paths.js';
import { Server } from './server.js';
import { KEY, SECRET, token } from './token.js';
import { pause, until } from './until.js';

const ROOM = 'crowd';

/** What of a meeting a page on livekit-client has: tracks by kind, and pictures that were decoded. */
async function received(browser) {
  const kinds = await browser.page.evaluate(() =>
    [...window.__conclave.room.remoteParticipants.values()].flatMap((one) =>
      [...one.trackPublications.values()].filter((publication) => publication.track).map((publication) => publication.kind),
    ),
  );
  const streams = (await browser.stats('inbound-rtp')).filter((one) => one.kind === 'video' && one.framesDecoded > 0);
  const count = (kind) => kinds.filter((one) => one === kind).length;
  return { voices: count('audio'), pictures: count('video'), seen: streams.length };
}

/**
 * So many people with microphone and camera in one room, over one PeerConnection each: all but two are the crowd, who come
 * within `seconds`; then come one on the native SDK and one in a browser. Everybody gets every track of everybody.
 *
 * @param {import('node:test').TestContext} t
 * @param {{people: number, seconds: number}} crowd
 */
export async function everybodyInOneRoom(t, { people, seconds }) {
  const server = await Server.start(`crowd-${people}`);
  t.after(() => server.stop());
  const page = await serveBarePage();
  t.after(() => page.stop());
  const chromium = await launchChromium();
  t.after(() => chromium.close());
  const crowd = new LineProgram(CROWD, [server.socketUrl, ROOM, String(people - 2), String(seconds), KEY, SECRET]);
  t.after(() => crowd.end());
  const report = async () => {
    crowd.write({});
    const counts = await crowd.read();
    // Who is cut off on a busy machine may resume; nobody is made to connect anew.
    const anew = counts.returned.filter((one) => one.endsWith('Full'));
    assert.deepEqual([...counts.lost, ...anew], []);
    return counts;
  };

  let native;
  const limit = 1000 * (120 + 3 * seconds);
  /** Everybody of the crowd has the tracks of `all`. */
  const complete = (all) => {
    let counts;
    const wanted = (people - 2) * (all - 1);
    const asked = async () => {
      counts = await report();
      return counts.in === people - 2 && counts.voices === wanted && counts.pictures === wanted && counts.seen === wanted;
    };
    const explain = async () => `${wanted} wanted: ${JSON.stringify(counts)}; ${JSON.stringify(await native?.events())}`;
    return until(`each of the crowd has the tracks of ${all}`, asked, { limit, every: 2000, explain });
  };
  const began = performance.now();
  await complete(people - 2);
  const took = (performance.now() - began) / 1000;
  /** The part of a core that the meeting takes by itself. */
  const measureIdle = async () => {
    const before = server.cpu();
    await pause(5000);
    return (server.cpu() - before) / 5;
  };
  const ofJoins = server.cpu();
  const idle = await measureIdle();
  t.diagnostic(`${people - 2} people have all tracks of one another after ${took.toFixed(1)} s; each join took ${((1000 * ofJoins) / (people - 2)).toFixed(0)} ms of ` +
    `the server's CPU, the meeting then takes ${(100 * idle).toFixed(0)} % of a core and ${(server.memory() / 1e6).toFixed(0)} MB`);

  native = new NativeParticipant({ name: 'native', ...SIGNS[0], width: 320, height: 180, fps: 1 });
  t.after(() => native.close());
  await native.join(server.socketUrl, token(ROOM, 'native'), { instruments: false });
  await complete(people - 1);

  const browser = new BareParticipant(chromium, { name: 'browser', ...SIGNS[1], width: 320, height: 180, fps: 1 });
  await browser.open();
  const idleBefore = await measureIdle();
  const [cpu, start] = [server.cpu(), performance.now()];
  await browser.join(page.url, server.socketUrl, token(ROOM, 'browser'), { room: { singlePeerConnection: true } });
  const inAfter = (performance.now() - start) / 1000;
  let got;
  const everything = async () => {
    got = await received(browser);
    return got.voices === people - 1 && got.pictures === people - 1 && got.seen === people - 1;
  };
  await until(`the browser has all tracks`, everything, { limit, every: 500, explain: () => JSON.stringify(got) });
  const allAfter = (performance.now() - start) / 1000;
  const cost = server.cpu() - cpu;
  await complete(people);
  t.diagnostic(`the browser is in after ${inAfter.toFixed(1)} s and has all ${2 * (people - 1)} tracks after ${allAfter.toFixed(1)} s; ` +
    `the server's CPU until then: ${(1000 * cost).toFixed(0)} ms, of which the meeting takes ${(1000 * idleBefore * allAfter).toFixed(0)} by itself`);
  const explain = async () => `${await native.tracks()}; ${JSON.stringify(await native.events())}`;
  await until('the native SDK has all tracks', async () => (await native.tracks()) === 2 * (people - 1), { limit, explain });
  assert.deepEqual(browser.errors, []);
}
