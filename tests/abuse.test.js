/**
 * Nonsense at both doors while a meeting runs: a million datagrams at the media port, ten thousand signal messages. The
 * meeting goes on and memory stays flat.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { AddTrackRequest, JoinRequest, MuteTrackRequest, SessionDescription, SignalRequest, SyncState, TrickleRequest, UpdateSubscription, UpdateTrackSettings, WrappedJoinRequest, WrappedJoinRequest_Compression } from '@livekit/protocol';
import WebSocket from 'ws';
import { serveBarePage } from './lib/bare.js';
import { launchChromium } from './lib/browsers.js';
import { everyoneHearsAndSees } from './lib/everyone.js';
import { BareParticipant, SIGNS } from './lib/participants.js';
import { OUTPUT, XTASK } from './lib/paths.js';
import { chooseSeed, random } from './lib/random.js';
import { Server } from './lib/server.js';
import { token } from './lib/token.js';
import { until } from './lib/until.js';

const ROOM = 'besieged';
const DATAGRAMS = Number(process.env.DATAGRAMS ?? 300_000);
const MESSAGES = Number(process.env.MESSAGES ?? 10_000);
/** What memory may grow by, bytes: the size of a few tables at their limit, and nothing that grows with what was sent. */
const FLAT = 8 * 2 ** 20;

test('nonsense from outside does not reach the meeting', { timeout: 10 * 60_000 }, async (t) => {
  const server = await Server.start('abuse', { shards: 1 });
  t.after(() => server.stop());
  const page = await serveBarePage();
  t.after(page.stop);
  const browsers = [await launchChromium(), await launchChromium()];
  t.after(() => Promise.all(browsers.map((browser) => browser.close())));
  const people = SIGNS.slice(0, 2).map((sign, index) => new BareParticipant(browsers[index], { name: ['ada', 'ben'][index], ...sign }));
  for (const one of people) await one.join(page.url, server.socketUrl, token(ROOM, one.name));
  await everyoneHearsAndSees(people);
  const seed = chooseSeed();
  const memory = { start: server.memory() };
  const figures = { seed };

  await t.test(`${DATAGRAMS} random and mutated datagrams`, async () => {
    // The name fragments that the server gave these two: what an onlooker of the signalling would know.
    const ufrags = [];
    for (const one of people) ufrags.push(/a=ice-ufrag:(\S+)/.exec(await one.page.evaluate(() => window.__remoteSdp))[1]);
    const hammer = (count, number) =>
      promisify(execFile)(XTASK, ['hammer', '--to', `127.0.0.1:${server.mediaPort}`, '--count', String(count), '--seed', String(number), ...ufrags.flatMap((ufrag) => ['--ufrag', ufrag])]);
    // What is allocated once (counters, tables at their limit) is there after the first tenth.
    await hammer(Math.ceil(DATAGRAMS / 10), seed + 1);
    memory.warm = server.memory();
    const [cpu, before, atServer] = [server.cpu(), await counters(people), await server.metrics()];
    const sent = JSON.parse((await hammer(DATAGRAMS, seed)).stdout);
    const after = await counters(people);
    memory.datagrams = server.memory();
    Object.assign(figures, { datagrams: sent, serverCpuSeconds: server.cpu() - cpu });
    // The kernel throws away what the server does not fetch: then this would prove little.
    await until('nearly all came as far as the server', async () => {
      figures.arrived = (await server.metrics()).conclave_packets_in_total - atServer.conclave_packets_in_total;
      return figures.arrived > DATAGRAMS * 0.99;
    }, { limit: 5000, explain: () => `${figures.arrived} of ${DATAGRAMS}` });
    for (const [index, one] of people.entries()) {
      const frames = after[index].frames - before[index].frames;
      t.diagnostic(`${one.name}: ${frames} frames decoded under fire, ${after[index].lost - before[index].lost} audio packets lost of ${after[index].packets - before[index].packets}`);
      assert.ok(frames > 0, `${one.name} sees nothing under fire`);
    }
    assert.equal(sent.sent + sent.refused, DATAGRAMS);
    assert.equal(sent.refused, 0, 'the port was always open');
    await everyoneHearsAndSees(people);
    const grown = memory.datagrams - memory.warm;
    assert.ok(grown < FLAT, `memory grew by ${mebibytes(grown)}`);
  });

  await t.test(`${MESSAGES} malformed signal messages`, async () => {
    const dice = random(seed);
    const outcomes = {};
    let sent = 0;
    memory.beforeMessages = 0;
    const besiege = async (worker) => {
      for (let round = 0; sent < MESSAGES; round++) {
        if (memory.beforeMessages === 0 && sent > MESSAGES / 10) memory.beforeMessages = server.memory();
        const identity = `mallory-${worker}-${round}`;
        const outcome = await nuisance(server.socketUrl, identity, dice, () => sent++ < MESSAGES);
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      }
    };
    await Promise.all(Array.from({ length: 8 }, (_, worker) => besiege(worker)));
    memory.messages = server.memory();
    Object.assign(figures, { outcomes });
    await everyoneHearsAndSees(people);
    const grown = memory.messages - memory.beforeMessages;
    assert.ok(grown < FLAT, `memory grew by ${mebibytes(grown)}`);
  });

  figures.memory = Object.fromEntries(Object.entries(memory).map(([key, bytes]) => [key, mebibytes(bytes)]));
  t.diagnostic(JSON.stringify(figures));
  writeFileSync(path.join(OUTPUT, 'abuse.json'), JSON.stringify(figures, null, 2));
});

