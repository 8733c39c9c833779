import { here } from '../address';
import { Store } from '../call/store';
import { useStore } from './use-store';

/** Where one is: the address, and a number that changes when one goes elsewhere. */
export interface Place {
  readonly href: string;
  readonly visit: number;
}

const place = new Store<Place>({ href: here().href, visit: 0 });

window.addEventListener('popstate', arrive);

/** Goes to another screen without loading the page anew. */
export function go(path: string): void {
  history.pushState(null, '', path);
  arrive();
  window.scrollTo(0, 0);
}

/** Sets the address right without going anywhere. */
export function correct(path: string): void {
  if (location.pathname === path) return;
  history.replaceState(history.state, '', path + location.search + location.hash);
  place.set({ ...place.getSnapshot(), href: location.href });
}

/** Where one is; screens are drawn anew when it changes. */
export function usePlace(): Place {
  return useStore(place);
}

function arrive(): void {
  const { href, ticket } = here();
  const { visit, href: before } = place.getSnapshot();
  // A fragment leads to another part of the same screen; a token is a reason to arrive anew.
  const elsewhere = ticket || href.replace(/#.*/, '') !== before.replace(/#.*/, '');
  place.set({ href, visit: elsewhere ? visit + 1 : visit });
}
