import type { Watched } from './types';

/** An observable value: the smallest thing `useSyncExternalStore` can read. */
export class Store<T> implements Watched<T> {
  #value: T;
  readonly #listeners = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  readonly getSnapshot = (): T => this.#value;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Replaces the value; listeners hear of it only when it is another one. */
  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const listener of [...this.#listeners]) listener();
  }

  /** Replaces some fields of an object value; nobody hears of it where they are what they were. */
  patch(part: Partial<T>): void {
    if ((Object.keys(part) as (keyof T)[]).every((field) => Object.is(part[field], this.#value[field]))) return;
    this.set({ ...this.#value, ...part });
  }
}
