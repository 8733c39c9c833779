import { Store } from './store';

/** What tabs of one browser say to one another about a room. Nothing of it leaves the browser. */
interface Word {
  readonly room: string;
  readonly says: 'anybody?' | 'here' | 'gone' | 'leave';
}

/** One way to speak and to hear; browsers without one have tabs that know nothing of one another. */
type Line = Pick<BroadcastChannel, 'postMessage' | 'close'> & { onmessage: ((event: MessageEvent) => void) | null };
export type Open = () => Line | undefined;

const open: Open = () => (typeof BroadcastChannel === 'undefined' ? undefined : new BroadcastChannel('conclave.tabs'));

/** This tab is in a room: tells those that ask, and leaves where another tab is used instead. */
export class Presence {
  readonly #line: Line | undefined;
  readonly #room: string;

  constructor(room: string, leave: () => void, line = open()) {
    this.#room = room;
    this.#line = line;
    if (!line) return;
    line.onmessage = ({ data }) => {
      const word = wordIn(data);
      if (word?.room !== room) return;
      if (word.says === 'anybody?') this.#say('here');
      else if (word.says === 'leave') leave();
    };
    this.#say('here');
  }

  close(): void {
    this.#say('gone');
    this.#line?.close();
  }

  #say(says: Word['says']): void {
    this.#line?.postMessage({ room: this.#room, says } satisfies Word);
  }
}

/** Whether another tab of this browser is in a room. */
export class Lookout extends Store<boolean> {
  readonly #line: Line | undefined;
  readonly #room: string;

  constructor(room: string, line = open()) {
    super(false);
    this.#room = room;
    this.#line = line;
    if (!line) return;
    line.onmessage = ({ data }) => {
      const word = wordIn(data);
      if (word?.room === room && (word.says === 'here' || word.says === 'gone')) this.set(word.says === 'here');
    };
    this.#say('anybody?');
  }

  /** The other tab leaves: this one is used instead. */
  takeOver(): void {
    this.#say('leave');
  }

  close(): void {
    this.#line?.close();
  }

  #say(says: Word['says']): void {
    this.#line?.postMessage({ room: this.#room, says } satisfies Word);
  }
}

function wordIn(data: unknown): Word | undefined {
  return typeof data === 'object' && data !== null && 'room' in data && 'says' in data ? (data as Word) : undefined;
}
