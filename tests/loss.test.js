/** 5 % of all packets lost in both directions: pictures go on, lost packets are asked for and sent again, speech stays whole. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { serveBarePage } from './lib/bare.js';
import { launchChromium } from './lib/browsers.js';
import { everyoneHearsAndSees } from './lib/everyone.js';
import { freezes } from './lib/frames.js';
import { BareParticipant, SIGNS } from './lib/participants.js';
import { OUTPUT } from './lib/paths.js';
import { chooseSeed } from './lib/random.js';
import { Relay } from './lib/relay.js';
import { Server } from './lib/server.js';
import { token } from './lib/token.js';
import { until } from './lib/until.js';

const ROOM = 'lossy';
/** Frames each receiver has to decode under loss. */
const FRAMES = 300;

test('a meeting over a network that loses one packet in twenty', { timeout: 5 * 60_000 }, async (t) => {
  const server = await Server.start('loss', { shards: 1 });
  t.after(() => server.stop());
  const relay = await Relay.start(server.mediaPort, { seed: chooseSeed() });
  t.after(() => relay.stop());
  const page = await serveBarePage();
  t.after(page.stop);
  const browsers = [await launchChromium(), await launchChromium()];
  t.after(() => Promise.all(browsers.map((browser) => browser.close())));

  const relays = { [server.mediaPort]: relay.port };
  const people = SIGNS.slice(0, 2).map(
    (sign, index) => new BareParticipant(browsers[index], { name: ['ada', 'ben'][index], ...sign, width: 640, height: 360, fps: 20, relays }),
  );
  for (const one of people) await one.join(page.url, server.socketUrl, token(ROOM, one.name));
  await everyoneHearsAndSees(people);
  const clean = await relay.counters();
  assert.ok(clean.up.packets > 0 && clean.down.packets > 0, 'media takes the relay');

  // A delay too: without one, a retransmission costs nothing and proves little.
  await relay.impair({ loss: 0.05, delay: 20 });
  for (const [index, one] of people.entries()) {
    assert.ok(await one.page.evaluate((name) => window.__test.watch(name), people[1 - index].name));
  }
  const start = await Promise.all(people.map(received));
  await until('each has decoded enough', async () => {
    const now = await Promise.all(people.map(received));
    return now.every((one, index) => one.video.framesDecoded - start[index].video.framesDecoded >= FRAMES);
  }, { limit: 120_000, explain: async () => JSON.stringify(await Promise.all(people.map(received))) });
  const end = await Promise.all(people.map(received));
  const counters = await relay.counters();

  const steps = await Promise.all(people.map(async (one) => freezes(await one.page.evaluate(() => window.__frames))));

  const figures = people.map((one, index) => {
    const [a, b] = [start[index], end[index]];
    const grown = (kind, field) => (b[kind][field] ?? 0) - (a[kind][field] ?? 0);
    return {
      name: one.name,
      longestStepSeconds: steps[index].longest,
      widths: steps[index].sizes.join(' '),
      framesDecoded: grown('video', 'framesDecoded'),
      keyFramesDecoded: grown('video', 'keyFramesDecoded'),
      freezes: grown('video', 'freezeCount'),
      frozenSeconds: grown('video', 'totalFreezesDuration'),
      nacks: grown('video', 'nackCount'),
      retransmitted: grown('video', 'retransmittedPacketsReceived'),
      plis: grown('video', 'pliCount'),
      videoPackets: grown('video', 'packetsReceived'),
      videoLost: grown('video', 'packetsLost'),
      audioPackets: grown('audio', 'packetsReceived'),
      audioLost: grown('audio', 'packetsLost'),
      concealed: grown('audio', 'concealedSamples') / grown('audio', 'totalSamplesReceived'),
      sentAgain: (b.sent.retransmittedPacketsSent ?? 0) - (a.sent.retransmittedPacketsSent ?? 0),
    };
  });
  for (const one of figures) t.diagnostic(JSON.stringify(one));
  t.diagnostic(`relay: ${JSON.stringify(counters)}`);
  writeFileSync(path.join(OUTPUT, 'loss.json'), JSON.stringify({ figures, counters }, null, 2));

  for (const one of figures) {
    assert.ok(one.nacks > 0, `${one.name} asked again`);
    assert.ok(one.retransmitted > 0, `${one.name} got packets again`);
    assert.ok(one.sentAgain > 0, `${one.name} was asked by the server`);
    // What browsers count as lost stays lost in their count even where it came again as a retransmission (RFC 4588).
    assert.ok(one.retransmitted >= one.videoLost * 0.8, `${one.name}: ${one.retransmitted} sent again of ${one.videoLost} lost`);
    assert.ok(one.concealed < 0.05, `${one.name}: ${(one.concealed * 100).toFixed(1)} % of the sound is made up`);
  }
  await everyoneHearsAndSees(people);
});

/** What one participant has received so far, and what it has sent. */
async function received(participant) {
  const inbound = await participant.stats('inbound-rtp');
  const outbound = await participant.stats('outbound-rtp');
  const of = (kind) => inbound.find((one) => one.kind === kind) ?? {};
  const video = outbound.filter((one) => one.kind === 'video');
  return {
    video: of('video'),
    audio: of('audio'),
    sent: { retransmittedPacketsSent: video.reduce((sum, one) => sum + (one.retransmittedPacketsSent ?? 0), 0) },
  };
}
