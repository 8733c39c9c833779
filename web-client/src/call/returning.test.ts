import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Returning, type Outcome } from './returning';
import type { Left } from './types';

const gone: Left = { reason: 'unreachable', detail: undefined, wasIn: false };
const ended: Left = { reason: 'ended', detail: undefined, wasIn: false };

function returning(outcomes: () => Outcome) {
  const done: Outcome[] = [];
  const attempt = vi.fn(() => Promise.resolve(outcomes()));
  const options = { restart: true, attempt, again: (left: Left) => left === gone, done: (outcome: Outcome) => void done.push(outcome), random: () => 0.5 };
  return { way: new Returning(options), attempt, done };
}

describe('the way back into a meeting', () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  it('is tried at once and then ever more seldom, until one is back', async () => {
    let there = false;
    const { way, attempt, done } = returning(() => (there ? undefined : gone));
    expect(way.getSnapshot()).toMatchObject({ trying: false, nextAt: Date.now() + 1000 });
    await vi.advanceTimersByTimeAsync(1000);
    expect(attempt).toHaveBeenCalledTimes(1);
    expect(way.getSnapshot().nextAt - Date.now()).toBe(2000);
    await vi.advanceTimersByTimeAsync(60_000);
    const tries = attempt.mock.calls.length;
    expect(tries).toBeGreaterThan(7);
    expect(tries).toBeLessThan(14);
    there = true;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(done).toEqual([undefined]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(attempt).toHaveBeenCalledTimes(tries + 1);
  });

  it('is given up after minutes, not after seconds', async () => {
    const { done } = returning(() => gone);
    await vi.advanceTimersByTimeAsync(4 * 60_000);
    expect(done).toEqual([]);
    await vi.advanceTimersByTimeAsync(2 * 60_000);
    expect(done).toEqual([gone]);
  });

  it('ends where no further attempt can help', async () => {
    const { attempt, done } = returning(() => ended);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(attempt).toHaveBeenCalledTimes(1);
    expect(done).toEqual([ended]);
  });

  it('is not gone by itself once the machine has slept for longer than anybody waits', async () => {
    const { attempt, done } = returning(() => gone);
    await vi.advanceTimersByTimeAsync(20_000);
    const tries = attempt.mock.calls.length;
    // Timers stand still in a machine that sleeps; its clock goes on.
    vi.setSystemTime(Date.now() + 3_600_000);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(attempt).toHaveBeenCalledTimes(tries);
    expect(done).toEqual([gone]);
  });

  it('says that the connection was lost where the machine slept before the first attempt', async () => {
    const { attempt, done } = returning(() => gone);
    vi.setSystemTime(Date.now() + 3_600_000);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(attempt).not.toHaveBeenCalled();
    expect(done).toMatchObject([{ reason: 'lost', wasIn: true }]);
  });

  it('need not be waited for', async () => {
    const { way, attempt } = returning(() => gone);
    await vi.advanceTimersByTimeAsync(20_000);
    const before = attempt.mock.calls.length;
    way.tryNow();
    way.tryNow();
    expect(way.getSnapshot().trying).toBe(true);
    await vi.advanceTimersByTimeAsync(0);
    expect(attempt).toHaveBeenCalledTimes(before + 1);
    expect(way.getSnapshot().trying).toBe(false);
  });

  it('is over when one goes elsewhere', async () => {
    const { way, attempt, done } = returning(() => gone);
    way.close();
    way.tryNow();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(attempt).not.toHaveBeenCalled();
    expect(done).toEqual([]);
  });
});
