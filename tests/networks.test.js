/**
 * Networks as they are: without UDP, with nothing but a relay, with IPv6 only, with a NAT that forgets. Chromium and
 * Firefox, each with its own tone and picture; each is asked which way its media takes.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { launchChromium, launchFirefox } from './lib/browsers.js';
import { everyoneHearsAndSees } from './lib/everyone.js';
import { SIGNS, WebParticipant } from './lib/participants.js';
import { Relay } from './lib/relay.js';
import { Server } from './lib/server.js';
import { until } from './lib/until.js';

/** Shards of the server; each has a UDP port. */
const SHARDS = 2;
/** For which the server's certificate is. A browser takes "localhost" for itself. */
const HOST = 'localhost';

test('media finds its way through every network', { timeout: 10 * 60_000 }, async (t) => {
  const settings = await Server.publicPort(HOST);
  const address = process.env.CONFORMANCE_ADDRESS;
  settings.CONCLAVE_MEDIA_ADDRESSES = JSON.stringify(['127.0.0.1', '::1', address, ...ipv6(address)]);
  const server = await Server.start('networks', { shards: SHARDS, settings });
  t.after(() => server.stop());
  const tlsPort = Number(settings.CONCLAVE_TLS_PORT);
  const isMedia = (way) => way.port >= server.mediaPort && way.port < server.mediaPort + SHARDS;
  const [chromium, firefox] = await Promise.all([launchChromium(['--ignore-certificate-errors']), launchFirefox(SIGNS[1].tone, { acceptInsecureCerts: true })]);
  t.after(() => Promise.all([chromium, firefox].map((browser) => browser.close())));

  /** Both browsers meet in `room`, with these options; returned are the ways they took. */
  const meet = async (room, options = {}, { during, base = server.url } = {}) => {
    const people = [
      new WebParticipant(chromium, { name: 'Ada', ...SIGNS[0], ...options }),
      new WebParticipant(firefox, { name: 'Fay', ...SIGNS[1], fakeMicrophone: true, ...options }),
    ];
    try {
      for (const one of people) await one.join(base, room);
      await everyoneHearsAndSees(people);
      await during?.(people);
      return await Promise.all(people.map((one) => one.pair()));
    } finally {
      await Promise.all(people.map((one) => one.close()));
    }
  };

  await t.test('UDP is taken where it works, though TCP and a relay would do', async () => {
    for (const way of await meet('with-every-way')) {
      assert.deepEqual([way.protocol, way.type === 'relay', isMedia(way)], ['udp', false, true], JSON.stringify(way));
    }
  });

  await t.test('a network with IPv6 only', async () => {
    for (const way of await meet('with-ipv6', { candidates: ' udp \\d+ [0-9a-f]*:' })) {
      assert.match(way.address, /:/);
      assert.ok(isMedia(way), JSON.stringify(way));
    }
  });

  await t.test('a NAT that forgets: the address of each client changes', async () => {
    const relay = await Relay.start(server.mediaPort, { seed: 1, address });
    const other = await Relay.start(server.mediaPort + 1, { seed: 2, address });
    try {
      const relays = { [server.mediaPort]: relay.port, [server.mediaPort + 1]: other.port };
      const during = async (people) => {
        for (const one of [relay, other]) await one.rebind();
        await everyoneHearsAndSees(people);
        for (const one of people) {
          const names = (await one.events()).map((event) => event.name);
          assert.ok(!names.some((name) => /reconnect|disconnect/i.test(name)), `${one.name}: ${names}`);
        }
      };
      await meet('with-a-nat', { relays, relayAddress: address }, { during });
    } finally {
      await relay.stop();
      await other.stop();
    }
  });

  await t.test('a network without UDP: ICE over TCP', async () => {
    const allow = forbidUdp(server.mediaPort, SHARDS);
    try {
      for (const way of await meet('without-udp', { candidates: '.' })) {
        assert.deepEqual([way.protocol, way.remoteProtocol], ['tcp', 'tcp'], JSON.stringify(way));
        assert.ok([server.tcpPort, tlsPort].includes(way.port), JSON.stringify(way));
      }
      for (const way of await meet('without-udp-on-the-one-port', { candidates: ` tcp \\d+ \\S+ ${tlsPort} ` })) {
        assert.deepEqual([way.protocol, way.port], ['tcp', tlsPort], JSON.stringify(way));
      }
    } finally {
      allow();
    }
    await until('the connections are closed', async () => (await server.metrics()).conclave_media_connections === 0);
  });

  await t.test('a client that asks for it comes back over TCP alone, and over TLS alone', async () => {
    const during = async (people) => {
      const [ada] = people;
      const isSo = {
        'force-tcp': (way) => way.protocol === 'tcp' && way.type !== 'relay',
        'force-tls': (way) => way.type === 'relay' && way.relayProtocol === 'tls',
      };
      for (const [scenario, wanted] of Object.entries(isSo)) {
        await ada.page.evaluate((name) => window.__conclave.room.simulateScenario(name), scenario);
        await until(`${scenario} has its way`, async () => wanted((await ada.pair()) ?? {}), { explain: async () => JSON.stringify(await ada.pair()) });
        await everyoneHearsAndSees(people);
      }
    };
    await meet('switching', {}, { during, base: `https://${HOST}:${tlsPort}` });
  });

  await t.test('nothing but a relay: TURN over UDP', async () => {
    const options = { transportPolicy: 'relay', servers: '^turn:' };
    for (const way of await meet('with-turn-udp', options)) {
      assert.deepEqual([way.type, isMedia(way)], ['relay', true], JSON.stringify(way));
    }
  });

  await t.test('nothing but the one public port: HTTPS, WebSocket and TURN over TLS', async () => {
    const options = { transportPolicy: 'relay', servers: '^turns:' };
    const allocations = async () => (await server.metrics()).conclave_turn_allocations;
    // A browser that is closed does not give back what it had over UDP.
    const before = await allocations();
    for (const way of await meet('with-turn-tls', options, { base: `https://${HOST}:${tlsPort}` })) {
      assert.deepEqual([way.type, isMedia(way)], ['relay', true], JSON.stringify(way));
    }
    await until('the allocations are given back', async () => (await allocations()) <= before);
  });
});

/** The IPv6 address of the interface that has this IPv4 address. */
function ipv6(address) {
  const all = JSON.parse(execFileSync('ip', ['-json', 'address']));
  const own = all.find((one) => one.addr_info.some((info) => info.local === address));
  return own?.addr_info.filter((info) => info.family === 'inet6' && info.scope === 'global').map((info) => info.local) ?? [];
}

/** From now on this network lets no datagram through to these ports, as many a company's does. Returns the way back. */
function forbidUdp(port, count) {
  const ip = (...words) => execFileSync('ip', words.join(' ').split(' ')).toString();
  for (const family of ['-4', '-6']) {
    if (/^0:/m.test(ip(family, 'rule show'))) {
      // The table of local addresses comes before all rules: it has to come after ours.
      ip(family, 'rule add pref 10 table local');
      ip(family, 'rule del pref 0');
    }
    ip(family, `rule add pref 5 ipproto udp dport ${port}-${port + count - 1} prohibit`);
  }
  return () => ['-4', '-6'].forEach((family) => ip(family, 'rule del pref 5'));
}
