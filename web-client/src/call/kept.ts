/**
 * What says the same as before stays the same object, so that nobody who compares by identity has
 * anything to do.
 */

/** The list as it was, where every item still is the one before. */
export function keptList<T>(before: readonly T[], now: readonly T[]): readonly T[] {
  return now.length === before.length && now.every((item, index) => Object.is(item, before[index])) ? before : now;
}

/** The object as it was, where every field still has the value before. */
export function keptFields<T extends object>(before: T, now: T): T {
  return (Object.keys(now) as (keyof T)[]).every((field) => Object.is(now[field], before[field])) ? before : now;
}
