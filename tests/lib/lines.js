import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** A program that speaks one JSON line at a time on its standard input and output. */
export class LineProgram {
  #waiting = [];
  #answers = [];
  #errors = '';

  constructor(command, args, options = {}) {
    this.process = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
    createInterface({ input: this.process.stdout }).on('line', (line) => {
      if (!line.startsWith('{')) return;
      const answer = JSON.parse(line);
      const waiting = this.#waiting.shift();
      if (waiting) waiting.resolve(answer);
      else this.#answers.push(answer);
    });
    this.process.stderr.on('data', (piece) => (this.#errors = (this.#errors + piece).slice(-4000)));
    this.exited = new Promise((done) =>
      this.process.on('close', (code, signal) => {
        const error = new Error(`${command} ended (${signal ?? code}): ${this.#errors}`);
        for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
        done(code);
      }),
    );
  }

  /** The last of what it wrote to its standard error. */
  get errors() {
    return this.#errors;
  }

  /** Lines it has printed that nobody has read. */
  get pending() {
    return this.#answers.length;
  }

  /** The next line it prints. */
  read() {
    if (this.#answers.length > 0) return Promise.resolve(this.#answers.shift());
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  write(value) {
    this.process.stdin.write(`${JSON.stringify(value)}\n`);
  }

  /** Ends its input, then the program where it does not end by itself. */
  async end() {
    this.process.stdin.end();
    const late = setTimeout(() => this.process.kill('SIGKILL'), 5000);
    const code = await this.exited;
    clearTimeout(late);
    return code;
  }
}

/** Such a program that does what it is told: `{id, do, …}` is answered with `{id, ok}` or `{id, error}`, in order. */
export class CommandProgram extends LineProgram {
  #number = 0;

  async do(verb, args = {}) {
    const id = ++this.#number;
    this.write({ id, do: verb, ...args });
    const answer = await this.read();
    if (answer.id !== id) throw new Error(`${verb}: answer ${answer.id} to command ${id}`);
    if ('error' in answer) throw new Error(`${verb}: ${answer.error}`);
    return answer.ok;
  }
}
