/**
 * A way between two networks of one machine: a TCP port of the one is a port of the other. As a program of its own
 * (`node port-forward.js SOCKET PORT`) it is the side on which the service is; `forwardPort` is the other.
 */
import net from 'node:net';
import { fileURLToPath } from 'node:url';

/** Connections that `listener` takes go to where `connect` leads. */
function pass(listener, connect) {
  listener.on('connection', (near) => {
    const far = connect();
    for (const [one, other] of [
      [near, far],
      [far, near],
    ]) {
      one.pipe(other);
      one.on('error', () => {});
      one.on('close', () => other.destroy());
    }
  });
  return listener;
}

/** This network's port leads to the socket behind which the program runs. */
export async function forwardPort(port, socket) {
  const listener = pass(net.createServer(), () => net.connect(socket));
  await new Promise((done) => listener.listen(port, '127.0.0.1', done));
  return () => listener.close();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [socket, port] = process.argv.slice(2);
  pass(net.createServer(), () => net.connect(Number(port), '127.0.0.1')).listen(socket, () => console.log('open'));
  // With whoever started it, it ends.
  process.stdin.resume().on('end', () => process.exit());
}
