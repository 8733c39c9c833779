import { describe, expect, it } from 'vitest';
import { tabIdentity } from './identity';

function memory(): { read(key: string): string | undefined; write(key: string, value: string): void } {
  const values = new Map<string, string>();
  return { read: (key) => values.get(key), write: (key, value) => void values.set(key, value) };
}

describe('the identity of a tab', () => {
  it('survives a reload', async () => {
    const shelf = memory();
    const first = await tabIdentity(shelf, () => Promise.resolve(true));
    expect(await tabIdentity(shelf, () => Promise.resolve(true))).toBe(first);
  });

  it('is another one in a duplicated tab', async () => {
    const shelf = memory();
    const first = await tabIdentity(shelf, () => Promise.resolve(true));
    const copy = await tabIdentity(shelf, (name) => Promise.resolve(name !== first));
    expect(copy).not.toBe(first);
    expect(shelf.read('identity')).toBe(copy);
  });
});
