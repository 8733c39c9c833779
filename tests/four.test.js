/**
 * Four different clients in one room: two Chromium windows and a Firefox in our web client, and the native SDK. Each has
 * its own tone and its own picture; after everything that happens, each is asked whom it hears and sees.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { launchChromium, launchFirefox } from './lib/browsers.js';
import { everyoneHearsAndSees } from './lib/everyone.js';
import { NativeParticipant, SIGNS, WebParticipant } from './lib/participants.js';
import { chooseSeed, random } from './lib/random.js';
import { Server } from './lib/server.js';
import { token } from './lib/token.js';
import { until } from './lib/until.js';

const ROOM = 'four-four-two';
const ROUNDS = Number(process.env.ROUNDS ?? 15);

// A round takes 2 to 3 seconds.
test('four clients of three kinds', { timeout: (600 + 10 * ROUNDS) * 1000 }, async (t) => {
  const server = await Server.start('four');
  t.after(() => server.stop());
  const [chromium, second, firefox] = await Promise.all([launchChromium(), launchChromium(), launchFirefox(SIGNS[2].tone)]);
  t.after(() => Promise.all([chromium, second, firefox].map((browser) => browser.close())));

  const ada = new WebParticipant(chromium, { name: 'Ada', ...SIGNS[0] });
  const ben = new WebParticipant(second, { name: 'Ben', ...SIGNS[1] });
  const fay = new WebParticipant(firefox, { name: 'Fay', ...SIGNS[2], fakeMicrophone: true });
  const nat = new NativeParticipant({ name: 'Nat', ...SIGNS[3] });
  const all = [ada, ben, fay, nat];
  t.after(() => nat.close());
  const enter = (one) => (one === nat ? nat.join(server.socketUrl, token(ROOM, 'nat')) : one.join(server.url, ROOM));

  await t.test('all hear and see one another', async () => {
    for (const one of all) await enter(one);
    await everyoneHearsAndSees(all);
    await ada.screenshot('four');
    await fay.screenshot('four-firefox');
  });

  await t.test('who is muted is silent for all, and only he', async () => {
    await ada.toggleMicrophone();
    await nat.toggleMicrophone();
    await fay.toggleCamera();
    await everyoneHearsAndSees(all);
    await until('the tile says so', () =>
      ben.page.$(`[data-testid="tile"][data-identity="${ada.identity}"][data-muted="true"]`),
    );
  });

  await t.test('who unmutes is heard again', async () => {
    await ada.toggleMicrophone();
    await nat.toggleMicrophone();
    await fay.toggleCamera();
    await everyoneHearsAndSees(all);
  });

  await t.test('a shared screen is seen by all, and gone when it ends', async () => {
    await ben.toggleScreen();
    await everyoneHearsAndSees(all);
    await ada.screenshot('four-share');
    await ben.toggleScreen();
    await everyoneHearsAndSees(all);
  });

  await t.test('what one writes all read', async () => {
    for (const writer of all) {
      const text = `hello from ${writer.name}`;
      await writer.say(text);
      for (const reader of all) {
        if (reader === writer) continue;
        await until(`${reader.name} reads ${writer.name}`, async () => (await reader.said()).some((line) => line.includes(text)));
      }
    }
  });

  await t.test('one leaves and one reloads', async () => {
    await ben.leave();
    await fay.reload();
    await everyoneHearsAndSees(all);
    await enter(ben);
    await everyoneHearsAndSees(all);
  });

  await t.test(`${ROUNDS} random rounds of joining, leaving and reloading leave nobody unheard`, async () => {
    const seed = chooseSeed();
    const dice = random(seed);
    const story = [];
    try {
      for (let round = 1; round <= ROUNDS; round++) {
        // Up to two at once: what races in reality races here.
        const some = all.filter(() => dice.chance(0.4)).slice(0, 2);
        await Promise.all(
          some.map(async (one) => {
            const deed = !one.inMeeting ? 'enter' : one !== nat && dice.chance(0.5) ? 'reload' : 'leave';
            story.push(`${round}: ${one.name} ${deed}`);
            if (deed === 'enter') await enter(one);
            else await one[deed]();
          }),
        );
        // Not after every round: a fault that only haste shows must have its chance.
        if (round % 5 === 0) await everyoneHearsAndSees(all);
      }
      for (const one of all) if (!one.inMeeting) await enter(one);
      await everyoneHearsAndSees(all);
    } catch (error) {
      error.message = `seed ${seed}\n${story.join('\n')}\n${error.message}`;
      throw error;
    }
    t.diagnostic(`${story.length} comings and goings in ${ROUNDS} rounds, seed ${seed}`);
  });

  assert.deepEqual(all.flatMap((one) => one.errors), [], 'no script of a page failed');
});
