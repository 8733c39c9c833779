import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { Person } from '../call/types';
import { StageModel } from './stage-model';

const person = (identity: string, isLocal = false, share = false): Person =>
  ({ identity, name: identity, isLocal, joinedAt: 0, muted: false, quality: 'good', camera: undefined, share: share ? {} : undefined }) as unknown as Person;
const crowd = (count: number) => Array.from({ length: count }, (_, index) => person(`p${String(index)}`, index === 0));

describe('the stage', () => {
  let model: StageModel;
  const told = vi.fn();
  const people = (list: readonly Person[], speakers: readonly string[] = []) => model.setPeople({ list, speakers }, 1);
  const ids = () => model.getSnapshot().tiles.map(({ id }) => id);

  beforeEach(() => {
    told.mockClear();
    model = new StageModel();
    model.setViewport({ width: 1440, height: 800 });
    people(crowd(9));
    model.subscribe(told);
  });

  it('says nothing where somebody of the page speaks, or is muted', () => {
    const before = model.getSnapshot();
    people(crowd(9), ['p4']);
    people(crowd(9), ['p4', 'p2']);
    expect(model.getSnapshot()).toBe(before);
    expect(told).not.toHaveBeenCalled();
  });

  it('keeps the places of those who do not move', () => {
    model.setViewport({ width: 390, height: 800 });
    const before = model.getSnapshot().tiles;
    expect(model.getSnapshot().pages).toBe(2);
    people(crowd(8), []);
    people([...crowd(8), person('new')], []);
    const after = model.getSnapshot().tiles;
    expect(after.filter((tile) => before.includes(tile))).toHaveLength(before.length);
  });

  it('lists tiles as people came, whatever the layout', () => {
    model.togglePin('p5/camera');
    expect(ids()).toEqual([...ids()].sort());
    expect(model.getSnapshot().tiles.find(({ role }) => role === 'stage')?.id).toBe('p5/camera');
  });

  it('makes at most three pictures large, and small again', () => {
    for (const id of ['p1', 'p2', 'p3', 'p4']) model.togglePin(`${id}/camera`);
    expect(model.getSnapshot().pins).toEqual(['p2/camera', 'p3/camera', 'p4/camera']);
    for (const id of ['p2', 'p3', 'p4']) model.togglePin(`${id}/camera`);
    expect(model.getSnapshot().mode).toBe('grid');
  });

  it('turns no further than its last page, and comes back where people leave', () => {
    people(crowd(40));
    model.setPage(9);
    expect(model.getSnapshot()).toMatchObject({ page: 1, pages: 2 });
    people(crowd(5));
    expect(model.getSnapshot()).toMatchObject({ page: 0, pages: 1 });
  });

  it('gives the stage to a share, and takes it back', () => {
    people([...crowd(3), person('sharer', false, true)]);
    expect(model.getSnapshot().mode).toBe('stage');
    people([...crowd(3), person('sharer')]);
    expect(model.getSnapshot().mode).toBe('grid');
  });
});
