import type { Item } from './types';

/**
 * The order of tiles, changed as little as possible.
 *
 * Everyone keeps their place; newcomers go to the end. Only a speaker who is not on the first page
 * trades places with the person of that page who has been silent longest: tiles move only when they
 * must.
 *
 * @param before the ids in the order shown last.
 * @param firstPage how many of them are visible without turning a page.
 * @param speakers identities, loudest first.
 * @param lastSpoke when each identity was last heard, any monotonic unit.
 */
export function keepOrder(items: readonly Item[], before: readonly string[], firstPage: number, speakers: readonly string[], lastSpoke: ReadonlyMap<string, number>): Item[] {
  const byId = new Map(items.map((item) => [item.id, item]));
  const known = before.flatMap((id) => byId.get(id) ?? []);
  const seen = new Set(known.map((item) => item.id));
  const order = [...known, ...items.filter((item) => !seen.has(item.id))];

  for (const identity of speakers) {
    const from = order.findIndex((item) => item.identity === identity && item.source === 'camera');
    if (from < firstPage) continue;
    const to = quietest(order.slice(0, firstPage), speakers, lastSpoke);
    if (to === undefined) break;
    swap(order, from, to);
  }
  return order;
}

/** The place of whoever may give it up: not oneself, not a share, not somebody speaking now. */
function quietest(page: readonly Item[], speakers: readonly string[], lastSpoke: ReadonlyMap<string, number>): number | undefined {
  let found: number | undefined;
  let since = Infinity;
  page.forEach((item, index) => {
    if (item.isLocal || item.source !== 'camera' || speakers.includes(item.identity)) return;
    const heard = lastSpoke.get(item.identity) ?? -1;
    // The last of equals: the head of the page is where eyes rest.
    if (heard <= since) {
      since = heard;
      found = index;
    }
  });
  return found;
}

function swap<T>(list: T[], a: number, b: number): void {
  const held = list[a];
  const other = list[b];
  if (held === undefined || other === undefined) return;
  list[a] = other;
  list[b] = held;
}
