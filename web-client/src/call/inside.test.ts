import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Inside } from './inside';

const answer = (body: unknown, status = 200) => vi.fn<typeof fetch>(() => Promise.resolve(new Response(JSON.stringify(body), { status })));
const moment = () => vi.advanceTimersByTimeAsync(0);

describe('who is inside', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('is a number, and asked again while one stands there', async () => {
    const asked = answer({ people: 3 });
    const inside = new Inside('abcd-efgh-jkm', asked);
    expect(inside.getSnapshot()).toBeUndefined();
    await moment();
    expect(inside.getSnapshot()).toBe(3);
    expect(asked.mock.calls[0]?.[0]).toBe('/api/v1/rooms/abcd-efgh-jkm');
    asked.mockImplementation(() => Promise.resolve(new Response('{"people":4}')));
    await vi.advanceTimersByTimeAsync(20_000);
    expect(inside.getSnapshot()).toBe(4);
    inside.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked).toHaveBeenCalledTimes(2);
  });

  it('is not known where the server does not say so', async () => {
    for (const silent of [answer({ state: 'refused', reason: 'unknown' }, 404), answer([]), answer({ people: 'many' }), vi.fn<typeof fetch>(() => Promise.reject(new TypeError()))]) {
      const inside = new Inside('abcd-efgh-jkm', silent);
      await moment();
      expect(inside.getSnapshot()).toBeUndefined();
      inside.close();
    }
  });

  it('does not ask for a page that nobody looks at', async () => {
    vi.stubGlobal('document', { hidden: true });
    const asked = answer({ people: 3 });
    const inside = new Inside('abcd-efgh-jkm', asked);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked).not.toHaveBeenCalled();
    inside.close();
    vi.unstubAllGlobals();
  });
});
