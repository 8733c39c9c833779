import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Notices } from './notices';

const joined = (...names: string[]) => ({ kind: 'joined', names }) as const;

describe('what a meeting has to say', () => {
  let notices: Notices;
  const kinds = () => notices.getSnapshot().map(({ kind }) => kind);

  beforeEach(() => {
    vi.useFakeTimers();
    notices = new Notices();
  });
  afterEach(() => vi.useRealTimers());

  it('is said by urgency, not in the order it happened', () => {
    notices.tell(joined('Ana'));
    notices.tell({ kind: 'muted-by-other' });
    notices.hold({ kind: 'reconnecting' }, true);
    expect(kinds()).toEqual(['reconnecting', 'muted-by-other', 'joined']);
    expect(notices.getSnapshot().map(({ place }) => place)).toEqual(['top', 'top', 'corner']);
  });

  it('is said once: what is said again takes the place of what was said before, and stays as long', () => {
    notices.tell(joined('Ana'));
    const [first] = notices.getSnapshot();
    vi.advanceTimersByTime(4000);
    notices.tell(joined('Bo'));
    expect(notices.getSnapshot()).toMatchObject([{ names: ['Bo'] }]);
    expect(notices.getSnapshot()[0]?.id).not.toBe(first?.id);
    vi.advanceTimersByTime(4000);
    expect(kinds()).toEqual(['joined']);
    vi.advanceTimersByTime(1000);
    expect(kinds()).toEqual([]);
  });

  it('holds as long as it is so, and tells nobody again while it is', () => {
    const told = vi.fn();
    notices.subscribe(told);
    for (let n = 0; n < 3; n++) notices.hold({ kind: 'weak' }, true);
    vi.advanceTimersByTime(60_000);
    expect(kinds()).toEqual(['weak']);
    for (let n = 0; n < 3; n++) notices.hold({ kind: 'weak' }, false);
    expect(kinds()).toEqual([]);
    expect(told).toHaveBeenCalledTimes(2);
  });

  it('goes away when it was read, and an old one does not take a newer one with it', () => {
    notices.tell({ kind: 'problem', problem: { device: 'camera', cause: 'in-use' } });
    const [first] = notices.getSnapshot();
    notices.tell({ kind: 'problem', problem: { device: 'microphone', cause: 'missing' } });
    notices.dismiss(first?.id ?? 0);
    expect(notices.getSnapshot()).toMatchObject([{ problem: { device: 'microphone' } }]);
    notices.dismiss(notices.getSnapshot()[0]?.id ?? 0);
    expect(kinds()).toEqual([]);
  });

  it('is nothing after the end', () => {
    notices.tell(joined('Ana'));
    notices.close();
    notices.tell(joined('Bo'));
    expect(notices.getSnapshot()).toMatchObject([{ names: ['Ana'] }]);
    expect(vi.getTimerCount()).toBe(0);
  });
});
