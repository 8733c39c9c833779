/** Names gathered over a short while, told at once. */
export interface Gathered {
  readonly joined: readonly string[];
  readonly left: readonly string[];
}

/**
 * Gathers comings and goings so that ten people joining are one message, not ten; somebody who comes
 * and goes within the window is not mentioned at all.
 */
export class Comings {
  #joined: string[] = [];
  #left: string[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #tell: (gathered: Gathered) => void;
  readonly #window: number;

  /** @param window milliseconds to gather before telling. */
  constructor(tell: (gathered: Gathered) => void, window = 1200) {
    this.#tell = tell;
    this.#window = window;
  }

  joined(name: string): void {
    this.#note(name, this.#joined, this.#left);
  }

  left(name: string): void {
    this.#note(name, this.#left, this.#joined);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #note(name: string, to: string[], opposite: string[]): void {
    const undone = opposite.indexOf(name);
    if (undone >= 0) opposite.splice(undone, 1);
    else to.push(name);
    this.#timer ??= setTimeout(() => this.#flush(), this.#window);
  }

  #flush(): void {
    this.#timer = undefined;
    const gathered = { joined: this.#joined, left: this.#left };
    this.#joined = [];
    this.#left = [];
    if (gathered.joined.length > 0 || gathered.left.length > 0) this.#tell(gathered);
  }
}
