import { useSyncExternalStore } from 'react';
import { Store } from '../call/store';

/** Path and query of the page. */
const place = new Store(here());

window.addEventListener('popstate', () => place.set(here()));

/** Goes to another screen without loading the page anew. */
export function go(path: string): void {
  history.pushState(null, '', path);
  place.set(here());
  window.scrollTo(0, 0);
}

/** The address as it is now; screens are drawn anew when it changes. */
export function usePlace(): URL {
  return new URL(useSyncExternalStore(place.subscribe, place.getSnapshot));
}

function here(): string {
  return location.href;
}
