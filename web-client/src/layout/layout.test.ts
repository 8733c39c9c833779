import { describe, expect, it } from 'vitest';
import { layout } from './layout';
import { keepOrder } from './order';
import type { Item, LayoutInput, Placed, Size } from './types';

const DESKTOP: Size = { width: 1416, height: 790 };
const LAPTOP: Size = { width: 900, height: 610 };
const PHONE: Size = { width: 374, height: 740 };
const TINY: Size = { width: 304, height: 480 };

const camera = (identity: string, isLocal = false): Item => ({ id: `${identity}/camera`, identity, source: 'camera', isLocal });
const share = (identity: string, isLocal = false): Item => ({ id: `${identity}/screen_share`, identity, source: 'screen_share', isLocal });
const crowd = (count: number): Item[] => Array.from({ length: count }, (_, i) => camera(`p${i}`, i === 0));
const lay = (items: readonly Item[], viewport: Size, rest: Partial<LayoutInput> = {}) =>
  layout({ items, viewport, speakers: [], pins: [], view: 'grid', page: 0, ...rest });

function overlap(a: Placed, b: Placed): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

describe('every layout', () => {
  const counts = [1, 2, 3, 4, 5, 7, 9, 12, 16, 25, 40, 100];
  const windows = { DESKTOP, LAPTOP, PHONE, TINY };
  const cases = counts.flatMap((count) => Object.entries(windows).map(([name, size]) => ({ count, name, size })));

  it.each(cases)('keeps $count tiles inside $name without overlap', ({ count, size }) => {
    for (const items of [crowd(count), [...crowd(count), share('p1')]]) {
      for (const page of [0, 1, 99]) {
        const { tiles, pages, page: shown } = lay(items, size, { page });
        expect(shown).toBeLessThan(pages);
        expect(tiles.length).toBeGreaterThan(0);
        const flat = tiles.filter((tile) => tile.role !== 'float');
        for (const [index, tile] of flat.entries()) {
          expect(tile.x).toBeGreaterThanOrEqual(0);
          expect(tile.y).toBeGreaterThanOrEqual(0);
          expect(tile.x + tile.width).toBeLessThanOrEqual(size.width + 1);
          expect(tile.y + tile.height).toBeLessThanOrEqual(size.height + 1);
          expect(tile.width).toBeGreaterThan(60);
          for (const other of flat.slice(index + 1)) expect(overlap(tile, other)).toBe(false);
        }
      }
    }
  });

  it('shows every person exactly once over its pages', () => {
    const items = crowd(40);
    const { pages } = lay(items, DESKTOP);
    const shown = Array.from({ length: pages }, (_, page) => lay(items, DESKTOP, { page }).tiles.map((tile) => tile.id)).flat();
    expect(new Set(shown).size).toBe(40);
    expect(shown.length).toBe(40);
  });

  it('is empty in a window of no size', () => expect(lay(crowd(3), { width: 0, height: 0 }).mode).toBe('empty'));
});

describe('the grid', () => {
  it('puts four in a square and nine in three rows', () => {
    expect(new Set(lay(crowd(4), DESKTOP).tiles.map((tile) => tile.y)).size).toBe(2);
    expect(new Set(lay(crowd(9), DESKTOP).tiles.map((tile) => tile.y)).size).toBe(3);
  });

  it('uses the window: nine tiles cover at least four fifths of a desktop', () => {
    const covered = lay(crowd(9), DESKTOP).tiles.reduce((sum, tile) => sum + tile.width * tile.height, 0);
    expect(covered / (DESKTOP.width * DESKTOP.height)).toBeGreaterThan(0.8);
  });

  it('keeps the tile size of the first page on the last', () => {
    const items = crowd(30);
    const first = lay(items, LAPTOP);
    const last = lay(items, LAPTOP, { page: 99 });
    expect(first.pages).toBeGreaterThan(1);
    expect(last.tiles[0]?.width).toBe(first.tiles[0]?.width);
  });
});

describe('two people', () => {
  it('see the other one large and themselves in the corner', () => {
    const { mode, tiles } = lay(crowd(2), DESKTOP);
    expect(mode).toBe('duo');
    expect(tiles.map(({ id, role }) => [id, role])).toEqual([
      ['p1/camera', 'grid'],
      ['p0/camera', 'float'],
    ]);
  });

  it('see little of themselves on a telephone on its side', () => {
    const size = { width: 760, height: 366 };
    const own = lay(crowd(2), size).tiles.find(({ role }) => role === 'float');
    expect((own?.width ?? 0) / size.width).toBeLessThanOrEqual(0.18);
  });
});

describe('the stage', () => {
  it('shows the newest share of another, the rest beside it', () => {
    const { mode, tiles } = lay([...crowd(5), share('p2'), share('p3')], DESKTOP);
    expect(mode).toBe('stage');
    expect(tiles.filter((tile) => tile.role === 'stage').map((tile) => tile.id)).toEqual(['p3/screen_share']);
    expect(tiles.filter((tile) => tile.role === 'strip').length).toBeGreaterThanOrEqual(4);
  });

  it('gives the share more than half of a wide window', () => {
    for (const size of [DESKTOP, LAPTOP]) {
      const large = lay([...crowd(5), share('p2')], size).tiles[0];
      expect(((large?.width ?? 0) * (large?.height ?? 0)) / (size.width * size.height)).toBeGreaterThan(0.5);
    }
  });

  it('is not taken by one\'s own share', () => expect(lay([...crowd(4), share('p0', true)], DESKTOP).mode).toBe('grid'));

  it('is taken by pins before shares, and forgets pins of people who left', () => {
    const items = [...crowd(5), share('p2')];
    expect(lay(items, DESKTOP, { pins: ['p4/camera'] }).tiles[0]?.id).toBe('p4/camera');
    expect(lay(items, DESKTOP, { pins: ['gone/camera'] }).tiles[0]?.id).toBe('p2/screen_share');
    expect(lay(items, DESKTOP, { pins: ['p4/camera', 'p1/camera'] }).tiles.filter((tile) => tile.role === 'stage').length).toBe(2);
  });

  it('follows the speaker in the speaker view', () => {
    expect(lay(crowd(5), DESKTOP, { view: 'speaker', speakers: ['p0', 'p3'] }).tiles[0]?.id).toBe('p3/camera');
  });
});

describe('the order', () => {
  const ids = (items: readonly Item[]) => items.map((item) => item.identity);

  it('stays when people join, leave or speak on the first page', () => {
    const before = crowd(6).map((item) => item.id);
    const now = [...crowd(6).filter((item) => item.identity !== 'p2'), camera('new')];
    expect(ids(keepOrder(now, before, 9, ['p4'], new Map()))).toEqual(['p0', 'p1', 'p3', 'p4', 'p5', 'new']);
  });

  it('brings a speaker of a later page in place of who was silent longest, never of oneself', () => {
    const items = crowd(6);
    const before = items.map((item) => item.id);
    const spoke = new Map([
      ['p1', 5],
      ['p2', 9],
    ]);
    expect(ids(keepOrder(items, before, 3, ['p5'], spoke))).toEqual(['p0', 'p5', 'p2', 'p3', 'p4', 'p1']);
  });

  it('moves nobody when everyone on the page is speaking', () => {
    const items = crowd(4);
    expect(ids(keepOrder(items, [], 2, ['p1', 'p3'], new Map()))).toEqual(['p0', 'p1', 'p2', 'p3']);
  });
});