const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

async function counters(people) {
  return Promise.all(
    people.map(async (one) => {
      const inbound = await one.stats('inbound-rtp');
      const of = (kind) => inbound.find((entry) => entry.kind === kind) ?? {};
      return { frames: of('video').framesDecoded ?? 0, packets: of('audio').packetsReceived ?? 0, lost: of('audio').packetsLost ?? 0 };
    }),
  );
}

/** One connection: sends malformed messages until the server has had enough. Says how it ended. */
function nuisance(url, identity, dice, another) {
  return new Promise((done) => {
    const jwt = token(ROOM, identity, dice.chance(0.5) ? {} : { grant: { canPublish: dice.chance(0.5), canSubscribe: false } });
    const socket = new WebSocket(`${url}/rtc/v1?access_token=${jwt}&join_request=${joinRequest(dice)}`, { handshakeTimeout: 10_000 });
    let opened = false;
    const finish = (outcome) => {
      socket.terminate();
      done(outcome);
    };
    socket.on('error', (error) => {
      if (!opened) another();
      finish(/Unexpected server response: (\d+)/.exec(error.message)?.[1] ?? `error ${error.code ?? error.message}`);
    });
    socket.on('close', (code) => finish(`closed ${code}`));
    socket.on('open', () => {
      opened = true;
      const send = (left) => {
        if (socket.readyState !== WebSocket.OPEN) return;
        if (left === 0 || !another()) return finish('we went');
        const message = malformed(dice);
        socket.send(message, { binary: typeof message !== 'string' }, () => setImmediate(send, left - 1));
      };
      send(40);
    });
  });
}

/** A join request that is sometimes whole, so that what follows it is read. */
function joinRequest(dice) {
  const sdp = dice.chance(0.3) ? brokenSdp(dice) : '';
  const request = new JoinRequest({ clientInfo: { protocol: 17, version: '2.23.0' }, connectionSettings: { autoSubscribe: dice.chance(0.5) } });
  if (sdp) request.publisherOffer = new SessionDescription({ type: 'offer', sdp, id: 1 });
  let bytes = request.toBinary();
  if (dice.chance(0.1)) bytes = mutate(bytes, dice);
  const wrapped = new WrappedJoinRequest({ compression: WrappedJoinRequest_Compression.GZIP, joinRequest: gzipSync(bytes) }).toBinary();
  const sent = dice.chance(0.1) ? mutate(wrapped, dice) : wrapped;
  return Buffer.from(sent).toString('base64url');
}

