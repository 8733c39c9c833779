import { useEffect } from 'react';
import { Store } from '../../call/store';
import { useStore } from '../use-store';

/** What is drawn after the door. */
export type Later = Awaited<ReturnType<typeof load>>;

/** Not `lazy`: React would hold back for a moment even what is there already, and the moment of coming in is the wrong one. */
const later = new Store<Later | undefined>(undefined);

async function load() {
  const [{ Meeting }, { LeftScreen, ReturningScreen }] = await Promise.all([import('../meeting/meeting'), import('../left/out')]);
  return { Meeting, LeftScreen, ReturningScreen };
}

/** Fetches what is needed by nobody who stands at the door; also what is needed only when the server may be gone. */
export async function loadLater(): Promise<void> {
  later.set(later.getSnapshot() ?? (await load()));
}

/** What comes after the door; `undefined` until it is there. */
export function useLater(): Later | undefined {
  useEffect(() => {
    // Where it cannot be had, the page is loaded anew (`vite:preloadError`).
    void loadLater().catch(() => undefined);
  }, []);
  return useStore(later);
}
