/**
 * Agents of unmodified PyPI `livekit-agents` workers: sent to new rooms and to those that ask for them, they repeat what
 * somebody on the native SDK says and write down how many words it was; a worker that is killed is replaced by another.
 * Dispatches are made by npm `livekit-server-sdk`, by PyPI `livekit-api`, by LiveKit's Go SDK and by tokens.
 */
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { AgentDispatchClient, RoomServiceClient } from 'livekit-server-sdk';
import { GoProgram } from './lib/go.js';
import { CommandProgram, LineProgram } from './lib/lines.js';
import { PYTHON, PYTHON_AGENTS, ROOT } from './lib/paths.js';
import { Server } from './lib/server.js';
import { KEY, SECRET, token } from './lib/token.js';
import { pause, until } from './lib/until.js';

/** A loaded machine takes its time to start an agent's process. */
const PATIENCE = { limit: 60_000 };

const RUNNING = 1;
const SUCCESS = 2;
/** As protobuf's JSON names it. */
const AGENT = 4;

let server;
let npm;
let rooms;

/** A worker: a process whose agents have processes of their own. */
class Worker {
  static async start(name = '', kind = 'room') {
    const worker = new Worker();
    worker.program = new LineProgram(PYTHON_AGENTS, ['-u', path.join(ROOT, 'tests/native/agent.py'), name, kind], {
      env: {
        PATH: process.env.PATH,
        LIVEKIT_URL: server.socketUrl,
        LIVEKIT_API_KEY: KEY,
        LIVEKIT_API_SECRET: SECRET,
        HF_HUB_OFFLINE: '1',
      },
    });
    worker.id = (await worker.program.read()).registered;
    assert.match(worker.id, /^AW_/);
    return worker;
  }

  /** At once, with no time for a word. */
  async kill() {
    this.program.process.kill('SIGKILL');
    await this.program.exited;
  }
}

/** Somebody who speaks, and PyPI's server SDK. */
class Caller {
  #program = new CommandProgram(PYTHON, ['-u', path.join(ROOT, 'tests/native/caller.py')]);

  do(verb, args) {
    return this.#program.do(verb, args);
  }

  async join(room, options) {
    await this.do('serve', { url: server.url, key: KEY, secret: SECRET });
    await this.do('join', { url: server.socketUrl, token: token(room, 'caller', options) });
  }

  /** The agents in the room. */
  async agents() {
    return (await this.do('state')).people.filter(({ kind }) => kind === AGENT);
  }

  /** Exactly so many agents are there, and ready. */
  meets(count) {
    return until(
      `${count} agents are there`,
      async () => {
        const agents = await this.agents();
        return agents.length === count && agents.every(({ tracks }) => tracks > 0) && agents;
      },
      { ...PATIENCE, explain: async () => JSON.stringify(await this.do('state')) },
    );
  }

  /** What it says comes back, and is counted. */
  async isUnderstood() {
    const state = () => this.do('state');
    await until('all is written down that was said before', async () => {
      const { texts } = await state();
      await pause(2000);
      return (await state()).texts.length === texts.length;
    });
    const { texts, heard } = await state();
    const [lines, frames] = [texts.length, Object.values(heard).reduce((a, b) => a + b, 0)];
    await this.do('say', { words: 3 });
    const said = await until(
      'three more words are written down',
      async () => {
        const { texts: now } = await state();
        return now.length >= lines + 3 && now;
      },
      { explain: async () => JSON.stringify(await state()) },
    );
    assert.match(said.at(-1).text, /^caller has said \d+$/);
    assert.equal(said.length, lines + 3);
    const numbers = said.slice(lines).map(({ text }) => Number(text.split(' ').at(-1)));
    assert.deepEqual(numbers, [numbers[0], numbers[0] + 1, numbers[0] + 2]);
    await until('they are repeated', async () => Object.values((await state()).heard).reduce((a, b) => a + b, 0) > frames + 30);
  }

  close() {
    return this.#program.end();
  }
}

/** The jobs of a room's dispatches. */
async function jobs(room) {
  const dispatches = await npm.listDispatch(room);
  return dispatches.flatMap((dispatch) => dispatch.state?.jobs ?? []);
}

before(async () => {
  server = await Server.start('agents', { shards: 1 });
  npm = new AgentDispatchClient(server.url, KEY, SECRET);
  rooms = new RoomServiceClient(server.url, KEY, SECRET);
});

after(() => server.stop());