function malformed(dice) {
  const kind = dice.below(8);
  if (kind === 0) return dice.bytes(dice.below(2000));
  if (kind === 1) return Buffer.from(dice.bytes(dice.below(200))).toString('latin1');
  if (kind === 2) return JSON.stringify({ offer: { sdp: 7 }, [`x${dice.below(9)}`]: null });
  const whole = plausible(dice).toBinary();
  if (kind === 3) return whole.slice(0, dice.below(whole.length + 1));
  if (kind === 4 && dice.chance(0.02)) return new Uint8Array(3 * 2 ** 20);
  return kind < 7 ? mutate(whole, dice) : whole;
}

/** Well-formed, and wrong: names of things that do not exist, values without bounds. */
function plausible(dice) {
  const sid = dice.pick(['', 'TR_nothere', 'PA_x', 'é'.repeat(300), '\0', '../../etc', 'TR_'.repeat(400)]);
  const large = dice.pick([0, 1, 2 ** 31 - 1, 4_294_967_295]);
  const message = dice.pick([
    { case: 'offer', value: new SessionDescription({ type: dice.pick(['offer', 'answer', '']), sdp: brokenSdp(dice), id: large }) },
    { case: 'answer', value: new SessionDescription({ type: 'answer', sdp: brokenSdp(dice), id: large }) },
    { case: 'trickle', value: new TrickleRequest({ candidateInit: dice.pick(['', '{', '{"candidate":7}', `{"candidate":"candidate:${'9'.repeat(500)}"}`]), target: dice.below(3) }) },
    { case: 'addTrack', value: new AddTrackRequest({ cid: sid, name: sid, type: dice.below(5), width: large, height: large, layers: Array.from({ length: dice.below(40) }, () => ({ quality: dice.below(6), width: large })) }) },
    { case: 'mute', value: new MuteTrackRequest({ sid, muted: true }) },
    { case: 'subscription', value: new UpdateSubscription({ trackSids: Array.from({ length: dice.below(300) }, () => sid), subscribe: dice.chance(0.5) }) },
    { case: 'trackSetting', value: new UpdateTrackSettings({ trackSids: [sid], width: large, height: large, fps: large }) },
    { case: 'syncState', value: new SyncState({ answer: { type: 'answer', sdp: brokenSdp(dice) } }) },
  ]);
  return new SignalRequest({ message });
}

function brokenSdp(dice) {
  const lines = [
    'v=0',
    'o=- 1 2 IN IP4 127.0.0.1',
    's=-',
    't=0 0',
    `a=group:BUNDLE ${Array.from({ length: dice.below(200) }, (_, mid) => mid).join(' ')}`,
    'm=audio 9 UDP/TLS/RTP/SAVPF 111',
    `a=mid:${dice.pick(['0', '', 'x'.repeat(5000), '0'])}`,
    `a=ice-ufrag:${dice.pick(['abcd', '', 'é', 'a'.repeat(4000)])}`,
    'a=ice-pwd:0123456789012345678901',
    `a=fingerprint:${dice.pick(['sha-256 00:11', 'md5 00', 'sha-256 zz:zz', ''])}`,
    `a=rtpmap:${dice.pick(['111 opus/48000/2', '999999 x/y', '-1 /', '111'])}`,
    `a=extmap:${dice.pick(['1 urn:x', '999 urn:ietf:params:rtp-hdrext:sdes:mid', '0 ', '1'])}`,
    'm=video 9 UDP/TLS/RTP/SAVPF 96',
    `a=simulcast:send ${dice.pick(['q;h;f', ';;;;', '~', 'q;'.repeat(500)])}`,
    `a=ssrc:${dice.pick(['1 cname:x', '99999999999 x', 'x'])}`,
    'm=application 9 UDP/DTLS/SCTP webrtc-datachannel',
    `a=sctp-port:${dice.pick(['5000', '99999', ''])}`,
  ];
  const kept = lines.filter(() => dice.chance(0.85));
  if (dice.chance(0.2)) kept.sort(() => dice.below(3) - 1);
  return kept.join(dice.pick(['\r\n', '\n', '\r\n', '\0'])) + '\r\n';
}

function mutate(bytes, dice) {
  const copy = Uint8Array.from(bytes);
  for (let i = 0; i <= dice.below(6) && copy.length > 0; i++) copy[dice.below(copy.length)] = dice.below(256);
  return copy;
}
