/**
 * Crowds on LiveKit's Go SDK, as `lk load-test` makes them: one picture to 150 people, ten voices to 100, and a meeting of
 * eight. Every track arrives at everybody; how long that took, and what it cost, is printed.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { GoParticipant, GoProgram } from '../lib/go.js';
import { Server } from '../lib/server.js';
import { token } from '../lib/token.js';
import { pause, until } from '../lib/until.js';

/** People who join at a time: all share this machine. */
const AT_ONCE = 8;

const CROWDS = [
  { name: 'one picture to 150', publishers: 1, publish: ['h264-simulcast'], subscribers: 150, frames: { h264: 45 } },
  { name: 'ten voices to 100', publishers: 10, publish: ['opus'], subscribers: 100, frames: { opus: 150 } },
  { name: 'a meeting of eight', publishers: 8, publish: ['opus', 'h264-simulcast'], subscribers: 0, frames: { opus: 150, h264: 45 } },
];

for (const { name, publishers, publish, subscribers, frames } of CROWDS) {
  test(name, { timeout: 15 * 60_000 }, async (t) => {
    const server = await Server.start('go-load', { settings: { CONCLAVE_MEDIA_AUDIO_TOP_N: '0' } });
    t.after(() => server.stop());
    const program = new GoProgram();
    t.after(() => program.end());
    const room = name.replaceAll(' ', '-');
    const enter = async (who, what) => {
      const one = new GoParticipant(program, who);
      await one.join(server.socketUrl, token(room, who), { publish: what });
      return one;
    };
    const began = performance.now();
    const speakers = await inGroups(publishers, (i) => enter(`speaker${i}`, publish));
    const listeners = await inGroups(subscribers, (i) => enter(`listener${i}`, []));
    const joined = performance.now();
    const people = [...speakers, ...listeners];
    const expected = (one) => (speakers.includes(one) ? publishers - 1 : publishers) * publish.length;
    const wanted = people.reduce((sum, one) => sum + expected(one), 0);
    const open = new Set(people);
    let arrived = 0;
    const ask = async (one) => {
      const counts = Object.values(await one.counts());
      const done = counts.filter((track) => {
        const codec = track.codec.split('/').at(-1).toLowerCase();
        return (codec === 'opus' ? track.packets : track.frames) >= frames[codec];
      });
      if (done.length === expected(one)) {
        open.delete(one);
        arrived += done.length;
      }
    };
    await until('every track arrives at everybody', async () => {
      await Promise.all([...open].map(ask));
      return open.size === 0;
    }, { limit: 5 * 60_000, every: 1000, explain: async () => {
      const missing = await Promise.all([...open].slice(0, 10).map(async (one) => `${one.name}: ${JSON.stringify(await one.counts())}`));
      return missing.join('\n');
    } });
    const [seconds, cpu] = [(joined - began) / 1000, server.cpu()];
    await pause(5000);
    const busy = (server.cpu() - cpu) / 5;
    t.diagnostic(`${name}: ${arrived} of ${wanted} tracks; all joined after ${seconds.toFixed(1)} s; server ${(100 * busy).toFixed(0)} % of a core, ` +
      `${(server.memory() / 1e6).toFixed(0)} MB; clients ${(memory(program.pid) / 1e6).toFixed(0)} MB`);
    assert.equal(arrived, wanted);
  });
}

async function inGroups(count, enter) {
  const all = [];
  for (let i = 0; i < count; i += AT_ONCE) {
    const group = Array.from({ length: Math.min(AT_ONCE, count - i) }, (_, j) => enter(i + j));
    all.push(...(await Promise.all(group)));
  }
  return all;
}

function memory(pid) {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;
}
