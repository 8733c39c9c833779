import path from 'node:path';
import { instrument } from '../page/media.js';
import { CommandProgram } from './lines.js';
import { PYTHON, ROOT, SCREENS } from './paths.js';
import { until } from './until.js';

/**
 * What each participant is known by: tones without common multiples, far from one another; hues likewise. Kept between
 * 300 and 3400 Hz, where every voice codec and noise filter lets them through.
 */
export const SIGNS = [
  { tone: 440, hue: 0 },
  { tone: 697, hue: 90 },
  { tone: 1030, hue: 180 },
  { tone: 1480, hue: 270 },
  { tone: 2130, hue: 45 },
  { tone: 2890, hue: 225 },
];

/** A browser window. Subclasses say how it joins. */
class BrowserParticipant {
  microphone = true;
  camera = true;
  screen = false;
  inMeeting = false;

  /**
   * @param {import('puppeteer-core').Browser} browser
   * @param {{name: string, tone: number, hue: number, width?: number, height?: number, fps?: number,
   *          fakeMicrophone?: boolean, relays?: Record<string, number>, relayAddress?: string, transportPolicy?: 'relay',
   *          servers?: string, candidates?: string}} options
   */
  constructor(browser, options) {
    this.browser = browser;
    this.options = { width: 640, height: 360, fps: 15, fakeMicrophone: false, relays: {}, ...options };
    this.name = options.name;
    this.tone = options.tone;
    this.hue = options.hue;
    this.errors = [];
  }

  async open() {
    // A context of its own: its own storage, so that nobody takes another's name or device choice. And a window of
    // its own in front, which no other page can push into the background.
    this.context = this.options.fakeMicrophone ? this.browser : await this.browser.createBrowserContext();
    this.page = await this.context.newPage();
    this.page.on('pageerror', (error) => {
      // Firefox reports a WebSocket that a reload cuts off, wherever the page is; no script of ours can catch it.
      if (!/was interrupted while the page was loading/.test(String(error))) this.errors.push(String(error));
    });
    await this.page.evaluateOnNewDocument(instrument, this.options);
  }

  listen(tones) {
    return this.page.evaluate((list) => window.__test.listen(list), tones);
  }

  look(source) {
    return this.page.evaluate((which) => window.__test.look(which), source);
  }

  stats(kind) {
    return this.page.evaluate((which) => window.__test.stats(which), kind);
  }

  /** The pair of candidates that media takes. */
  pair() {
    return this.page.evaluate(() => window.__test.pair());
  }

  events() {
    return this.page.evaluate(() => window.__test.events);
  }

  people() {
    return this.page.evaluate(() => [...window.__conclave.room.remoteParticipants.keys()].sort());
  }

  async connected(limit = 30_000) {
    await until(
      `${this.name} is connected`,
      () => this.page.evaluate(() => window.__conclave?.room.state === 'connected' && window.__conclave.room.localParticipant.identity !== ''),
      { limit, explain: () => this.page.evaluate(() => `${document.title}: ${document.body.innerText.slice(0, 400)}`) },
    );
    this.identity = await this.page.evaluate(() => window.__conclave.room.localParticipant.identity);
    this.inMeeting = true;
  }

  screenshot(name) {
    return this.page.screenshot({ path: path.join(SCREENS, `${name}.png`) });
  }

  async close() {
    this.inMeeting = false;
    if (this.context === this.browser) await this.page?.close();
    else await this.context?.close();
  }
}

/** Someone in our web client. */
export class WebParticipant extends BrowserParticipant {
  kind = 'web';

  /** Straight into the meeting, without the pre-join screen. */
  async join(base, room) {
    this.base = base;
    this.room = room;
    if (!this.page) await this.open();
    await this.page.goto(`${base}/m/${room}?name=${encodeURIComponent(this.name)}&autojoin=1`, { waitUntil: 'domcontentloaded' });
    await this.connected();
    this.microphone = this.camera = true;
    this.screen = false;
  }

  async reload() {
    this.inMeeting = false;
    await this.page.reload({ waitUntil: 'domcontentloaded' });
    await this.connected();
    this.microphone = this.camera = true;
    this.screen = false;
  }

  async leave() {
    await this.click('leave');
    await this.page.waitForSelector('[data-testid="left-reason"]');
    this.inMeeting = false;
  }

  async click(id) {
    // A button that cannot be pressed yet takes no click.
    const element = await this.page.waitForSelector(`[data-testid="${id}"]:not(:disabled)`, { timeout: 20_000 });
    // By script: a button under a passing notice is still a button.
    await element.evaluate((button) => button.click());
  }

  async type(id, text) {
    const element = await this.page.waitForSelector(`[data-testid="${id}"]`, { timeout: 20_000 });
    await element.click({ count: 3 });
    await element.type(text);
  }

  async toggleMicrophone() {
    await this.click('toggle-mic');
    this.microphone = !this.microphone;
  }

  async toggleCamera() {
    await this.click('toggle-camera');
    this.camera = !this.camera;
  }

  async toggleScreen() {
    await this.click('toggle-share');
    this.screen = !this.screen;
  }

  async say(text) {
    if (!(await this.page.$('[data-testid="chat-input"]'))) await this.click('toggle-chat');
    await this.type('chat-input', text);
    await this.click('chat-send');
  }

  async said() {
    if (!(await this.page.$('[data-testid="chat-input"]'))) await this.click('toggle-chat');
    return this.page.$$eval('[data-testid="chat-message"]', (all) => all.map((one) => one.textContent));
  }
}

