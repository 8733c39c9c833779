import { createHmac, randomBytes } from 'node:crypto';
import dgram from 'node:dgram';

const MAGIC = 0x2112a442;
const [USERNAME, MESSAGE_INTEGRITY, PRIORITY, ICE_CONTROLLING] = [0x0006, 0x0008, 0x0024, 0x802a];

/** A client of ICE that only asks: connectivity checks (RFC 8445, section 7), each with the time to its answer. */
export class Checker {
  #waiting = new Map();

  /** `local` and `remote` are descriptions: the one that was offered and its answer. */
  constructor(port, local, remote) {
    const of = (sdp, name) => new RegExp(`^a=${name}:(\\S+)`, 'm').exec(sdp)[1];
    this.username = `${of(remote, 'ice-ufrag')}:${of(local, 'ice-ufrag')}`;
    this.password = of(remote, 'ice-pwd');
    this.port = port;
    this.socket = dgram.createSocket('udp4');
    this.socket.on('message', (message) => {
      const id = message.toString('hex', 8, 20);
      this.#waiting.get(id)?.(performance.now());
      this.#waiting.delete(id);
    });
  }

  /** Asks; the time to the answer in milliseconds. */
  check(limit = 5000) {
    const id = randomBytes(12);
    const message = this.#request(id);
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no answer to a check within ${limit} ms`)), limit);
      const sent = performance.now();
      this.#waiting.set(id.toString('hex'), (at) => {
        clearTimeout(late);
        resolve(at - sent);
      });
      this.socket.send(message, this.port, '127.0.0.1');
    });
  }

  #request(id) {
    const attribute = (kind, value) => {
      const head = Buffer.alloc(4);
      head.writeUInt16BE(kind, 0);
      head.writeUInt16BE(value.length, 2);
      return Buffer.concat([head, value, Buffer.alloc((4 - (value.length % 4)) % 4)]);
    };
    const priority = Buffer.alloc(4);
    priority.writeUInt32BE(1_853_824_767);
    const attributes = Buffer.concat([
      attribute(USERNAME, Buffer.from(this.username)),
      attribute(PRIORITY, priority),
      attribute(ICE_CONTROLLING, Buffer.alloc(8, 7)),
    ]);
    const head = Buffer.alloc(8);
    head.writeUInt16BE(1, 0);
    // The length that is signed includes the signature (RFC 8489, section 14.5).
    head.writeUInt16BE(attributes.length + 24, 2);
    head.writeUInt32BE(MAGIC, 4);
    const message = Buffer.concat([head, id, attributes]);
    return Buffer.concat([message, attribute(MESSAGE_INTEGRITY, createHmac('sha1', this.password).update(message).digest())]);
  }

  close() {
    this.socket.close();
  }
}
