import { describe, expect, it } from 'vitest';
import { moved, toggled, WHOLE, zoomAt } from './zoom';

const SIZE = { width: 390, height: 220 };

describe('a closer look', () => {
  it('keeps what is under the finger there', () => {
    const at = { x: 100, y: 50 };
    const { scale, x, y } = zoomAt(WHOLE, 2, at, SIZE);
    expect([(at.x - x) / scale, (at.y - y) / scale]).toEqual([at.x, at.y]);
    expect(zoomAt(zoomAt(WHOLE, 2, at, SIZE), 0.5, at, SIZE)).toEqual(WHOLE);
  });

  it('ends at the edges, at six times and at the whole', () => {
    expect(zoomAt(WHOLE, 100, { x: 0, y: 0 }, SIZE).scale).toBe(6);
    expect(zoomAt(WHOLE, 0.1, { x: 9, y: 9 }, SIZE)).toEqual(WHOLE);
    const close = zoomAt(WHOLE, 2, { x: 195, y: 110 }, SIZE);
    expect(moved(close, 1000, 1000, SIZE)).toEqual({ scale: 2, x: 0, y: 0 });
    expect(moved(close, -1000, -1000, SIZE)).toEqual({ scale: 2, x: -390, y: -220 });
    expect(moved(WHOLE, 50, 50, SIZE)).toEqual(WHOLE);
  });

  it('is taken and left by a double tap', () => {
    const close = toggled(WHOLE, { x: 390, y: 220 }, SIZE);
    expect(close).toEqual({ scale: 2.5, x: -585, y: -330 });
    expect(toggled(close, { x: 1, y: 1 }, SIZE)).toEqual(WHOLE);
  });
});
