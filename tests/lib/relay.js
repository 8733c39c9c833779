import net from 'node:net';
import { LineProgram } from './lines.js';
import { XTASK } from './paths.js';

/** A bad network for media: `cargo xtask impair`. */
export class Relay {
  static async start(mediaPort, { seed, address = '127.0.0.1' }) {
    const relay = new Relay();
    const options = ['--listen', `${address}:0`, '--to', `${address}:${mediaPort}`, '--seed', String(seed)];
    relay.program = new LineProgram(XTASK, ['impair', ...options]);
    relay.address = address;
    relay.port = Number((await relay.program.read()).listening.split(':').pop());
    return relay;
  }

  /**
   * Times in milliseconds; `rate` in bits per second is each client's link, with a queue of `queue` milliseconds.
   *
   * @typedef {{loss?: number, duplicate?: number, reorder?: number, reorder_by?: number, delay?: number, jitter?: number,
   *            rate?: number, queue?: number}} Impairment
   * @param {Impairment} down towards the client
   * @param {Impairment} [up] towards the server
   */
  async impair(down, up = down) {
    this.program.write({ up, down });
    return this.program.read();
  }

  /** Every client has another address from now on, as seen from the server; nothing comes back to the old one. */
  rebind() {
    this.program.write('rebind');
    return this.program.read();
  }

  async counters() {
    this.program.write('stats');
    return this.program.read();
  }

  stop() {
    return this.program.end();
  }
}

/** A way for HTTP and WebSocket that can be cut: a TCP relay on a port of its own. */
export class Wire {
  #sockets = new Set();
  #open = true;
  /** What was asked for through it: paths without their queries, in order. */
  paths = [];

  static async start(port) {
    const wire = new Wire();
    wire.server = net.createServer((near) => {
      if (!wire.#open) return near.destroy();
      const far = net.connect(port, '127.0.0.1');
      near.once('data', (bytes) => wire.paths.push(/^GET ([^ ?]*)/.exec(bytes.toString('latin1'))?.[1]));
      for (const [one, other] of [
        [near, far],
        [far, near],
      ]) {
        wire.#sockets.add(one);
        one.pipe(other);
        one.on('error', () => {});
        one.on('close', () => {
          wire.#sockets.delete(one);
          other.destroy();
        });
      }
    });
    await new Promise((done) => wire.server.listen(0, '127.0.0.1', done));
    wire.port = wire.server.address().port;
    return wire;
  }

  /** Ends every connection without a word; new ones work, unless `stay` keeps the wire cut. */
  cut({ stay = false } = {}) {
    this.#open = !stay;
    const count = this.#sockets.size;
    for (const socket of this.#sockets) socket.resetAndDestroy();
    return count;
  }

  mend() {
    this.#open = true;
  }

  stop() {
    this.cut({ stay: true });
    return new Promise((done) => this.server.close(done));
  }
}
