import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { forwardPort } from './port-forward.js';
import { until } from './until.js';

const PORT_FORWARD = fileURLToPath(new URL('port-forward.js', import.meta.url));

/**
 * A computer: a network of its own with two links, of which each is up or down. Whichever is up leads to the
 * network of this test. Nothing of it is left when its processes end.
 */
export class Host {
  #clean = [];

  /** @param {number} number of the host: its addresses are 10.78.NUMBER.2 and 10.79.NUMBER.2 */
  static async start(number) {
    const host = new Host();
    host.folder = mkdtempSync(path.join(tmpdir(), 'conclave-host-'));
    host.#clean.push(() => rmSync(host.folder, { recursive: true, force: true }));
    // The network lasts as long as somebody is in it: until this process ends, at the latest.
    const holder = spawn('unshare', ['--net', 'cat'], { stdio: ['pipe', 'ignore', 'ignore'] });
    host.#clean.push(() => holder.stdin.end());
    host.pid = holder.pid;
    const network = (pid) => readlinkSync(`/proc/${pid}/ns/net`);
    await until('a network of its own', () => network(holder.pid) !== network('self'));
    host.inside('ip', 'link', 'set', 'lo', 'up');
    host.links = { wifi: `10.78.${number}`, cable: `10.79.${number}` };
    for (const [link, prefix] of Object.entries(host.links)) {
      const outer = `${link}${number}`;
      run('ip', 'link', 'add', outer, 'type', 'veth', 'peer', 'name', link, 'netns', String(holder.pid));
      run('ip', 'address', 'add', `${prefix}.1/24`, 'dev', outer);
      run('ip', 'link', 'set', outer, 'up');
    }
    return host;
  }

  inside(...words) {
    return run('nsenter', `--net=/proc/${this.pid}/ns/net`, '--', ...words);
  }

  up(link) {
    const prefix = this.links[link];
    this.inside('ip', 'link', 'set', link, 'up');
    this.inside('ip', 'address', 'add', `${prefix}.2/24`, 'dev', link);
    // A cable is preferred, as it is by every system.
    this.inside('ip', 'route', 'add', 'default', 'via', `${prefix}.1`, 'metric', link === 'cable' ? '100' : '600');
  }

  down(link) {
    this.inside('ip', 'address', 'flush', 'dev', link);
    this.inside('ip', 'link', 'set', link, 'down');
  }

  /** The path of a program that runs `program` here. */
  program(program) {
    const file = path.join(this.folder, path.basename(program));
    writeFileSync(file, `#!/bin/sh\nexec nsenter --net=/proc/${this.pid}/ns/net -- ${program} "$@"\n`, { mode: 0o755 });
    return file;
  }

  /** What listens here on a port of the loopback interface is reached on the same port of the test's network. */
  async forwardPort(port) {
    const socket = path.join(this.folder, 'forwarded');
    const program = spawn('nsenter', [`--net=/proc/${this.pid}/ns/net`, '--', process.execPath, PORT_FORWARD, socket, String(port)]);
    this.#clean.push(() => program.stdin.end());
    await once(program.stdout, 'data');
    this.#clean.push(await forwardPort(port, socket));
  }

  stop() {
    for (const clean of this.#clean.reverse()) clean();
  }
}

function run(program, ...words) {
  return execFileSync(program, words).toString();
}
