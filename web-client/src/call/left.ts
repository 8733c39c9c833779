import type { Left, RefusalCause } from './types';

/** The end of a call that the server did not let begin. */
export function refused(cause: RefusalCause, detail?: string): Left {
  if (cause === 'removed' || cause === 'ended') return { reason: cause, detail: undefined, wasIn: false };
  return { reason: 'refused', cause, detail, wasIn: false };
}

/** Nothing answers; who has no network need not look for the fault elsewhere. */
export function unreachable({ onLine }: { readonly onLine: boolean }): Left {
  return { reason: onLine ? 'unreachable' : 'offline', detail: undefined, wasIn: false };
}

/** Whether trying again can help without anybody doing something first. */
export function mayRetry({ reason, cause }: Left): boolean {
  if (reason === 'removed' || reason === 'ended' || reason === 'no-rtc') return false;
  return reason !== 'refused' || cause === 'too-many' || cause === 'full' || cause === 'capacity' || cause === 'restarting' || cause === 'not-yet' || cause === 'other';
}

/** Whether the connection ended so that one comes back by oneself once the server is there again. */
export function comesBack({ reason, cause, wasIn }: Left): boolean {
  return wasIn ? reason === 'lost' || reason === 'shutdown' || reason === 'timeout' : reason === 'unreachable' || reason === 'offline' || reason === 'timeout' || reason === 'shutdown' || cause === 'restarting' || cause === 'too-many';
}
