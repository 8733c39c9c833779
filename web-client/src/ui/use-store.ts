import { useSyncExternalStore } from 'react';
import type { Watched } from '../call/types';

/**
 * Follows a store, or a part of it: who asks for a part is drawn anew only when that part is another one.
 *
 * @param select gives the same object for the same part: a field, a found item, a number; never something made on the spot.
 */
export function useStore<T>(store: Watched<T>): T;
export function useStore<T, S>(store: Watched<T>, select: (value: T) => S): S;
export function useStore<T, S>(store: Watched<T>, select?: (value: T) => S): T | S {
  return useSyncExternalStore<T | S>(store.subscribe, () => (select ? select(store.getSnapshot()) : store.getSnapshot()));
}
