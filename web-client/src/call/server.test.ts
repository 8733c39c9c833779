import { describe, expect, it, vi } from 'vitest';
import { fetchSettings, mayStart, warm } from './server';

const answering = (body: unknown, status = 200) => vi.fn<typeof fetch>(() => Promise.resolve(Response.json(body, { status })));

describe('the settings of the server', () => {
  it('are what it says', async () => {
    const body = { start: 'anyone', join: 'link', development: true };
    expect(await fetchSettings(answering(body))).toEqual(body);
  });

  it('offer nothing that this page does not know', async () => {
    expect(await fetchSettings(answering({ start: 'members', join: 'lobby' }))).toEqual({ start: 'nobody', join: 'token', development: false });
  });

  it.each([
    ['no server', vi.fn<typeof fetch>(() => Promise.reject(new TypeError()))],
    ['a proxy', answering({}, 502)],
    ['another server', vi.fn<typeof fetch>(() => Promise.resolve(new Response('<html>')))],
    ['nothing', answering(null)],
  ])('are missing where %s answers', async (_, fetcher) => expect(await fetchSettings(fetcher)).toBe('unreachable'));

  it('let nobody start what nobody could enter', () => {
    expect(mayStart({ start: 'anyone', join: 'token', development: false })).toBe(false);
    expect(mayStart({ start: 'nobody', join: 'link', development: false })).toBe(false);
    expect(mayStart({ start: 'anyone', join: 'link', development: false })).toBe(true);
  });
});

it('a connection is opened ahead of time, to this server alone, and not again while it is open', async () => {
  const fetcher = vi.fn<typeof fetch>(() => Promise.reject(new TypeError()));
  for (const now of [1000, 2000, 20_000, 21_500]) await warm(fetcher, now);
  expect(fetcher.mock.calls).toEqual([
    ['/', { method: 'HEAD', cache: 'no-store' }],
    ['/', { method: 'HEAD', cache: 'no-store' }],
  ]);
});
