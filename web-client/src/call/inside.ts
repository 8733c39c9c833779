import { Store } from './store';

/** Milliseconds between two questions. */
const ASK_EVERY = 20_000;

/** How many people are in a meeting by link, for somebody at its door. `undefined` where the server does not say. Names it tells to nobody whom the others do not see. */
export class Inside extends Store<number | undefined> {
  readonly #asking: ReturnType<typeof setInterval>;
  #over = false;

  constructor(room: string, fetcher: typeof fetch = fetch) {
    super(undefined);
    const ask = async (): Promise<void> => {
      if (globalThis.document?.hidden) return;
      const people = await peopleIn(room, fetcher);
      if (!this.#over) this.set(people);
    };
    this.#asking = setInterval(() => void ask(), ASK_EVERY);
    void ask();
  }

  close(): void {
    this.#over = true;
    clearInterval(this.#asking);
  }
}

async function peopleIn(room: string, fetcher: typeof fetch): Promise<number | undefined> {
  try {
    const response = await fetcher(`/api/v1/rooms/${encodeURIComponent(room)}`, { cache: 'no-store' });
    const body: unknown = response.ok ? await response.json() : undefined;
    const people = typeof body === 'object' && body !== null ? (body as { people?: unknown }).people : undefined;
    return typeof people === 'number' ? people : undefined;
  } catch {
    return undefined;
  }
}
