import { useLayoutEffect, useRef, type FocusEvent, type ReactNode } from 'react';
import { rove, stopsOf } from './rove';

interface Props {
  label: string;
  className: string;
  /** Its buttons are one below the other. */
  standing: boolean;
  children: ReactNode;
}

/** A row of buttons that Tab enters once, at the button that had the focus last; arrows, Home and End lead on within it (WAI-ARIA toolbar). */
export function Toolbar({ label, className, standing, children }: Props) {
  const root = useRef<HTMLDivElement>(null);
  const last = useRef<HTMLElement | undefined>(undefined);

  const settle = (): void => {
    if (!root.current) return;
    const stops = stopsOf(root.current);
    const stop = last.current && stops.includes(last.current) ? last.current : stops[0];
    for (const button of stops) button.tabIndex = button === stop ? 0 : -1;
  };

  // Buttons come and go with the room there is.
  useLayoutEffect(settle);

  const focused = ({ target }: FocusEvent): void => {
    if (!(target instanceof HTMLElement) || !root.current || !stopsOf(root.current).includes(target)) return;
    last.current = target;
    settle();
  };

  return (
    <div
      ref={root}
      className={className}
      role="toolbar"
      aria-label={label}
      aria-orientation={standing ? 'vertical' : 'horizontal'}
      onFocus={focused}
      onKeyDown={(event) => rove(event, standing ? 'vertical' : 'horizontal')}
    >
      {children}
    </div>
  );
}