/** Someone in an app of his own on npm `livekit-client`. */
export class BareParticipant extends BrowserParticipant {
  kind = 'bare';

  async join(pageUrl, socketUrl, token, { publish = true, camera = publish, room = {}, secret } = {}) {
    if (!this.page) await this.open();
    await this.page.goto(pageUrl);
    await this.page.evaluate(
      async (url, jwt, options, wants, shows, passphrase) => {
        const { ExternalE2EEKeyProvider, Room, RoomEvent } = window.LivekitClient;
        const encryption = {};
        if (passphrase) {
          const keyProvider = new ExternalE2EEKeyProvider();
          await keyProvider.setKey(passphrase);
          encryption.encryption = { keyProvider, worker: new Worker('/e2ee.js') };
        }
        const meeting = new Room({ publishDefaults: { videoCodec: 'vp8', dtx: false }, ...encryption, ...options });
        window.__conclave = { room: meeting };
        if (passphrase) await meeting.setE2EEEnabled(true);
        meeting.on(RoomEvent.TrackSubscribed, (track) => {
          const element = track.attach();
          if (track.kind === 'video') Object.assign(element.style, { width: '640px', height: '360px' });
          document.body.append(element);
        });
        meeting.on(RoomEvent.TrackUnsubscribed, (track) => track.detach().forEach((element) => element.remove()));
        window.__said = [];
        window.__got = [];
        meeting.registerTextStreamHandler('lk.chat', async (reader) => window.__said.push(await reader.readAll()));
        meeting.on(RoomEvent.DataReceived, (bytes) => window.__got.push(new TextDecoder().decode(bytes)));
        await meeting.connect(url, jwt);
        if (!wants) return;
        await meeting.localParticipant.setMicrophoneEnabled(true);
        if (shows) await meeting.localParticipant.setCameraEnabled(true);
      },
      socketUrl,
      token,
      room,
      publish,
      camera,
      secret,
    );
    this.microphone = publish;
    this.camera = camera;
    await this.connected();
  }

  async leave() {
    await this.page.evaluate(() => window.__conclave.room.disconnect());
    this.inMeeting = false;
  }

  async toggleMicrophone() {
    this.microphone = !this.microphone;
    await this.page.evaluate((on) => window.__conclave.room.localParticipant.setMicrophoneEnabled(on), this.microphone);
  }

  async toggleCamera() {
    this.camera = !this.camera;
    await this.page.evaluate((on) => window.__conclave.room.localParticipant.setCameraEnabled(on), this.camera);
  }

  say(text) {
    return this.page.evaluate(async (words) => void (await window.__conclave.room.localParticipant.sendText(words, { topic: 'lk.chat' })), text);
  }

  said() {
    return this.page.evaluate(() => window.__said);
  }

  /** A data packet to everybody. */
  send(text, reliable) {
    return this.page.evaluate(
      (words, sure) => window.__conclave.room.localParticipant.publishData(new TextEncoder().encode(words), { reliable: sure }),
      text,
      reliable,
    );
  }

  got() {
    return this.page.evaluate(() => window.__got);
  }

  simulateFullReconnect() {
    return this.page.evaluate(() => window.__conclave.room.simulateScenario('leave-full-reconnect'));
  }
}

/** Someone on the native SDK. */
export class NativeParticipant {
  kind = 'native';
  microphone = true;
  camera = true;
  screen = false;
  inMeeting = false;
  errors = [];

  constructor(options) {
    this.name = options.name;
    this.tone = options.tone;
    this.hue = options.hue;
    this.options = { width: 640, height: 360, ...options };
  }

  async do(verb, args) {
    try {
      return await this.program.do(verb, args);
    } catch (error) {
      throw new Error(`${this.name}: ${error.message}`, { cause: error });
    }
  }

  /** `single`: on one PeerConnection (its own default), or on two; without `instruments` it only counts what it receives. */
  async join(socketUrl, token, { publish = true, camera = publish, single = true, instruments = true } = {}) {
    this.program ??= new CommandProgram(PYTHON, ['-u', path.join(ROOT, 'tests/native/participant.py')]);
    ({ identity: this.identity } = await this.do('join', { url: socketUrl, token, single, instruments }));
    this.inMeeting = true;
    const { width, height, fps = 15 } = this.options;
    if (publish) await this.do('publish', { tone: this.tone, hue: this.hue, width, height, fps, camera });
    this.microphone = publish;
    this.camera = camera;
  }

  listen(tones) {
    return this.do('listen', { tones });
  }

  look(source = 'camera') {
    return this.do('look', { source });
  }

  async events() {
    return this.do('happened');
  }

  async people() {
    return (await this.do('state')).people;
  }

  /** How many tracks it receives. */
  async tracks() {
    return (await this.do('state')).tracks;
  }

  async toggleMicrophone() {
    await this.do('mute', { what: 'microphone', muted: this.microphone });
    this.microphone = !this.microphone;
  }

  async toggleCamera() {
    await this.do('mute', { what: 'camera', muted: this.camera });
    this.camera = !this.camera;
  }

  say(text) {
    return this.do('say', { text });
  }

  async said() {
    return (await this.do('said')).map((message) => message.text);
  }

  send(text, reliable) {
    return this.do('send', { text, reliable });
  }

  got() {
    return this.do('got');
  }

  simulateFullReconnect() {
    return this.do('simulate', { scenario: 'full-reconnect' });
  }

  async leave() {
    await this.do('leave');
    this.inMeeting = false;
  }

  async close() {
    this.inMeeting = false;
    await this.program?.end();
    this.program = undefined;
  }
}
