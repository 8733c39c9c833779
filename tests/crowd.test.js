/** A meeting of sixty; manual/crowd.test.js has 160. */
import { test } from 'node:test';
import { everybodyInOneRoom } from './lib/crowd.js';

test('sixty people with microphone and camera get every track of one another', { timeout: 10 * 60_000 }, (t) =>
  everybodyInOneRoom(t, { people: 60, seconds: 20 }));
