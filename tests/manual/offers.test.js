/**
 * Somebody says the longest things there are to say, as fast as they are taken: descriptions of 160 people, 944 KB each. The
 * media of another room go on: a connectivity check there is answered no later than 50 ms after it would have been.
 */
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { SignalResponse } from '@livekit/protocol';
import WebSocket from 'ws';
import { LineProgram } from '../lib/lines.js';
import { chromium, joinUrl } from '../lib/offers.js';
import { ROOT } from '../lib/paths.js';
import { Server } from '../lib/server.js';
import { Checker } from '../lib/stun.js';
import { token } from '../lib/token.js';
import { pause } from '../lib/until.js';

/** Both are timed on the same busy machine, one after the other, several times. */
const ROUNDS = 5;
const CHECKS = 300;

for (const how of ['offers', 'text', 'syncs']) {
  test(`${how} of 160 people do not hold up another room`, { timeout: 5 * 60_000 }, async (t) => {
    const server = await Server.start('offers', { shards: 1 });
    t.after(() => server.stop());
    const [quiet, besieged] = [[], []];
    let [said, connections, bytes, spent] = [0, 0, 0, 0];
    for (let round = 0; round < ROUNDS; round++) {
      // Nobody may stay for longer than 15 s without media.
      const ada = await answered(joinUrl(server.socketUrl, token('other', 'ada')));
      const checker = new Checker(server.mediaPort, chromium(), ada.answer);
      await checker.check();
      quiet.push(...(await times(checker)));
      const mallory = new LineProgram(process.execPath, [path.join(ROOT, 'tests/lib/offers.js'), server.socketUrl, token('besieged', 'mallory'), how]);
      await mallory.read();
      const cpu = server.cpu();
      besieged.push(...(await times(checker)));
      spent += server.cpu() - cpu;
      let last = await mallory.read();
      while (mallory.pending > 0) last = await mallory.read();
      await mallory.end();
      checker.close();
      ada.socket.terminate();
      said += last.said;
      connections += last.connections;
      ({ bytes } = last);
    }
    const figures = ([...list]) => {
      list.sort((a, b) => a - b);
      return { median: list[list.length >> 1], p99: list[Math.floor(list.length * 0.99)], longest: list.at(-1) };
    };
    const [before, under] = [figures(quiet), figures(besieged)];
    const write = ({ median, p99, longest }) => `median ${median.toFixed(2)}, 99 % ${p99.toFixed(2)}, longest ${longest.toFixed(2)} ms`;
    t.diagnostic(`${said} ${how} of ${(bytes / 1000).toFixed(0)} KB over ${connections} connections; checks of another room: ${write(before)}; under fire: ${write(under)}; ${spent.toFixed(1)} s of CPU`);
    assert.ok(under.longest <= before.longest + 50, 'an answer came more than 50 ms later');
  });
}

async function times(checker) {
  const list = [];
  for (let i = 0; i < CHECKS; i++) {
    list.push(await checker.check());
    await pause(10);
  }
  return list;
}

/** Joins, and reads the answer to its offer. */
function answered(url) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    socket.on('error', reject);
    socket.on('message', (data) => {
      const { message } = SignalResponse.fromBinary(new Uint8Array(data));
      if (message.case === 'answer') resolve({ socket, answer: message.value.sdp });
    });
    socket.on('close', () => reject(new Error('thrown out')));
  });
}
