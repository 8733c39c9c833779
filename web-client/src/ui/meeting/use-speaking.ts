import { useLayoutEffect, type RefObject } from 'react';
import type { CallView } from '../../call/types';

/**
 * Marks an element, and its ring if it has one, while somebody speaks who is not muted. React does not hear of it: in a lively
 * meeting this changes more often than all the rest, and one attribute is no reason to draw anything anew.
 */
export function useSpeaking(element: RefObject<HTMLElement | null>, { people }: Pick<CallView, 'people'>, identity: string, muted: boolean): void {
  useLayoutEffect(() => {
    const mark = (): void => {
      const speaking = String(!muted && people.getSnapshot().speakers.includes(identity));
      const marked = element.current;
      if (!marked || marked.dataset.speaking === speaking) return;
      marked.setAttribute('data-speaking', speaking);
      // It says in words what it shows.
      marked.querySelector('.tile-ring')?.setAttribute('aria-hidden', String(speaking === 'false'));
    };
    mark();
    return people.subscribe(mark);
  }, [element, people, identity, muted]);
}
