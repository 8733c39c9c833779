import { execFileSync, spawn } from 'node:child_process';
import { createWriteStream, mkdtempSync, readFileSync } from 'node:fs';
import dgram from 'node:dgram';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { OUTPUT, SERVER } from './paths.js';
import { KEY, SECRET } from './token.js';
import { until } from './until.js';

/** The real server on ports of its own. */
export class Server {
  #expected = [];

  /**
   * @param {string} name of the test: its log is target/conformance/NAME.log
   * @param {{shards?: number, settings?: Record<string, string>, development?: boolean, bind?: string}} [options] settings
   *   by the names of their variables; the keys are the same outside development mode; `bind`: answers by other addresses
   *   than loopback ones
   */
  static async start(name, { shards = 2, settings = {}, development = true, bind } = {}) {
    const server = new Server();
    const listen = bind ?? (development ? undefined : '127.0.0.1');
    server.arguments = ['serve', ...(development ? ['--dev'] : []), ...(listen ? ['--bind', listen] : [])];
    server.port = await freeTcpPort();
    server.mediaPort = await freeUdpPorts(shards);
    server.tcpPort = await freeTcpPort();
    server.log = path.join(OUTPUT, `${name}.log`);
    server.metricsUrl = `http://127.0.0.1:${await freeTcpPort()}/metrics`;
    server.settings = {
      CONCLAVE_HTTP_PORT: String(server.port),
      CONCLAVE_MEDIA_PORT: String(server.mediaPort),
      CONCLAVE_MEDIA_TCP_PORT: String(server.tcpPort),
      CONCLAVE_MEDIA_SHARDS: String(shards),
      CONCLAVE_MEDIA_ADDRESSES: JSON.stringify(['127.0.0.1', process.env.CONFORMANCE_ADDRESS].filter(Boolean)),
      CONCLAVE_METRICS_ADDRESS: new URL(server.metricsUrl).host,
      CONCLAVE_KEYS: `${KEY}: ${SECRET}`,
      ...settings,
    };
    await server.run('w');
    return server;
  }

  /** Starts the process; again after `stop`, on the same ports. */
  async run(flags = 'a') {
    this.process = spawn(SERVER, this.arguments, {
      env: { ...process.env, NO_COLOR: '1', ...this.settings },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const log = createWriteStream(this.log, { flags });
    this.process.stdout.pipe(log);
    this.process.stderr.pipe(log);
    this.exited = new Promise((done) => this.process.on('close', (code, signal) => done(signal ?? code)));
    const died = this.exited.then((code) => {
      throw new Error(`the server ended at once (${code}); see ${this.log}`);
    });
    const answers = async () => (await fetch(`${this.url}/`)).ok;
    await Promise.race([until('the server answers', answers, { limit: 20_000 }), died]);
    died.catch(() => {});
  }

  /**
   * Settings for the one public port and for TURN over UDP; the certificate is for `host` and signed by nobody else.
   *
   * @param {string} host
   */
  static async publicPort(host) {
    const directory = mkdtempSync(path.join(tmpdir(), 'conclave-tls-'));
    const [certificate, key] = ['certificate.pem', 'key.pem'].map((name) => path.join(directory, name));
    const names = `subjectAltName=DNS:${host},DNS:localhost,IP:127.0.0.1`;
    const options = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    execFileSync('openssl', ['req', '-x509', ...options, '-subj', `/CN=${host}`, '-addext', names, '-keyout', key, '-out', certificate], {
      stdio: 'ignore',
    });
    return {
      CONCLAVE_TLS_PORT: String(await freeTcpPort()),
      CONCLAVE_TLS_HOST: host,
      CONCLAVE_TLS_CERTIFICATE: certificate,
      CONCLAVE_TLS_KEY: key,
      CONCLAVE_TURN_UDP: 'true',
      CONCLAVE_TURN_PORT: String(await freeUdpPorts(1)),
    };
  }

  get url() {
    return `http://localhost:${this.port}`;
  }

  get socketUrl() {
    return `ws://127.0.0.1:${this.port}`;
  }

  /** The figures of /metrics by name; those with labels are added up. */
  async metrics() {
    const sums = {};
    for (const line of (await (await fetch(this.metricsUrl)).text()).split('\n')) {
      const [, name, value] = /^(\w+)(?:\{.*\})? ([\d.e+-]+)$/.exec(line) ?? [];
      if (name) sums[name] = (sums[name] ?? 0) + Number(value);
    }
    return sums;
  }

  /** Resident memory in bytes. */
  memory() {
    const status = readFileSync(`/proc/${this.process.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)[1]) * 1024;
  }

  /** CPU time used so far, seconds. */
  cpu() {
    const fields = readFileSync(`/proc/${this.process.pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  /** A line of the log that matches is no failure of the test. */
  expectError(pattern) {
    this.#expected.push(pattern);
  }

  /** Ends the process; an ERROR in its log that nobody expected fails the test. */
  async stop(signal = 'SIGTERM') {
    this.process.kill(signal);
    const late = setTimeout(() => this.process.kill('SIGKILL'), 10_000);
    const end = await this.exited;
    clearTimeout(late);
    const errors = readFileSync(this.log, 'utf8')
      .split('\n')
      .filter((line) => /\bERROR\b|panicked at/.test(line) && !this.#expected.some((pattern) => pattern.test(line)));
    if (errors.length > 0) throw new Error(`${this.log} has ${errors.length} errors:\n${errors.slice(0, 5).join('\n')}`);
    return end;
  }
}

async function freeTcpPort() {
  const probe = net.createServer();
  await new Promise((done) => probe.listen(0, '127.0.0.1', done));
  const { port } = probe.address();
  await new Promise((done) => probe.close(done));
  return port;
}

/** The first of `count` free UDP ports in a row. */
async function freeUdpPorts(count) {
  for (let attempt = 0; attempt < 100; attempt++) {
    const first = 20_000 + Math.floor(Math.random() * 20_000);
    const sockets = [];
    try {
      for (let i = 0; i < count; i++) sockets.push(await bind(first + i));
      return first;
    } catch {
      // Taken: elsewhere.
    } finally {
      for (const socket of sockets) socket.close();
    }
  }
  throw new Error(`no ${count} free UDP ports in a row`);
}

function bind(port) {
  return new Promise((done, failed) => {
    const socket = dgram.createSocket('udp4');
    socket.once('error', failed);
    socket.bind(port, '127.0.0.1', () => done(socket));
  });
}
