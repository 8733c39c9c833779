import { useEffect, useState, useSyncExternalStore, type RefObject } from 'react';
import type { CallSnapshot } from '../../call/types';
import { StageModel, type StageSnapshot } from '../../layout/stage-model';

/** The stage model fed by the call and by the size of an element. */
export function useStage(state: CallSnapshot, element: RefObject<HTMLElement | null>): [StageModel, StageSnapshot] {
  const [model] = useState(() => new StageModel());

  useEffect(() => model.setPeople(state.people, state.speakers, performance.now()), [model, state.people, state.speakers]);

  useEffect(() => {
    const box = element.current;
    if (!box) return;
    const measure = (): void => model.setViewport({ width: box.clientWidth, height: box.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(box);
    return () => observer.disconnect();
  }, [model, element]);

  return [model, useSyncExternalStore(model.subscribe, model.getSnapshot)];
}
