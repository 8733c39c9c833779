import { describe, expect, it } from 'vitest';
import { inBar, type BarItem } from './bar';

const BAR: readonly BarItem[] = [
  { id: 'microphone', split: true },
  { id: 'camera', split: true },
  { id: 'share', rank: 2 },
  { id: 'chat', rank: 4 },
  { id: 'people', rank: 3 },
  { id: 'more' },
  { id: 'leave', wide: true },
];
const ids = (items: readonly BarItem[]) => items.map(({ id }) => id);

describe('the bar', () => {
  it.each([1440, 900, 640, 390, 320])('has room for what it has today at %i px', (width) => expect(inBar(BAR, width)).toEqual(BAR));

  it('gives up what is needed least, and never the microphone or the way out', () => {
    const more = [...BAR.slice(0, 3), { id: 'react', rank: 1 }, { id: 'hand', rank: 5 }, ...BAR.slice(3)];
    expect(ids(inBar(more, 412))).toEqual(ids(more).filter((id) => id !== 'react'));
    expect(ids(inBar(more, 320))).toEqual(['microphone', 'camera', 'hand', 'chat', 'people', 'more', 'leave']);
    expect(ids(inBar(more, 100))).toEqual(['microphone', 'camera', 'more', 'leave']);
  });
});
