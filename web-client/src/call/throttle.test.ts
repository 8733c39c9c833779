import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Comings, type Gathered } from './throttle';

describe('comings and goings', () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  it('are told once for many people', () => {
    const told: Gathered[] = [];
    const comings = new Comings((gathered) => told.push(gathered));
    for (const name of ['Ana', 'Bo', 'Cy']) comings.joined(name);
    vi.advanceTimersByTime(5000);
    expect(told).toEqual([{ joined: ['Ana', 'Bo', 'Cy'], left: [] }]);
  });

  it('are silent about a person who only reconnects', () => {
    const told: Gathered[] = [];
    const comings = new Comings((gathered) => told.push(gathered));
    comings.left('Ana');
    comings.joined('Ana');
    vi.advanceTimersByTime(5000);
    expect(told).toEqual([]);
  });
});
