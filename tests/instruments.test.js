/**
 * The instruments themselves: a tone and a picture go through a connection within one page and are found again, and a
 * wrong or missing one is noticed. What the other tests say is worth as much as this.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serveBarePage } from './lib/bare.js';
import { launchChromium, launchFirefox } from './lib/browsers.js';
import { instrument } from './page/media.js';
import { until } from './lib/until.js';

const TONES = [440, 697, 1030];

/** Two connections in the page; what arrives at the second is dressed up as a room with one remote participant. */
async function loopback() {
  const [near, far] = [new RTCPeerConnection(), new RTCPeerConnection()];
  near.onicecandidate = ({ candidate }) => candidate && far.addIceCandidate(candidate);
  far.onicecandidate = ({ candidate }) => candidate && near.addIceCandidate(candidate);
  const publications = new Map();
  far.ontrack = ({ track, receiver }) => {
    const element = document.createElement(track.kind);
    Object.assign(element, { autoplay: true, srcObject: new MediaStream([track]) });
    document.body.append(element);
    publications.set(track.kind, {
      kind: track.kind,
      source: track.kind === 'audio' ? 'microphone' : 'camera',
      isMuted: false,
      track: { kind: track.kind, mediaStreamTrack: track, attachedElements: [element], getRTCStatsReport: () => receiver.getStats() },
    });
  };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
  for (const track of stream.getTracks()) near.addTrack(track, stream);
  window.__sent = stream;
  await near.setLocalDescription();
  await far.setRemoteDescription(near.localDescription);
  await far.setLocalDescription();
  await near.setRemoteDescription(far.localDescription);
  window.__conclave = {
    room: { on() {}, remoteParticipants: new Map([['other', { identity: 'other', trackPublications: publications }]]) },
  };
}

for (const [name, fakeMicrophone, launch] of [
  ['Chromium', false, launchChromium],
  ['Firefox', true, () => launchFirefox(697)],
]) {
  test(`${name}: own tone and picture are found after the way through a connection`, async (t) => {
    const page = await serveBarePage();
    t.after(page.stop);
    const browser = await launch();
    t.after(() => browser.close());
    const tab = await browser.newPage();
    await tab.evaluateOnNewDocument(instrument, { tone: 697, hue: 90, width: 640, height: 360, fps: 15, fakeMicrophone, relays: {} });
    await tab.goto(page.url);
    await tab.evaluate(loopback);

    const listen = () => tab.evaluate((tones) => window.__test.listen(tones), TONES);
    const look = () => tab.evaluate(() => window.__test.look());
    let last;
    await until('the tone is found', async () => {
      last = await listen();
      return last.other?.shares?.[697] > 0.6;
    }, { explain: () => JSON.stringify(last) });
    assert.ok(last.other.shares[440] < 0.05 && last.other.shares[1030] < 0.05, JSON.stringify(last));

    const first = await until('the picture is found', async () => {
      last = await look();
      return last.other?.hue !== null && last.other?.width > 0 && last.other;
    }, { explain: () => JSON.stringify(last) });
    assert.ok(Math.abs(first.hue - 90) < 15, `hue ${first.hue}`);
    assert.ok(first.width > 0 && first.width / first.height === 640 / 360, `${first.width}x${first.height}`);
    await until('frames go on and the bar moves', async () => {
      const next = (await look()).other;
      return next.frames > first.frames && next.bar !== first.bar;
    });

    await tab.evaluate(() => window.__sent.getTracks().forEach((track) => (track.enabled = false)));
    await until('silence and black are noticed', async () => {
      const [sound, view] = [(await listen()).other, (await look()).other];
      last = [sound, view];
      return sound.loudness < 0.005 && view.hue === null;
    }, { explain: () => JSON.stringify(last) });
  });
}