test('a worker that is killed in the middle of its job is replaced within ten seconds', { timeout: 5 * 60_000 }, async (t) => {
  const caller = new Caller();
  t.after(() => caller.close());
  const first = await Worker.start();
  t.after(() => first.kill());
  await caller.join('office');
  const [agent] = await caller.meets(1);
  assert.match(agent.identity, /^agent-AJ_/);
  assert.equal(agent.name, 'Echo of everybody');
  assert.equal(agent.attributes['lk.agent_name'] ?? '', '');
  await caller.isUnderstood();
  const [before] = await jobs('office');
  assert.equal(before.state.status, RUNNING);
  assert.equal(before.state.workerId, first.id);
  assert.equal(before.state.participantIdentity, agent.identity);

  const second = await Worker.start();
  t.after(() => second.kill());
  await first.kill();
  const killed = performance.now();
  const replaced = await until(
    'ListDispatch tells the other worker',
    async () => (await jobs('office')).find(({ state }) => state.workerId === second.id && state.status === RUNNING),
    { limit: 10_000, explain: async () => JSON.stringify(await caller.do('dispatches', { method: 'list', room: 'office' })) },
  );
  console.log(`the job had another worker after ${((performance.now() - killed) / 1000).toFixed(1)} s`);
  assert.equal(replaced.id, before.id);
  assert.equal((await jobs('office')).length, 1);
  const [told] = await caller.do('dispatches', { method: 'list', room: 'office' });
  assert.equal(told.state.jobs[0].state.workerId, second.id);
  assert.equal(told.state.jobs[0].state.status, 'JS_RUNNING');
  // The one takes the other's place, and goes on.
  await until('the second agent counts anew', async () => {
    await caller.do('say', { words: 1 });
    return (await caller.do('state')).texts.filter(({ text }) => text === 'caller has said 1').length === 2;
  }, PATIENCE);
  await caller.meets(1);
  await caller.isUnderstood();

  // An agent that leaves by itself is not sent again.
  await caller.do('tell', { topic: 'leave' });
  await caller.meets(0);
  const done = await until('the job is done', async () => (await jobs('office')).find(({ state }) => state.status === SUCCESS), PATIENCE);
  assert.equal(done.id, before.id);
  assert.ok(done.state.endedAt > done.state.startedAt);

  // A room that ends ends the jobs in it.
  await rooms.createRoom({ name: 'short' });
  await until('an agent is in the other room', async () => (await rooms.listParticipants('short')).length === 1, PATIENCE);
  await rooms.deleteRoom('short');
  await assert.rejects(npm.listDispatch('short'), { status: 404 });
});

test('an agent with a name comes when the API, a room or a token asks for it', { timeout: 5 * 60_000 }, async (t) => {
  const caller = new Caller();
  t.after(() => caller.close());
  const worker = await Worker.start('scribe');
  t.after(() => worker.kill());
  await caller.join('hall');
  const dispatch = await caller.do('dispatches', { method: 'create', room: 'hall', agent_name: 'scribe', metadata: 'minutes' });
  assert.match(dispatch.id, /^AD_/);
  const [agent] = await caller.meets(1);
  assert.equal(agent.attributes['lk.agent_name'], 'scribe');
  await until('it knows its metadata', async () => (await caller.agents())[0].attributes['metadata of the job'] === 'minutes');
  await caller.isUnderstood();
  const found = await npm.getDispatch(dispatch.id, 'hall');
  assert.equal(found.agentName, 'scribe');
  assert.equal(found.state.jobs[0].state.workerId, worker.id);
  assert.equal((await caller.do('dispatches', { method: 'get', room: 'hall', dispatch: dispatch.id })).id, dispatch.id);
  await npm.deleteDispatch(dispatch.id, 'hall');
  await caller.meets(0);
  assert.deepEqual(await npm.listDispatch('hall'), []);
  const again = await caller.do('dispatches', { method: 'delete', room: 'hall', dispatch: dispatch.id });
  assert.deepEqual([again.code, again.status], ['not_found', 404]);

  const go = new GoProgram();
  t.after(() => go.end());
  const fromGo = await go.do('hall', 'dispatch', { url: server.url, what: [KEY, SECRET], text: 'nobody' });
  assert.deepEqual([fromGo.name, fromGo.listed, fromGo.workers, fromGo.again], ['nobody', 1, [], true]);

  await npm.createDispatch('hall', 'scribe', { metadata: 'from npm' });
  await until('it came', async () => (await caller.meets(1))[0].attributes['metadata of the job'] === 'from npm');
  await caller.do('leave');

  const claims = { roomConfig: { agents: [{ agentName: 'scribe', metadata: 'from a token' }] } };
  await caller.join('study', { claims });
  await until('it came', async () => (await caller.meets(1))[0].attributes['metadata of the job'] === 'from a token');
  await caller.do('leave');

  await rooms.createRoom({ name: 'attic', agents: [{ agentName: 'scribe', metadata: 'from the room' }] });
  await until('it came', async () => (await rooms.listParticipants('attic'))[0]?.attributes['metadata of the job'] === 'from the room', PATIENCE);
});

test('each publisher has an agent of its own', { timeout: 3 * 60_000 }, async (t) => {
  const caller = new Caller();
  t.after(() => caller.close());
  const worker = await Worker.start('', 'publisher');
  t.after(() => worker.kill());
  await caller.join('stage');
  await caller.meets(1);
  const [job] = await jobs('stage');
  assert.equal(job.participant.identity, 'caller');
  assert.equal(job.state.status, RUNNING);
  await caller.isUnderstood();
});
