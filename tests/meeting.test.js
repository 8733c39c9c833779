/** What a person does first: start a meeting, send the link, talk. Through every screen, with pictures of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { launchChromium } from './lib/browsers.js';
import { everyoneHearsAndSees } from './lib/everyone.js';
import { SIGNS, WebParticipant } from './lib/participants.js';
import { Server } from './lib/server.js';
import { until } from './lib/until.js';

test('two people meet by link, talk, and part', async (t) => {
  const server = await Server.start('meeting');
  t.after(() => server.stop());
  const browsers = [await launchChromium(), await launchChromium()];
  t.after(() => Promise.all(browsers.map((browser) => browser.close())));

  const size = { width: 1280, height: 720, fps: 15 };
  const ada = new WebParticipant(browsers[0], { name: 'Ada Lovelace', ...SIGNS[0], ...size });
  const ben = new WebParticipant(browsers[1], { name: 'Ben Franklin', ...SIGNS[1], ...size });
  await ada.open();
  await ben.open();

  // Ada starts a meeting.
  await ada.page.goto(server.url);
  await ada.page.waitForSelector('[data-testid="start-meeting"]');
  await ada.screenshot('home');
  await ada.click('start-meeting');
  await prejoin(ada, 'prejoin');
  await ada.connected();
  await ada.page.waitForSelector('[data-testid="meeting"]');
  const link = ada.page.url();
  assert.match(new URL(link).pathname, /^\/m\/[a-z]{4}-[a-z]{4}-[a-z]{3}$/, 'a link that can be read aloud');
  await ada.screenshot('meeting-alone');

  // Ben has the code, types it at the same address, and comes in.
  await ben.page.goto(server.url);
  await ben.type('join-code', new URL(link).pathname.slice('/m/'.length));
  await ben.click('join-submit');
  await prejoin(ben, 'prejoin-second');
  await ben.connected();
  await everyoneHearsAndSees([ada, ben]);
  await ada.screenshot('meeting');

  // Each sees the other's tile under its name.
  for (const [viewer, other] of [
    [ada, ben],
    [ben, ada],
  ]) {
    const text = await viewer.page.$eval(`[data-testid="tile"][data-identity="${other.identity}"]`, (tile) => tile.textContent);
    assert.match(text, new RegExp(other.name));
  }

  await ada.say('Good morning');
  await until('Ben reads what Ada wrote', async () => (await ben.said()).some((text) => text.includes('Good morning')));
  await ben.say('Bonjour');
  await until('Ada reads the answer', async () => (await ada.said()).some((text) => text.includes('Bonjour')));
  await ada.screenshot('meeting-chat');

  await ben.leave();
  await ben.screenshot('left');
  await until('Ada is alone again', async () => (await ada.people()).length === 0);
  await until('his tile is gone', async () => !(await ada.page.$(`[data-testid="tile"][data-identity="${ben.identity}"]`)));

  // And back, by the button that is offered.
  await ben.click('rejoin');
  const again = await Promise.race([
    ben.page.waitForSelector('[data-testid="join-button"]').then(() => 'prejoin'),
    ben.page.waitForSelector('[data-testid="meeting"]').then(() => 'meeting'),
  ]);
  if (again === 'prejoin') await ben.click('join-button');
  await ben.connected();
  await everyoneHearsAndSees([ada, ben]);

  assert.deepEqual([...ada.errors, ...ben.errors], [], 'no script of the page failed');
});

async function prejoin(participant, picture) {
  await participant.type('name-input', participant.name);
  await participant.page.waitForSelector('[data-testid="prejoin-camera"]');
  await participant.screenshot(picture);
  await participant.click('join-button');
}
