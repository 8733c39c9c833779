/** Meetings by link outside development mode: their server, and what is asked of it beside the page. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Server } from './server.js';
import { token } from './token.js';

/** A server outside development mode, whose meetings are kept in a folder of this test's own. */
export async function production(t, name, meetings = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), 'conclave-meetings-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const settings = { ...meetings, CONCLAVE_MEETINGS_FILE: path.join(folder, 'meetings.db') };
  const server = await Server.start(name, { development: false, settings });
  t.after(() => server.stop());
  return server;
}

/** The server API, by somebody who may moderate this room and create others. */
export async function call(server, method, room, body) {
  const jwt = token(room, 'moderator', { grant: { roomAdmin: true, roomCreate: true } });
  const headers = { Authorization: `Bearer ${jwt}`, 'Content-Type': 'application/json' };
  const answer = await fetch(`${server.url}/twirp/livekit.RoomService/${method}`, { method: 'POST', headers, body: JSON.stringify(body) });
  assert.equal(answer.status, 200, `${method}: ${await answer.clone().text()}`);
  return answer.json();
}

/** What the page asks of the server: the status, and what the answer says. */
export async function post(server, target, body = {}) {
  const answer = await fetch(`${server.url}${target}`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
  return { status: answer.status, ...(await answer.json()) };
}
