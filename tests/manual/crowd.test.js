/** A meeting of 160, who come within two minutes. */
import { test } from 'node:test';
import { everybodyInOneRoom } from '../lib/crowd.js';

test('160 people with microphone and camera get every track of one another', { timeout: 30 * 60_000 }, (t) =>
  everybodyInOneRoom(t, { people: 160, seconds: 120 }));
