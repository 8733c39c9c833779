import { keptForTab, type Shelf } from './storage';

const KEY = 'identity';

/** True when the name was free and is now held for as long as this page lives. */
export type Claim = (name: string) => Promise<boolean>;

/**
 * Who this tab is: the same after a reload, another one in a copy of the tab.
 *
 * Browsers copy the session storage when a tab is duplicated; without the claim the copy would throw
 * its original out of the meeting.
 */
export async function tabIdentity(shelf: Shelf = keptForTab, claim: Claim = claimByLock): Promise<string> {
  const known = shelf.read(KEY);
  if (known !== undefined && (await claim(known))) return known;
  const fresh = randomIdentity();
  shelf.write(KEY, fresh);
  await claim(fresh);
  return fresh;
}

function randomIdentity(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `p-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

const held = new Set<string>();

function claimByLock(name: string): Promise<boolean> {
  if (held.has(name)) return Promise.resolve(true);
  // The API is missing on plain http; types say otherwise.
  const locks = navigator.locks as LockManager | undefined;
  if (!locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    locks
      .request(`conclave.${name}`, { ifAvailable: true }, (lock) => {
        if (lock) held.add(name);
        resolve(lock !== null);
        // Never settled: the lock goes with the page.
        return lock ? new Promise<void>(() => undefined) : undefined;
      })
      .catch(() => resolve(true));
  });
}
