import { Store } from './store';

/** What the server of this origin offers to people who come without an application. */
export interface ServerSettings {
  /** Who may start a meeting by link. */
  readonly start: 'nobody' | 'anyone';
  /** How meetings are entered: `link` lets in whoever has the link of a meeting by link. */
  readonly join: 'token' | 'link';
  /** The server is tried out on one's own machine: it lets everybody into everything. */
  readonly development: boolean;
}

/** Settings, or why there are none. */
export type SettingsSnapshot = ServerSettings | 'loading' | 'unreachable';

/** The settings of this origin's server; asked for once, again after {@link loadSettings}. */
export const settings = new Store<SettingsSnapshot>('loading');

/** Milliseconds until a server that does not answer counts as gone. */
const PATIENCE = 10_000;

/** Asks the server what it offers. Never rejects. */
export async function loadSettings(fetcher: typeof fetch = fetch): Promise<SettingsSnapshot> {
  settings.set('loading');
  const answer = await fetchSettings(fetcher);
  settings.set(answer);
  return answer;
}

/** The settings; `unreachable` where no server of ours answers. */
export async function fetchSettings(fetcher: typeof fetch = fetch): Promise<ServerSettings | 'unreachable'> {
  try {
    const response = await fetcher('/api/v1/config', { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
    const body: unknown = response.ok ? await response.json() : undefined;
    return readSettings(body) ?? 'unreachable';
  } catch {
    return 'unreachable';
  }
}

/** Milliseconds for which a connection that was used stays open, as servers and proxies have it at least. */
const WARM_FOR = 20_000;

let warmedAt = -Infinity;

/**
 * Opens a connection to the server of this page before it is needed, as the engine's `prepareConnection` does: names are
 * resolved and keys agreed on while one still looks at oneself. Nobody else is asked, and nothing is told.
 */
export async function warm(fetcher: typeof fetch = fetch, now = performance.now()): Promise<void> {
  if (now - warmedAt < WARM_FOR) return;
  warmedAt = now;
  await fetcher('/', { method: 'HEAD', cache: 'no-store' }).catch(() => undefined);
}

/** Waits for the answer that is on its way. */
export function settingsKnown(): Promise<ServerSettings | 'unreachable'> {
  const now = settings.getSnapshot();
  if (now !== 'loading') return Promise.resolve(now);
  return new Promise((resolve) => {
    const stop = settings.subscribe(() => {
      const then = settings.getSnapshot();
      if (then === 'loading') return;
      stop();
      resolve(then);
    });
  });
}

/** Whether the start page can offer to start a meeting: one that nobody could enter is none. */
export function mayStart({ start, join }: ServerSettings): boolean {
  return start === 'anyone' && join === 'link';
}

function readSettings(body: unknown): ServerSettings | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const { start, join, development } = body as Record<string, unknown>;
  // What a newer server says beyond this offers nothing that this page could do.
  return { start: start === 'anyone' ? 'anyone' : 'nobody', join: join === 'link' ? 'link' : 'token', development: development === true };
}
