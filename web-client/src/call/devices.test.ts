import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { causeOf } from './devices';

const failing = (name: string, message = '') => new DOMException(message, name);

describe('the cause of a device failure', () => {
  beforeEach(() => vi.stubGlobal('navigator', { mediaDevices: {} }));
  afterEach(() => vi.unstubAllGlobals());

  it.each([
    ['NotAllowedError', 'Permission denied', 'browser-denied'],
    ['NotAllowedError', 'Permission denied by system', 'system-denied'],
    ['NotAllowedError', 'The request is not allowed by the user agent or the platform in the current context.', 'system-denied'],
    ['NotReadableError', 'Could not start video source', 'in-use'],
    ['AbortError', 'Starting videoinput failed', 'in-use'],
    ['NotFoundError', 'Requested device not found', 'missing'],
    ['OverconstrainedError', '', 'missing'],
    ['TypeError', '', 'unknown'],
  ])('%s (%s) is %s', (name, message, cause) => expect(causeOf(failing(name, message))).toBe(cause));

  it('is the missing TLS where the browser hides all devices', () => {
    vi.stubGlobal('navigator', {});
    expect(causeOf(new TypeError())).toBe('insecure');
  });
});
