/**
 * A computer that changes its network in a meeting, from Wi-Fi to the cable or back: Chromium and Firefox, each in a
 * network of its own with two links. The meeting goes on by itself, in both directions.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { launchChromium, launchFirefox } from './lib/browsers.js';
import { Host } from './lib/host.js';
import { everyoneHearsAndSees } from './lib/everyone.js';
import { SIGNS, WebParticipant } from './lib/participants.js';
import { Server } from './lib/server.js';
import { pause, until } from './lib/until.js';

const ROOM = 'roaming';
/** Of Firefox's remote control: it has to be known before. */
const CONTROL_PORT = 19_222;
/** Seconds, on a machine with little breath. A browser alone needs up to 15 to believe that a path is dead. */
const LIMIT = 60;

test('a meeting goes on where a computer changes its network', { timeout: 5 * 60_000 }, async (t) => {
  // Ended in reverse order: a browser is told through its host's forwarded port.
  const ends = [];
  t.after(async () => {
    for (const end of ends.reverse()) await end();
  });
  const settings = await Server.publicPort('localhost');
  settings.CONCLAVE_MEDIA_ADDRESSES = JSON.stringify([process.env.CONFORMANCE_ADDRESS]);
  const server = await Server.start('roaming', { settings, bind: '0.0.0.0' });
  ends.push(() => server.stop());
  const base = `https://${process.env.CONFORMANCE_ADDRESS}:${settings.CONCLAVE_TLS_PORT}`;

  const hosts = [];
  for (const link of ['wifi', 'cable']) {
    const host = await Host.start(hosts.length);
    ends.push(() => host.stop());
    host.up(link);
    hosts.push(host);
  }
  await hosts[1].forwardPort(CONTROL_PORT);
  const chromium = await launchChromium(['--ignore-certificate-errors'], {
    pipe: true,
    executablePath: hosts[0].program(process.env.CHROMIUM ?? '/usr/bin/chromium'),
  });
  ends.push(() => chromium.close());
  const firefox = await launchFirefox(SIGNS[1].tone, {
    acceptInsecureCerts: true,
    debuggingPort: CONTROL_PORT,
    executablePath: hosts[1].program(process.env.FIREFOX ?? '/usr/bin/firefox-esr'),
  });
  ends.push(() => firefox.close());
  const ada = new WebParticipant(chromium, { name: 'Ada', ...SIGNS[0] });
  const fay = new WebParticipant(firefox, { name: 'Fay', ...SIGNS[1], fakeMicrophone: true });
  const people = [ada, fay];
  for (const one of people) await one.join(base, ROOM);
  await everyoneHearsAndSees(people);

  /**
   * `change` takes `one` from its network to the one of `link`. Unless it `mayBeginAnew`, it resumes: the signal connection
   * comes back for the same participant, and ICE is restarted.
   */
  const roam = async (one, host, link, change, { mayBeginAnew = false } = {}) => {
    const other = people.find((person) => person !== one);
    const sid = () => one.page.evaluate(() => window.__conclave.room.localParticipant.sid);
    const before = { sid: await sid(), events: (await one.events()).length };
    await other.page.evaluate(() => {
      window.__left = [];
      window.__conclave.room.on('participantDisconnected', (person) => window.__left.push(person.identity));
    });
    await change();
    const start = performance.now();
    const passed = () => ((performance.now() - start) / 1000).toFixed(1);
    const way = async () => (await one.pair().catch(() => null)) ?? {};
    await until(`${one.name} has its media on the ${link}`, async () => (await way()).localAddress === `${host.links[link]}.2`, {
      limit: LIMIT * 1000,
      explain: async () => JSON.stringify([await way(), (await one.events()).slice(before.events)]),
    });
    const moved = passed();
    await everyoneHearsAndSees(people, { limit: LIMIT * 1000 });
    const events = (await one.events()).slice(before.events).map((event) => event.name);
    t.diagnostic(`${one.name} to the ${link}: media on it after ${moved} s, heard and seen both ways after ${passed()} s (${events.join(', ')})`);
    assert.ok(!events.includes('disconnected'), events.join(', '));
    if (!mayBeginAnew || !events.includes('reconnecting')) {
      assert.equal(await sid(), before.sid, 'the same participant');
      assert.deepEqual(await other.page.evaluate(() => window.__left), [], `for ${other.name} nobody was ever gone`);
    }
    for (const person of people) assert.deepEqual(person.errors, []);
  };

  await t.test('Chromium: the cable is plugged in before the Wi-Fi ends', () =>
    roam(ada, hosts[0], 'cable', async () => {
      hosts[0].up('cable');
      await pause(1000);
      hosts[0].down('wifi');
    }),
  );
  // Firefox 153: DTLS fails for good when it wants to send where there is no network at all, a heartbeat of SCTP for example.
  // The client finds that out by itself, and comes in anew.
  await t.test('Firefox: the cable is pulled before there is Wi-Fi', () =>
    roam(
      fay,
      hosts[1],
      'wifi',
      async () => {
        hosts[1].down('cable');
        await pause(1000);
        hosts[1].up('wifi');
      },
      { mayBeginAnew: true },
    ),
  );
});
