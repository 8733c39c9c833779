/** What the bar knows of one of its items. */
export interface BarItem {
  readonly id: string;
  /** Has a menu beside it, where there is room for one. */
  readonly split?: boolean;
  /** Has its name beside its icon, where there is room for it. */
  readonly wide?: boolean;
  /** The smallest goes first where there is no room; what has none stays. */
  readonly rank?: number | undefined;
}

/** Pixels, as in `control-bar.css`: from this window width on, a button, the gap, the menu beside it, one with its name. */
const STEPS = [
  { from: 560, button: 48, gap: 10, menu: 34, named: 140 },
  { from: 360, button: 44, gap: 3, menu: 0, named: 48 },
  { from: 0, button: 40, gap: 3, menu: 0, named: 40 },
] as const;

/** The bar's own edges. */
const EDGES = 16;

/** Which items the bar has room for, in their order; the rest is for the menu at its end. Pure. */
export function inBar<T extends BarItem>(items: readonly T[], width: number): readonly T[] {
  const step = STEPS.find(({ from }) => width >= from) ?? STEPS[2];
  const widthOf = (item: BarItem): number => (item.wide ? step.named : step.button + (item.split ? step.menu : 0));
  let shown = items;
  const needed = (): number => shown.reduce((sum, item) => sum + widthOf(item) + step.gap, -step.gap);
  while (needed() > width - EDGES) {
    const [first] = shown.filter(({ rank }) => rank !== undefined).sort((a, b) => (a.rank ?? 0) - (b.rank ?? 0));
    if (!first) break;
    shown = shown.filter((item) => item !== first);
  }
  return shown;
}
