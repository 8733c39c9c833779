import { useLayoutEffect, useRef, type RefObject } from 'react';
import type { Placed } from '../../layout/types';

/** Milliseconds, as `--calm`. */
const CALM = 220;

/**
 * Moves an element from where it was to where it is. It has its final size at once and is only drawn elsewhere meanwhile:
 * videos are not laid out anew sixty times a second.
 */
export function useMove(element: RefObject<HTMLElement | null>, at: Placed, calm: boolean): void {
  const before = useRef(at);

  useLayoutEffect(() => {
    const was = before.current;
    before.current = at;
    if (!calm || was === at || was.width === 0 || at.width === 0 || matchMedia('(prefers-reduced-motion: reduce)').matches) return;
    const drawn = (x: number, y: number, width: number, height: number): string => `translate(${String(x)}px, ${String(y)}px) scale(${String(width)}, ${String(height)})`;
    const moving = (element.current as Partial<HTMLElement> | null)?.animate?.(
      [{ transform: drawn(was.x, was.y, was.width / at.width, was.height / at.height) }, { transform: drawn(at.x, at.y, 1, 1) }],
      { duration: CALM, easing: 'cubic-bezier(0.2, 0.7, 0.2, 1)' },
    );
    return () => moving?.cancel();
  }, [element, at, calm]);
}
