import http from 'node:http';
import { WebhookReceiver } from 'livekit-server-sdk';
import { KEY, SECRET } from './token.js';

/** An application that hears of rooms: it notes what it gets, and answers what it is told to. */
export class Receiver {
  /** Everything it has taken, in order: `{event, body, token}`. */
  taken = [];
  /** Requests it turned away. */
  refused = 0;
  /** Events whose signature or type was wrong. */
  forged = [];
  /** The status for an event; 200 takes it. */
  answer = () => 200;
  #verifier = new WebhookReceiver(KEY, SECRET);

  static async start(port = 0) {
    const receiver = new Receiver();
    await receiver.open(port);
    return receiver;
  }

  /** Listens; after `close`, on the port it had. */
  async open(port = this.port) {
    this.server = http.createServer((request, response) => this.#hear(request, response));
    await new Promise((done, failed) => this.server.once('error', failed).listen(port, '127.0.0.1', done));
    this.port = this.server.address().port;
  }

  get url() {
    return `http://127.0.0.1:${this.port}/hook?from=conclave`;
  }

  async #hear(request, response) {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const body = Buffer.concat(pieces).toString();
    const token = request.headers.authorization;
    let event;
    try {
      event = await this.#verifier.receive(body, token);
      const type = request.headers['content-type'];
      if (type !== 'application/webhook+json') throw new Error(`type ${type}`);
      if (request.url !== '/hook?from=conclave') throw new Error(`path ${request.url}`);
    } catch (error) {
      this.forged.push(`${error.message}: ${body.slice(0, 200)}`);
      response.writeHead(400).end();
      return;
    }
    const status = this.answer(event);
    if (status === 200) this.taken.push({ event, body, token });
    else this.refused += 1;
    response.writeHead(status).end();
  }

  /** Events of a room: `joined`'s with whom, as `participant_joined alice`. */
  of(room) {
    const events = this.taken.map(({ event }) => event).filter((event) => event.room.name === room);
    return events.map((event) => [event.event, event.participant?.identity].filter(Boolean).join(' '));
  }

  /** Nobody answers any more. */
  async close() {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }
}
