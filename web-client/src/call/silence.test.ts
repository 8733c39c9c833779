import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SilenceWatch } from './silence';

const meter = vi.hoisted(() => ({ dead: false, open: 0 }));
vi.mock('./meter', () => ({
  meterOf: () => {
    meter.open++;
    return { dead: () => meter.dead, close: () => meter.open-- };
  },
}));

const track = {} as MediaStreamTrack;

describe('a microphone that is on', () => {
  let silent: boolean[];
  let watch: SilenceWatch;

  beforeEach(() => {
    vi.useFakeTimers();
    silent = [];
    Object.assign(meter, { dead: true, open: 0 });
    watch = new SilenceWatch((so) => {
      if (so !== (silent.at(-1) ?? false)) silent.push(so);
    });
  });
  afterEach(() => vi.useRealTimers());

  it('is pointed out when it delivers nothing for some four seconds', () => {
    watch.watch(track);
    vi.advanceTimersByTime(4000);
    expect(silent).toEqual([]);
    vi.advanceTimersByTime(400);
    expect(silent).toEqual([true]);
  });

  it('is not for a pause, and no longer with the first sound', () => {
    watch.watch(track);
    vi.advanceTimersByTime(3000);
    meter.dead = false;
    vi.advanceTimersByTime(600);
    meter.dead = true;
    vi.advanceTimersByTime(3700);
    expect(silent).toEqual([]);
    vi.advanceTimersByTime(1200);
    meter.dead = false;
    vi.advanceTimersByTime(600);
    expect(silent).toEqual([true, false]);
  });

  it('is measured once, however often it is named, and not once it is off', () => {
    watch.watch(track);
    watch.watch(track);
    expect(meter.open).toBe(1);
    vi.advanceTimersByTime(5000);
    watch.watch(undefined);
    expect(silent).toEqual([true, false]);
    expect(meter.open).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });
});
