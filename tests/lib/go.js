import path from 'node:path';
import { LineProgram } from './lines.js';
import { GO, ROOT } from './paths.js';

/** A program on LiveKit's Go SDK: as many participants as one likes. */
export class GoProgram {
  #number = 0;
  #waiting = new Map();

  constructor() {
    const tone = path.join(ROOT, 'client/fixtures/tone-440.opus-frames');
    this.program = new LineProgram(GO, ['-media', path.join(ROOT, 'tests/go/media'), '-tone', tone]);
    this.#listen();
  }

  async #listen() {
    try {
      for (;;) {
        const answer = await this.program.read();
        const waiting = this.#waiting.get(answer.id);
        this.#waiting.delete(answer.id);
        if ('error' in answer) waiting.reject(new Error(`${waiting.what}: ${answer.error}`));
        else waiting.resolve(answer.ok);
      }
    } catch (error) {
      for (const waiting of this.#waiting.values()) waiting.reject(error);
    }
  }

  do(who, verb, args = {}) {
    const id = ++this.#number;
    this.program.write({ id, do: verb, who, ...args });
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject, what: `${who}: ${verb}` }));
  }

  /** The figures of the whole process: CPU seconds and resident bytes. */
  get pid() {
    return this.program.process.pid;
  }

  end() {
    return this.program.end();
  }
}

/** Someone on LiveKit's Go SDK. Sends what its program has: a sine of 440 Hz, a red picture with a white bar. */
export class GoParticipant {
  kind = 'go';
  inMeeting = false;

  /** @param {GoProgram} program */
  constructor(program, name) {
    this.program = program;
    this.name = name;
  }

  do(verb, args) {
    return this.program.do(this.name, verb, args);
  }

  /** `publish`: of `opus`, `vp8`, `h264`, `h264-simulcast`. */
  async join(socketUrl, token, { single = false, publish = [] } = {}) {
    ({ identity: this.identity } = await this.do('join', { url: socketUrl, token, single }));
    this.inMeeting = true;
    this.tracks = publish.length > 0 ? await this.do('publish', { what: publish }) : [];
  }

  /** What it receives, by the sid of the track: `{from, source, codec, packets, frames, keys}`. */
  counts() {
    return this.do('counts');
  }

  /** `counts` of one participant, by codec: `{opus: {…}, h264: {…}}`. */
  async received(from) {
    const counts = Object.values(await this.counts()).filter((one) => one.from === from);
    return Object.fromEntries(counts.map((one) => [one.codec.split('/').at(-1).toLowerCase(), one]));
  }

  people() {
    return this.do('people');
  }

  events() {
    return this.do('happened');
  }

  send(text, reliable) {
    return this.do('send', { text, reliable });
  }

  got() {
    return this.do('got');
  }

  simulate(scenario) {
    return this.do('simulate', { text: scenario });
  }

  async leave() {
    this.inMeeting = false;
    await this.do('leave');
  }
}
