import { describe, expect, it, vi } from 'vitest';
import { keptFields, keptList } from './kept';
import { Store } from './store';

describe('a store', () => {
  it('tells when its value is another one, and only then', () => {
    const store = new Store({ a: 1, b: 'x' });
    const told = vi.fn();
    const stop = store.subscribe(told);
    store.patch({ a: 1 });
    store.set(store.getSnapshot());
    expect(told).not.toHaveBeenCalled();
    store.patch({ a: 2 });
    expect(store.getSnapshot()).toEqual({ a: 2, b: 'x' });
    stop();
    store.patch({ a: 3 });
    expect(told).toHaveBeenCalledTimes(1);
  });

  it('may be left, and entered, by who is being told', () => {
    const store = new Store(0);
    const late = vi.fn();
    const stop = store.subscribe(() => {
      stop();
      store.subscribe(late);
    });
    store.set(1);
    expect(late).not.toHaveBeenCalled();
    store.set(2);
    expect(late).toHaveBeenCalledTimes(1);
  });
});

describe('what says the same', () => {
  it('stays the same object', () => {
    const [list, one] = [[1, 2], { a: 1, b: undefined as string | undefined }];
    expect(keptList(list, [1, 2])).toBe(list);
    expect(keptList(list, [2, 1])).toEqual([2, 1]);
    expect(keptFields(one, { a: 1, b: undefined })).toBe(one);
    expect(keptFields(one, { a: 1, b: 'x' })).toEqual({ a: 1, b: 'x' });
  });
});
