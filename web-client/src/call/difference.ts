/** What must be done to get from one set to another. */
export interface Difference<T> {
  /** Wanted and not there, in the order wanted. */
  readonly missing: readonly T[];
  /** There and no longer wanted. */
  readonly surplus: readonly T[];
}

/** Pure, and empty where both sets are the same: to act on it twice does nothing the second time. */
export function difference<T>(there: Iterable<T>, wanted: Iterable<T>): Difference<T> {
  const have = new Set(there);
  const want = new Set(wanted);
  return { missing: [...want].filter((item) => !have.has(item)), surplus: [...have].filter((item) => !want.has(item)) };
}
