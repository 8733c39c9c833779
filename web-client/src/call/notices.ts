import { Store } from './store';
import type { Matter, Notice } from './types';

/** How a kind of notice is treated. */
interface Rule {
  /** Smaller comes first. */
  readonly rank: number;
  /** `top`: concerns oneself, now. `corner`: news, out of the way. */
  readonly place: Notice['place'];
  /** Milliseconds it stays; what has none holds until it is over or dismissed. */
  readonly stay?: number;
}

/** News pass; what concerns oneself stays longer. */
const NEWS = 5000;
const OWN = 10_000;

const RULES: Readonly<Record<Matter['kind'], Rule>> = {
  reconnecting: { rank: 0, place: 'top' },
  resuming: { rank: 1, place: 'top' },
  problem: { rank: 2, place: 'top' },
  sound: { rank: 3, place: 'top' },
  silent: { rank: 4, place: 'top' },
  'muted-by-other': { rank: 5, place: 'top', stay: OWN },
  'microphone-ended': { rank: 6, place: 'top', stay: OWN },
  'camera-ended': { rank: 7, place: 'top', stay: OWN },
  'share-ended': { rank: 8, place: 'top', stay: OWN },
  weak: { rank: 9, place: 'top' },
  message: { rank: 10, place: 'corner', stay: NEWS },
  joined: { rank: 11, place: 'corner', stay: NEWS },
  left: { rank: 12, place: 'corner', stay: NEWS },
};

/**
 * Everything a meeting has to say, most urgent first. One of a kind at a time: what is said again takes the place of what
 * was said before.
 */
export class Notices extends Store<readonly Notice[]> {
  readonly #timers = new Map<Matter['kind'], ReturnType<typeof setTimeout>>();
  #id = 0;
  #closed = false;

  constructor() {
    super([]);
  }

  /** Says something. */
  tell(matter: Matter): void {
    if (this.#closed) return;
    const { place, stay } = RULES[matter.kind];
    const others = this.getSnapshot().filter(({ kind }) => kind !== matter.kind);
    this.#forget(matter.kind);
    if (stay !== undefined) this.#timers.set(matter.kind, setTimeout(() => this.end(matter.kind), stay));
    const notice: Notice = { ...matter, id: ++this.#id, place };
    this.set([...others, notice].sort((a, b) => RULES[a.kind].rank - RULES[b.kind].rank));
  }

  /** Says something as long as it is so; may be called as often as one likes. */
  hold(matter: Matter, so: boolean): void {
    if (!so) this.end(matter.kind);
    else if (!this.getSnapshot().some(({ kind }) => kind === matter.kind)) this.tell(matter);
  }

  /** It is no longer so. */
  end(kind: Matter['kind']): void {
    this.#forget(kind);
    if (this.getSnapshot().some((notice) => notice.kind === kind)) this.set(this.getSnapshot().filter((notice) => notice.kind !== kind));
  }

  /** Somebody has read it. */
  dismiss(id: number): void {
    const notice = this.getSnapshot().find((one) => one.id === id);
    if (notice) this.end(notice.kind);
  }

  close(): void {
    this.#closed = true;
    for (const kind of this.#timers.keys()) this.#forget(kind);
  }

  #forget(kind: Matter['kind']): void {
    clearTimeout(this.#timers.get(kind));
    this.#timers.delete(kind);
  }
}
