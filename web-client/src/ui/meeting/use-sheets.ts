import { useCallback, useMemo, useState } from 'react';

/** A sheet beside the stage. */
export type SheetName = 'chat' | 'people';

/** What a sheet remembers while it is closed. */
export interface Kept {
  /** Pixels scrolled down; `undefined` where it was at its natural place. */
  readonly top: number | undefined;
  /** Of a list that grows: the newest entry when one left its end. */
  readonly left: string | undefined;
  keep(part: Partial<Pick<Kept, 'top' | 'left'>>): void;
}

function memory(): Kept {
  const kept: Kept = { top: undefined, left: undefined, keep: (part) => void Object.assign(kept, part) };
  return kept;
}

export interface Sheets {
  readonly open: SheetName | undefined;
  readonly kept: Readonly<Record<SheetName, Kept>>;
  readonly show: (name: SheetName) => void;
  readonly toggle: (name: SheetName) => void;
  readonly close: () => void;
}

/** Which sheet is open: one at most. Who closes it is back at the button that opens it, whatever did. */
export function useSheets(): Sheets {
  const [open, setOpen] = useState<SheetName>();
  const [kept] = useState<Record<SheetName, Kept>>(() => ({ chat: memory(), people: memory() }));
  const close = useCallback(() => {
    setOpen(undefined);
    if (open) opener(open)?.focus({ preventScroll: true });
  }, [open]);
  return useMemo(() => ({ open, kept, show: setOpen, toggle: (name: SheetName) => (open === name ? close() : setOpen(name)), close }), [open, kept, close]);
}

/** Where the bar has no room for the button, it is in the menu. */
function opener(name: SheetName): HTMLElement | null {
  return document.querySelector<HTMLElement>(`[data-testid="toggle-${name}"]`) ?? document.querySelector<HTMLElement>('[data-testid="more"]');
}
