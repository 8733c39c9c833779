import { describe, expect, it } from 'vitest';
import { difference } from './difference';

describe('the difference of two sets', () => {
  it('is what to add, in the order wanted, and what to take away', () => {
    expect(difference(['a', 'b', 'c'], ['d', 'b', 'e'])).toEqual({ missing: ['d', 'e'], surplus: ['a', 'c'] });
  });

  it('is nothing where they are the same, in whatever order', () => {
    expect(difference(['a', 'b'], ['b', 'a', 'b'])).toEqual({ missing: [], surplus: [] });
  });

  it('tells things apart by identity: a track that came anew is another one', () => {
    const [old, fresh] = [{ sid: 'TR_1' }, { sid: 'TR_1' }];
    expect(difference([old], [fresh])).toEqual({ missing: [fresh], surplus: [old] });
  });
});
