/**
 * A program: somebody who joins a room and says the longest things there are to say, without end (`node offers.js URL TOKEN
 * HOW`): offers of 160 people, syncs of such a meeting, or offers in text. It comes back when it is thrown out.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { JoinRequest, SessionDescription, SignalRequest, SyncState, WrappedJoinRequest } from '@livekit/protocol';
import WebSocket from 'ws';
import { ROOT } from './paths.js';

const JOIN = readFileSync(path.join(ROOT, 'sfu/tests/sdp/chromium-join.sdp'), 'utf8');

/** Chromium's first offer, and how it reads when `people` others are received. */
export function chromium(people = 0) {
  if (people === 0) return JOIN;
  const [head, ...sections] = JOIN.split(/^m=/m);
  const of = (kind) => sections.find((section) => section.startsWith(kind));
  const more = Array(people).fill(of('audio')).concat(Array(people).fill(of('video')));
  const all = [...sections, ...more].map((section, mid) => `m=${section.replace(/^a=mid:.*$/m, (line) => `a=mid:${mid}${line.endsWith('\r') ? '\r' : ''}`)}`);
  return head.replace(/^a=group:BUNDLE.*?(\r?)$/m, `a=group:BUNDLE ${all.map((_, mid) => mid).join(' ')}$1`) + all.join('');
}

/** The URL of a join with Chromium's first offer. */
export function joinUrl(url, jwt) {
  const publisherOffer = new SessionDescription({ type: 'offer', sdp: chromium(), id: 1 });
  const request = new JoinRequest({ clientInfo: { protocol: 17, version: '2.23.0' }, connectionSettings: { autoSubscribe: true }, publisherOffer });
  const wrapped = new WrappedJoinRequest({ joinRequest: request.toBinary() }).toBinary();
  return `${url}/rtc/v1?access_token=${jwt}&join_request=${Buffer.from(wrapped).toString('base64url')}`;
}

const WAYS = {
  offers: (sdp, id) => new SignalRequest({ message: { case: 'offer', value: new SessionDescription({ type: 'offer', sdp, id }) } }).toBinary(),
  text: (sdp, id) => JSON.stringify({ offer: { type: 'offer', sdp, id } }),
  syncs: (sdp) => {
    const [offer, answer] = ['offer', 'answer'].map((type) => new SessionDescription({ type, sdp }));
    return new SignalRequest({ message: { case: 'syncState', value: new SyncState({ offer, answer }) } }).toBinary();
  },
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [url, jwt, how] = process.argv.slice(2);
  const sdp = chromium(160);
  let [id, connections] = [1, 0];
  const come = () => {
    connections += 1;
    const socket = new WebSocket(joinUrl(url, jwt));
    const say = () => {
      if (socket.readyState !== WebSocket.OPEN) return;
      const message = WAYS[how](sdp, ++id);
      // As fast as they are taken.
      socket.send(message, { binary: typeof message !== 'string' }, () => setImmediate(say));
    };
    socket.on('open', say);
    socket.on('error', () => {});
    socket.on('close', () => setTimeout(come, 20));
  };
  come();
  setInterval(() => console.log(JSON.stringify({ said: id - 1, connections, bytes: sdp.length })), 500);
  process.stdin.resume().on('end', () => process.exit());
}
