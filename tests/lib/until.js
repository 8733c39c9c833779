/** Waits. Nothing is ever measured by it: what is waited for is asked again and again until it is so. */
export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/**
 * Asks until the answer is truthy, and returns it. The limit is generous: it only tells a hang from a slow machine.
 *
 * @template T
 * @param {string} what named in the error
 * @param {() => Promise<T> | T} ask
 * @param {{limit?: number, every?: number, explain?: () => unknown}} [options] milliseconds
 * @returns {Promise<NonNullable<T>>}
 */
export async function until(what, ask, { limit = 30_000, every = 100, explain } = {}) {
  const end = performance.now() + limit;
  let failure;
  do {
    try {
      const answer = await ask();
      if (answer) return answer;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
    await pause(every);
  } while (performance.now() < end);
  const detail = explain ? `\n${await explain()}` : '';
  throw new Error(`not within ${limit / 1000} s: ${what}${failure ? ` (${failure.message})` : ''}${detail}`);
}
