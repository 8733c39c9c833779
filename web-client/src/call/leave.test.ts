import { ConnectionError, DisconnectReason } from 'livekit-client';
import { describe, expect, it } from 'vitest';
import { leftOfJoinError, type Place } from './leave';

const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0';
const CHROMIUM = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36';
const IOS = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/140.0 Mobile/15E148 Safari/605.1.15';

const noMedia = ConnectionError.internal('could not establish pc connection');
const reason = (error: unknown, hostname: string, userAgent: string) => leftOfJoinError(error, { hostname, userAgent } satisfies Place).reason;

describe('a join whose media do not come up', () => {
  it.each(['localhost', 'LOCALHOST', 'meet.localhost', '127.0.0.1', '127.1.2.3', '[::1]', '::1'])('names the cause in Firefox on %s', (hostname) => {
    expect(reason(noMedia, hostname, FIREFOX)).toBe('loopback');
  });

  it.each(['meet.example.org', 'localhost.example.org', '10.0.0.1', '[2001:db8::1]', '1270.0.0.1'])('is the network elsewhere: %s', (hostname) => {
    expect(reason(noMedia, hostname, FIREFOX)).toBe('no-media');
  });

  it('is the network in other engines', () => {
    expect(reason(noMedia, 'localhost', CHROMIUM)).toBe('no-media');
    expect(reason(noMedia, 'localhost', IOS)).toBe('no-media');
  });

  it('is told by the server the same way', () => {
    expect(reason(ConnectionError.leaveRequest('bye', DisconnectReason.MEDIA_FAILURE), '127.0.0.1', FIREFOX)).toBe('loopback');
  });
});

describe('another failure to join', () => {
  it('is not blamed on Firefox', () => {
    expect(reason(ConnectionError.notAllowed('no permission', 401), 'localhost', FIREFOX)).toBe('refused');
    expect(reason(ConnectionError.serverUnreachable('nobody there'), 'localhost', FIREFOX)).toBe('unreachable');
    expect(reason(new Error('?'), 'localhost', FIREFOX)).toBe('unknown');
  });
});
