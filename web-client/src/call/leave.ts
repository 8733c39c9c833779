import { ConnectionError, ConnectionErrorReason, DisconnectReason } from 'livekit-client';
import { refused, unreachable } from './left';
import { causeOfSentence, type Entry } from './token';
import type { Left, LeaveReason } from './types';

/** What the engine's word for the end of a call means to the participant. */
export function reasonOfDisconnect(reason: DisconnectReason | undefined): LeaveReason {
  switch (reason) {
    case DisconnectReason.CLIENT_INITIATED:
      return 'left';
    case DisconnectReason.DUPLICATE_IDENTITY:
      return 'duplicate';
    case DisconnectReason.SERVER_SHUTDOWN:
      return 'shutdown';
    case DisconnectReason.PARTICIPANT_REMOVED:
      return 'removed';
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
      return 'ended';
    case DisconnectReason.MEDIA_FAILURE:
      return 'no-media';
    case DisconnectReason.CONNECTION_TIMEOUT:
      return 'timeout';
    default:
      // STATE_MISMATCH, SIGNAL_CLOSE, MIGRATION and no reason at all: every attempt to come back failed.
      return 'lost';
  }
}

/** Where an attempt to join was made: the page's host name, the browser's word for itself, and whether it has a network. */
export interface Place {
  readonly hostname: string;
  readonly userAgent: string;
  readonly onLine: boolean;
}

/** The end of an attempt to join that no token came of. */
export function leftOfEntry(entry: Exclude<Entry, { state: 'token' }>, place: Place): Left {
  switch (entry.state) {
    case 'unreachable':
      return unreachable(place);
    case 'refused':
      // Where the page knows the reason, the server's sentence says nothing more.
      return refused(entry.cause, entry.cause === 'other' ? entry.detail : undefined);
    case 'waiting':
    case 'sign-in':
      // No server asks for either yet, and this page has no screen for them: whoever meets a newer one is told the truth.
      return refused('other');
  }
}

/** Why the meeting could not be entered; `sentAway` is the server's word where it said one. */
export function leftOfJoinError(error: unknown, place: Place, sentAway?: DisconnectReason): Left {
  const left = leftAnywhere(error, sentAway);
  if (left.reason === 'unreachable') return unreachable(place);
  return left.reason === 'no-media' && isFirefox(place) && isLoopback(place) ? { ...left, reason: 'loopback' } : left;
}

function leftAnywhere(error: unknown, sentAway: DisconnectReason | undefined): Left {
  const left = (reason: LeaveReason, detail?: string): Left => ({ reason, detail, wasIn: false });
  if (!(error instanceof ConnectionError)) return left('unknown', error instanceof Error ? error.message : undefined);
  switch (error.reason) {
    case ConnectionErrorReason.NotAllowed:
      return refused(causeOfSentence(error.message), error.message);
    case ConnectionErrorReason.LeaveRequest:
      return leftAtOnce(sentAway ?? (error.context as DisconnectReason | undefined));
    case ConnectionErrorReason.Cancelled:
      return left('left');
    case ConnectionErrorReason.Timeout:
      return left('timeout');
    case ConnectionErrorReason.InternalError:
      // The engine says so when signalling worked and the media connection did not come up.
      return /pc connection|ice|peer ?connection/i.test(error.message) ? left('no-media') : left('unknown', error.message);
    default:
      return left('unreachable');
  }
}

/** The server's first word was that one is to leave: nothing was lost, one has not been in. */
function leftAtOnce(reason: DisconnectReason | undefined): Left {
  // The protocol has no other word for it.
  if (reason === DisconnectReason.JOIN_FAILURE) return refused('full');
  const told = reasonOfDisconnect(reason);
  return told === 'lost' ? refused('other') : { reason: told, detail: undefined, wasIn: false };
}

/** Firefox on iOS calls itself otherwise, and is another engine. */
function isFirefox({ userAgent }: Place): boolean {
  return /\bFirefox\/\d/.test(userAgent);
}

/** Firefox neither gathers loopback candidates nor sends to them: a server on loopback alone has no media for it. */
function isLoopback({ hostname }: Place): boolean {
  return /^(?:(?:.+\.)?localhost|127(?:\.\d+){3}|\[?::1\]?)$/i.test(hostname);
}
