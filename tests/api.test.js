/**
 * RoomService and webhooks: every method driven by npm `livekit-server-sdk` and PyPI `livekit-api`, seen by people on the
 * native SDK and on npm `livekit-client`; and an application that hears of it all, over outages on both sides.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { EgressClient, IngressClient, RoomServiceClient, SipClient } from 'livekit-server-sdk';
import { serveBarePage } from './lib/bare.js';
import { launchChromium } from './lib/browsers.js';
import { CommandProgram } from './lib/lines.js';
import { BareParticipant, NativeParticipant, SIGNS } from './lib/participants.js';
import { PYTHON, ROOT } from './lib/paths.js';
import { Server } from './lib/server.js';
import { KEY, SECRET, token } from './lib/token.js';
import { until } from './lib/until.js';
import { Receiver } from './lib/webhooks.js';

/** PyPI's server SDK, and a person on the native SDK. */
class Native {
  #program = new CommandProgram(PYTHON, ['-u', path.join(ROOT, 'tests/native/api.py')]);

  do(verb, args) {
    return this.#program.do(verb, args);
  }

  /** Waits for something of the person's state. */
  until(what, ask) {
    let state;
    return until(what, async () => ask((state = await this.do('state'))), { explain: () => JSON.stringify(state) });
  }

  close() {
    return this.#program.end();
  }
}

/** One API for both SDKs: names and shapes of the requests are those of the protocol. */
function npmService(server) {
  const rooms = new RoomServiceClient(server.url, KEY, SECRET);
  const methods = {
    create_room: (q) => rooms.createRoom({ name: q.name, emptyTimeout: q.empty_timeout, metadata: q.metadata }),
    list_rooms: async (q) => ({ rooms: await rooms.listRooms(q.names) }),
    delete_room: (q) => rooms.deleteRoom(q.room),
    list_participants: async (q) => ({ participants: await rooms.listParticipants(q.room) }),
    get_participant: (q) => rooms.getParticipant(q.room, q.identity),
    remove_participant: (q) => rooms.removeParticipant(q.room, q.identity),
    mute_published_track: async (q) => ({ track: await rooms.mutePublishedTrack(q.room, q.identity, q.track_sid, q.muted) }),
    update_participant: (q) =>
      rooms.updateParticipant(q.room, q.identity, {
        metadata: q.metadata,
        name: q.name,
        attributes: q.attributes,
        permission: q.permission && { canPublish: q.permission.can_publish, canSubscribe: q.permission.can_subscribe, canPublishData: q.permission.can_publish_data },
      }),
    update_subscriptions: (q) => rooms.updateSubscriptions(q.room, q.identity, q.track_sids, q.subscribe),
    send_data: (q) =>
      rooms.sendData(q.room, Buffer.from(q.data, 'base64'), 0, { destinationIdentities: q.destination_identities, topic: q.topic }),
    update_room_metadata: (q) => rooms.updateRoomMetadata(q.room, q.metadata),
    move_participant: (q) => rooms.moveParticipant(q.room, q.identity, q.destination_room),
    forward_participant: (q) => rooms.forwardParticipant(q.room, q.identity, q.destination_room),
  };
  return async (method, request) => {
    try {
      const answer = await methods[method](request);
      return answer?.toJson ? answer.toJson() : JSON.parse(JSON.stringify(answer ?? {}, (_, value) => (value?.toJson ? value.toJson() : typeof value === 'bigint' ? String(value) : value)));
    } catch (error) {
      return { code: error.code, status: error.status, message: error.message };
    }
  };
}

async function pypiService(server) {
  const sdk = new Native();
  await sdk.do('serve', { url: server.url, key: KEY, secret: SECRET });
  const call = async (method, request) => {
    const { answer, ...error } = await sdk.do('call', { method, request });
    return answer ?? error;
  };
  return { sdk, call };
}

