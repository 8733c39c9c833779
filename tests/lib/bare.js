import { readFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { ROOT } from './paths.js';

const SCRIPTS = { 'livekit.js': 'livekit-client.umd.js', 'e2ee.js': 'livekit-client.e2ee.worker.js' };

/**
 * An origin with nothing on it but npm `livekit-client`: for what an app of someone else's does with our server. A folder
 * name like `2.15/` gives that version (an alias in package.json), else it is the newest.
 */
export async function serveBarePage() {
  const server = http.createServer((request, response) => {
    const [, version, file] = /^\/(?:([\d.]+)\/)?([\w.]*)$/.exec(request.url) ?? [];
    if (file in SCRIPTS) {
      const name = version ? `livekit-client-${version}` : 'livekit-client';
      response.setHeader('Content-Type', 'text/javascript');
      response.end(readFileSync(path.join(ROOT, 'tests/node_modules', name, 'dist', SCRIPTS[file])));
    } else if (file === '') {
      response.setHeader('Content-Type', 'text/html');
      response.end('<!doctype html><meta charset="utf-8"><title>bare</title><script src="livekit.js"></script><body></body>');
    } else {
      response.statusCode = 404;
      response.end();
    }
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    stop: () => {
      // A browser keeps its connections.
      server.closeAllConnections();
      return new Promise((done) => server.close(done));
    },
  };
}
