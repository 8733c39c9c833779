import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { promisify } from 'node:util';
import { ROOT, TARGET } from './paths.js';

const WEB = path.join(ROOT, 'web-client');
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };

/** Somebody who says what is wrong with contrasts, as a script for a page. */
export const AXE = path.join(WEB, 'node_modules/axe-core/axe.min.js');

/** The screens of the web client with made-up people (`web-client/dev/screens.tsx`), built and served: nothing of a server is in it. */
export async function serveHarness() {
  const folder = path.join(TARGET, 'harness');
  const build = ['node_modules/vite/bin/vite.js', 'build', '--config', 'dev/vite.config.ts', '--outDir', folder, '--emptyOutDir', '--logLevel', 'warn'];
  await promisify(execFile)(process.execPath, build, { cwd: WEB });
  const server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://harness');
    const file = path.join(folder, path.normalize(pathname));
    try {
      const body = await readFile(file);
      response.setHeader('Content-Type', TYPES[path.extname(file)] ?? 'application/octet-stream');
      response.end(body);
    } catch {
      response.statusCode = 404;
      response.end();
    }
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: (query) => `http://127.0.0.1:${server.address().port}/dev/harness.html?${query}`,
    stop: () => {
      server.closeAllConnections();
      return new Promise((done) => server.close(done));
    },
  };
}