/** Plain HTTP, for what the SDKs cannot say. */
async function raw(server, method, body, grant) {
  const authorization = `Bearer ${token('', '', { grant: { roomJoin: false, ...grant } })}`;
  const response = await fetch(`${server.url}/twirp/livekit.RoomService/${method}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: authorization },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

test('RoomService', { timeout: 8 * 60_000 }, async (t) => {
  const server = await Server.start('api');
  t.after(() => server.stop());
  const pypi = await pypiService(server);
  t.after(() => pypi.sdk.close());
  const alice = new Native();
  t.after(() => alice.close());
  const bob = new Native();
  t.after(() => bob.close());

  for (const [sdk, call] of Object.entries({ npm: npmService(server), pypi: pypi.call })) {
    await t.test(`every method, by ${sdk}`, async (t) => {
      const room = `room of ${sdk}`;
      const created = await call('create_room', { name: room, empty_timeout: 60, metadata: 'begin' });
      assert.match(created.sid, /^RM_/);
      assert.equal(created.metadata, 'begin');
      assert.equal((await call('create_room', { name: room, metadata: 'other' })).sid, created.sid);
      const { rooms } = await call('list_rooms', { names: [room] });
      assert.deepEqual(rooms.map((one) => one.sid), [created.sid]);
      assert.deepEqual((await call('list_participants', { room: 'nowhere' })).participants ?? [], []);

      await alice.do('join', { url: server.socketUrl, token: token(room, 'alice') });
      await bob.do('join', { url: server.socketUrl, token: token(room, 'bob') });
      const sid = await alice.do('publish');
      await bob.until('bob hears alice', (state) => state.heard.includes(sid));

      // Packets reach those whose data channel is open, which is a moment after their sound.
      for (const person of ['alice', 'bob']) {
        const greeting = { room, destination_identity: person, method: 'greet', payload: person, response_timeout_ms: 8000 };
        const greeted = async () => (await raw(server, 'PerformRpc', greeting, { roomAdmin: true, room })).status === 200;
        await until(`${person} can be reached`, greeted, { limit: 60_000 });
      }

      await t.test('who is there', async () => {
        const { participants } = await call('list_participants', { room });
        assert.deepEqual(participants.map((person) => person.identity).sort(), ['alice', 'bob']);
        const person = await call('get_participant', { room, identity: 'alice' });
        assert.deepEqual(person.tracks.map((track) => track.sid), [sid]);
      });

      await t.test('metadata, name and attributes', async () => {
        await call('update_room_metadata', { room, metadata: 'changed' });
        await bob.until('bob knows', (state) => state.metadata === 'changed');
        const person = await call('update_participant', { room, identity: 'alice', name: 'Alicia', metadata: 'm', attributes: { hand: 'up' } });
        assert.deepEqual([person.name, person.metadata, person.attributes], ['Alicia', 'm', { hand: 'up' }]);
        await alice.until('alice knows', (state) => state.name === 'Alicia' && state.own === 'm' && state.attributes.hand === 'up');
        await bob.until('bob was told', ({ events }) => ['participant_name_changed', 'participant_metadata_changed', 'participant_attributes_changed'].every((name) => events.includes(name)));
      });

      await t.test('data reaches those it is for, without a sender', async () => {
        const data = Buffer.from('for bob').toString('base64');
        assert.deepEqual(await call('send_data', { room, data, kind: 'RELIABLE', topic: 'news', destination_identities: ['bob'] }), {});
        assert.deepEqual(await call('send_data', { room, data: Buffer.from('for all').toString('base64'), kind: 'RELIABLE' }), {});
        await bob.until('both', (state) => state.data.length === 2);
        await alice.until('one', (state) => state.data.length === 1);
        const { data: heard } = await bob.do('state');
        assert.deepEqual(heard[0], { data: 'for bob', topic: 'news', from: null });
        assert.equal((await alice.do('state')).data[0].data, 'for all');
      });

      await t.test('subscriptions', async () => {
        await call('update_subscriptions', { room, identity: 'bob', track_sids: [sid], subscribe: false });
        // The native client is not told in words; the server sends no more.
        await until('bob hears her no more', async () => (await server.metrics()).conclave_subscriptions === 0);
        await call('update_subscriptions', { room, identity: 'bob', track_sids: [sid], subscribe: true });
        await until('bob hears her again', async () => (await server.metrics()).conclave_subscriptions === 1);
      });

      await t.test('mute, and no unmute from afar', async () => {
        const { track } = await call('mute_published_track', { room, identity: 'alice', track_sid: sid, muted: true });
        assert.equal(track.muted, true);
        await bob.until('bob was told', ({ events }) => events.includes('track_muted'));
        const refused = await call('mute_published_track', { room, identity: 'alice', track_sid: sid, muted: false });
        assert.deepEqual([refused.status, refused.code], [412, 'failed_precondition']);
      });

      await t.test('a permission that is taken ends what it allowed, at once', async () => {
        const tokens = ({ events }) => events.filter((name) => name === 'token_refreshed').length;
        const before = tokens(await alice.do('state'));
        const permission = { can_publish: false, can_subscribe: true, can_publish_data: false };
        const person = await call('update_participant', { room, identity: 'alice', permission });
        assert.deepEqual(person.tracks ?? [], []);
        await bob.until('bob hears nothing', (state) => state.heard.length === 0);
        await alice.until('her token says so', (state) => tokens(state) > before);
        assert.equal((await server.metrics()).conclave_tracks, 0);
      });

      await t.test('a method of a participant', async () => {
        const rpc = (method, more = {}) =>
          raw(server, 'PerformRpc', { room, destination_identity: 'bob', method, payload: 'you', response_timeout_ms: 8000, ...more }, { roomAdmin: true, room });
        assert.deepEqual(await rpc('greet'), { status: 200, body: { payload: 'hello you' } });
        const error = async (...what) => {
          const { status, body } = await rpc(...what);
          return [status, body.code, Number(/RpcError (\d+)/.exec(body.msg)?.[1])];
        };
        assert.deepEqual(await error('nothing'), [400, 'invalid_argument', 1400]);
        assert.deepEqual(await error('refuse'), [500, 'internal', 101]);
        assert.deepEqual(await error('fail'), [500, 'internal', 1500]);
        assert.deepEqual(await error('sleep', { response_timeout_ms: 500 }), [408, 'canceled', 1502]);
        assert.deepEqual(await error('greet', { payload: 'x'.repeat(15 * 1024 + 1) }), [400, 'invalid_argument', 1402]);
        assert.equal((await rpc('greet', { destination_identity: 'nobody' })).status, 404);
      });

      await t.test('a move to another room', async () => {
        const other = `other ${room}`;
        const where = { room, identity: 'bob', destination_room: other };
        assert.deepEqual((({ status, code }) => [status, code])(await call('move_participant', { ...where, destination_room: room })), [400, 'invalid_argument']);
        await call('move_participant', where);
        await until('bob is there', async () => (await call('list_participants', { room: other })).participants?.[0]?.identity === 'bob');
        await bob.until('bob knows', (state) => state.connected && state.room === other);
        const { participants } = await call('list_participants', { room });
        assert.deepEqual(participants.map((person) => person.identity), ['alice']);
      });

      await t.test('forwarded to another room', async () => {
        const other = `other ${room}`;
        const where = { room: other, identity: 'bob', destination_room: room };
        await until('he is forwarded', async () => (await call('forward_participant', where)).status === undefined);
        const admin = { roomAdmin: true, room };
        const { body } = await raw(server, 'GetParticipant', { room, identity: 'bob' }, admin);
        assert.deepEqual([body.kind_details, body.state], [['FORWARDED'], 'ACTIVE']);
        const refused = async (method, request) => {
          const { status, code } = await call(method, request);
          return [status, code];
        };
        assert.deepEqual(await refused('forward_participant', where), [409, 'already_exists']);
        assert.deepEqual(await refused('forward_participant', { ...where, identity: 'nobody' }), [404, 'not_found']);
        assert.deepEqual(await refused('forward_participant', { ...where, destination_room: other }), [400, 'invalid_argument']);
        // Governed where he is connected; and what changes there is seen here.
        assert.deepEqual(await refused('update_participant', { room, identity: 'bob', name: 'x' }), [412, 'failed_precondition']);
        await call('update_participant', { room: other, identity: 'bob', name: 'Robert' });
        await until('his name is known', async () => (await call('get_participant', { room, identity: 'bob' })).name === 'Robert');
        await call('remove_participant', { room, identity: 'bob' });
        await until('he can be forwarded again', async () => (await call('forward_participant', where)).status === undefined);
        await call('delete_room', { room: other });
        await until('he is in neither', async () => (await call('get_participant', { room, identity: 'bob' })).status === 404);
        await bob.until('bob was put out', (state) => !state.connected);
      });

      await t.test('removed, and the room deleted', async () => {
        await call('remove_participant', { room, identity: 'alice' });
        await alice.until('alice was put out', (state) => !state.connected);
        const gone = await call('get_participant', { room, identity: 'alice' });
        assert.deepEqual([gone.status, gone.code], [404, 'not_found']);
        assert.match(gone.message, /participant does not exist/);
        await call('delete_room', { room });
        assert.deepEqual((await call('list_rooms', { names: [room] })).rooms ?? [], []);
        const absent = await call('delete_room', { room });
        assert.deepEqual([absent.status, absent.code], [404, 'not_found']);
      });
      // What happened to them is the next round's no more.
      await alice.do('forget');
      await bob.do('forget');
    });
  }

  await t.test('npm livekit-client follows a move and publishes there', async (t) => {
    const page = await serveBarePage();
    t.after(page.stop);
    const browser = await launchChromium();
    t.after(() => browser.close());
    const ada = new BareParticipant(browser, { name: 'ada', ...SIGNS[0] });
    await ada.join(page.url, server.socketUrl, token('from', 'ada'));
    await ada.page.evaluate(() => {
      window.__moved = [];
      window.__conclave.room.on('moved', (name) => window.__moved.push(name));
    });
    const call = npmService(server);
    await until('ada publishes', async () => (await call('get_participant', { room: 'from', identity: 'ada' })).tracks?.length === 2);
    await call('move_participant', { room: 'from', identity: 'ada', destination_room: 'to' });
    await until('ada publishes there', async () => (await call('get_participant', { room: 'to', identity: 'ada' })).tracks?.length === 2);
    assert.deepEqual(await ada.page.evaluate(() => window.__moved), ['to']);
    assert.equal(await ada.page.evaluate(() => window.__conclave.room.name), 'to');

    await t.test('and is heard and seen in a room that it is forwarded to', async (t) => {
      const ben = new NativeParticipant({ name: 'ben', ...SIGNS[1] });
      t.after(() => ben.close());
      await ben.join(server.socketUrl, token('side', 'ben'), { publish: false });
      const where = { room: 'to', identity: 'ada', destination_room: 'side' };
      assert.deepEqual(await call('forward_participant', where), {});
      const meets = async () => {
        let heard, seen;
        await until('ben hears and sees ada', async () => {
          [heard, seen] = [await ben.listen([ada.tone]), await ben.look()];
          return heard.ada?.shares?.[ada.tone] > 0.3 && seen.ada?.width > 0;
        }, { limit: 60_000, explain: () => JSON.stringify([heard, seen]) });
      };
      await meets();
      const gone = () => until('ben is alone', async () => (await ben.people()).length === 0);
      await ada.toggleMicrophone();
      const tracks = async (room) => (await call('get_participant', { room, identity: 'ada' })).tracks ?? [];
      await until('her mute is seen', async () => (await tracks('side')).some((track) => track.muted === true));
      await ada.toggleMicrophone();
      await meets();
      await call('remove_participant', { room: 'side', identity: 'ada' });
      await gone();
      assert.equal((await tracks('to')).length, 2);
      await until('forwarded again', async () => (await call('forward_participant', where)).status === undefined);
      await meets();
      await ada.leave();
      await gone();
    });
  });
});

test('what applications ask and write beside RoomService', { timeout: 60_000 }, async (t) => {
  const server = await Server.start('api-beside');
  t.after(() => server.stop());

  await t.test('npm livekit-server-sdk finds the lists of absent services empty, and hears what is not there', async () => {
    const [egress, ingress, sip] = [EgressClient, IngressClient, SipClient].map((Client) => new Client(server.url, KEY, SECRET));
    assert.deepEqual(await egress.listEgress(), []);
    assert.deepEqual(await ingress.listIngress(), []);
    assert.deepEqual(await sip.listSipDispatchRule(), []);
    assert.deepEqual(await sip.listSipInboundTrunk(), []);
    assert.deepEqual(await sip.listSipOutboundTrunk(), []);
    await assert.rejects(egress.stopEgress('EG_1'), (error) => error.status === 501 && error.code === 'unimplemented' && /no egress service/.test(error.message));
  });

  await t.test('a token of La Suite Meet lets a guest in', async () => {
    const attributes = { color: 'hsl(126, 75%, 50%)', room_role: null, is_authenticated: 'false' };
    const claims = { name: 'Guest', metadata: null, kind: null, sip: null, roomConfig: null, attributes };
    const grant = { roomAdmin: false, canUpdateOwnMetadata: false, canPublishSources: ['camera', null], hidden: null, destinationRoom: null };
    const validate = async (claims) => {
      const response = await fetch(`${server.url}/rtc/validate?access_token=${token('r', 'guest', { grant, claims })}`);
      return [response.status, await response.text()];
    };
    assert.deepEqual(await validate(claims), [200, 'success']);
    const seconds = String(Math.floor(Date.now() / 1000) + 60);
    assert.deepEqual(await validate({ ...claims, exp: seconds }), [200, 'success']);
    assert.equal((await validate({ ...claims, exp: '1700000000' }))[0], 401);
    assert.equal((await validate({ ...claims, attributes: { room_role: 1 } }))[0], 401);
  });
});

test('nobody is forwarded to a media thread that is full', { timeout: 2 * 60_000 }, async (t) => {
  const settings = { CONCLAVE_MEDIA_SHARDS: '2', CONCLAVE_LIMITS_MAX_PARTICIPANTS_PER_SHARD: '1' };
  const server = await Server.start('full', { settings });
  t.after(() => server.stop());
  const call = npmService(server);
  for (const [room, name] of [['here', 'alice'], ['there', 'bob']]) {
    const person = new Native();
    t.after(() => person.close());
    await person.do('join', { url: server.socketUrl, token: token(room, name) });
  }
  const { status, code } = await call('forward_participant', { room: 'here', identity: 'alice', destination_room: 'there' });
  assert.deepEqual([status, code], [503, 'unavailable']);
  const people = async (room) => (await call('list_participants', { room })).participants.map((person) => person.identity);
  assert.deepEqual([await people('here'), await people('there')], [['alice'], ['bob']]);
});

test('webhooks', { timeout: 5 * 60_000 }, async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'conclave-webhooks-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const receiver = await Receiver.start();
  t.after(() => receiver.close());
  const settings = {
    CONCLAVE_WEBHOOK_URLS: JSON.stringify([receiver.url]),
    CONCLAVE_WEBHOOK_FILE: path.join(folder, 'events.db'),
    CONCLAVE_ROOM_DEPARTURE_TIMEOUT: '1',
    CONCLAVE_ROOM_RESUME_TIMEOUT: '1',
  };
  const server = await Server.start('webhooks', { settings });
  t.after(() => server.stop());
  const call = npmService(server);
  const alice = new Native();
  t.after(() => alice.close());
  const heard = (what, room, events) => until(what, () => receiver.of(room).length >= events.length, { explain: () => receiver.of(room).join(', ') }).then(() => assert.deepEqual(receiver.of(room), events));

  await t.test('a meeting is told in order, signed', async () => {
    await alice.do('join', { url: server.socketUrl, token: token('meeting', 'alice') });
    const sid = await alice.do('publish');
    await until('published', () => receiver.of('meeting').length >= 3);
    await call('update_participant', { room: 'meeting', identity: 'alice', permission: { can_publish: false, can_subscribe: true } });
    await until('unpublished', () => receiver.of('meeting').length >= 4);
    await alice.do('leave');
    await heard('the end', 'meeting', ['room_started', 'participant_joined alice', 'track_published alice', 'track_unpublished alice', 'participant_left alice', 'room_finished']);
    const events = receiver.taken.map(({ event }) => event);
    assert.equal(events[2].track.sid, sid);
    assert.equal(events[1].room.numParticipants, 1);
    assert.equal(events[4].room.numParticipants, 0);
    assert.equal(new Set(events.map((event) => event.id)).size, events.length);
    const sdk = new Native();
    for (const { event, body, token: signature } of receiver.taken) {
      assert.equal(await sdk.do('receive', { key: KEY, secret: SECRET, body, token: signature }), event.event);
    }
    await sdk.close();
    assert.equal(receiver.taken[0].body.includes('"numParticipants":0'), false, 'defaults are left out');
  });

  await t.test('a room whose events are not taken does not hold up another', async () => {
    receiver.answer = (event) => (event.room.name === 'stuck' ? 503 : 200);
    await call('create_room', { name: 'stuck' });
    await call('create_room', { name: 'free' });
    await call('delete_room', { room: 'stuck' });
    await call('delete_room', { room: 'free' });
    await heard('the free room', 'free', ['room_started', 'room_finished']);
    await until('tried again', () => receiver.refused >= 2);
    assert.deepEqual(receiver.of('stuck'), []);
    receiver.answer = () => 200;
    await heard('the stuck room', 'stuck', ['room_started', 'room_finished']);
  });

  await t.test('nothing is lost over an outage of the receiver and a server that is killed', async () => {
    await receiver.close();
    const rooms = Array.from({ length: 20 }, (_, index) => `lost ${index}`);
    for (const name of rooms) {
      await call('create_room', { name });
      await call('delete_room', { room: name });
    }
    await until('all of it is on disk', async () => (await server.metrics()).conclave_webhook_unstored === 0);
    await server.stop('SIGKILL');
    await server.run();
    assert.ok((await server.metrics()).conclave_webhook_queue_bytes > 0);
    // Of rooms that come after the restart, too: behind those that waited.
    await call('create_room', { name: rooms[0] });
    await receiver.open();
    for (const name of rooms.slice(1)) await heard(name, name, ['room_started', 'room_finished']);
    await heard('the first', rooms[0], ['room_started', 'room_finished', 'room_started']);
    await until('the queue is empty', async () => (await server.metrics()).conclave_webhook_queue_bytes === 0);
  });

  await t.test('a server that stops tells the end of its rooms', async () => {
    await call('create_room', { name: 'last' });
    await server.stop();
    await heard('the last room', 'last', ['room_started', 'room_finished']);
    assert.equal(JSON.parse(receiver.taken.at(-1).body).roomEndReason, 'ROOM_END_SERVER_SHUTDOWN');
    await server.run();
  });

  assert.deepEqual(receiver.forged, []);
});
