import { ConnectionError, DisconnectReason } from 'livekit-client';
import { describe, expect, it } from 'vitest';
import { leftOfEntry, leftOfJoinError, type Place } from './leave';
import { comesBack, mayRetry, refused } from './left';
import type { Left, LeaveReason, RefusalCause } from './types';

const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0';
const CHROMIUM = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36';
const IOS = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/140.0 Mobile/15E148 Safari/605.1.15';

const noMedia = ConnectionError.internal('could not establish pc connection');
const reason = (error: unknown, hostname: string, userAgent: string) => leftOfJoinError(error, { hostname, userAgent, onLine: true } satisfies Place).reason;

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

describe('a refusal', () => {
  const place: Place = { hostname: 'meet.example.org', userAgent: CHROMIUM, onLine: true };

  it('says its cause, and keeps the words of the server beside it', () => {
    const sentence = 'could not establish signal connection: invalid token: token has invalid claims: token is expired';
    expect(leftOfJoinError(ConnectionError.notAllowed(sentence, 401), place)).toMatchObject({ reason: 'refused', cause: 'expired', detail: sentence });
    expect(leftOfEntry({ state: 'refused', cause: 'token-required', detail: 'words' }, place)).toMatchObject({ reason: 'refused', cause: 'token-required', detail: undefined });
    expect(leftOfEntry({ state: 'refused', cause: 'other', detail: 'words' }, place)).toMatchObject({ reason: 'refused', cause: 'other', detail: 'words' });
    expect(leftOfEntry({ state: 'unreachable' }, place)).toMatchObject({ reason: 'unreachable' });
    expect(leftOfEntry({ state: 'unreachable' }, { ...place, onLine: false })).toMatchObject({ reason: 'offline' });
    for (const [word, told] of [
      [DisconnectReason.JOIN_FAILURE, { reason: 'refused', cause: 'full' }],
      [DisconnectReason.PARTICIPANT_REMOVED, { reason: 'removed' }],
      [DisconnectReason.SERVER_SHUTDOWN, { reason: 'shutdown' }],
      [DisconnectReason.UNKNOWN_REASON, { reason: 'refused', cause: 'other' }],
    ] as const) {
      expect(leftOfJoinError(ConnectionError.leaveRequest('', undefined as never), place, word)).toMatchObject({ ...told, wasIn: false });
    }
  });

  it.each(['removed', 'ended'] as const)('for good is told as what it is, and offers no way back: %s', (cause) => {
    const left = leftOfEntry({ state: 'refused', cause, detail: undefined }, place);
    expect(left.reason).toBe(cause);
    expect(mayRetry(left)).toBe(false);
  });

  it('of a room that a token opens again offers the way back', () => {
    expect(mayRetry({ reason: 'closed', detail: undefined, wasIn: true })).toBe(true);
    expect(comesBack({ reason: 'closed', detail: undefined, wasIn: true })).toBe(false);
  });

  it('offers to try again only where that can help', () => {
    const retry = (cause: RefusalCause) => mayRetry(refused(cause));
    for (const cause of ['too-many', 'full', 'capacity', 'restarting'] as const) expect(retry(cause), cause).toBe(true);
    for (const cause of ['unknown', 'token-required', 'expired', 'bad-invitation', 'start-not-allowed'] as const) expect(retry(cause), cause).toBe(false);
    expect(mayRetry({ reason: 'no-rtc', detail: undefined, wasIn: false })).toBe(false);
  });
});

describe('who comes back by oneself', () => {
  const left = (reason: LeaveReason, wasIn = true): Left => ({ reason, detail: undefined, wasIn });
  it('is whom a restart or the network threw out', () => {
    for (const reason of ['lost', 'shutdown', 'timeout'] as const) expect(comesBack(left(reason)), reason).toBe(true);
  });
  it('is nobody who left, was removed, or is somewhere else', () => {
    for (const reason of ['left', 'removed', 'duplicate', 'ended', 'no-media'] as const) expect(comesBack(left(reason)), reason).toBe(false);
  });
  it('goes on while the server is not there, and no longer once it refuses', () => {
    for (const reason of ['unreachable', 'offline'] as const) expect(comesBack(left(reason, false)), reason).toBe(true);
    expect(comesBack(refused('unknown'))).toBe(false);
    expect(comesBack(refused('ended'))).toBe(false);
  });
});
