import { useEffect, useState, type RefObject } from 'react';
import type { CallView } from '../../call/types';
import { StageModel } from '../../layout/stage-model';

/** The stage model of a call, fed by its people and by the size of an element. Nothing is drawn anew by it: whoever shows a part follows that. */
export function useStage({ people }: CallView, element: RefObject<HTMLElement | null>): StageModel {
  const [model] = useState(() => new StageModel());

  useEffect(() => {
    const tell = (): void => model.setPeople(people.getSnapshot(), performance.now());
    tell();
    return people.subscribe(tell);
  }, [model, people]);

  useEffect(() => {
    const box = element.current;
    if (!box) return;
    const measure = (): void => model.setViewport({ width: box.clientWidth, height: box.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(box);
    return () => observer.disconnect();
  }, [model, element]);

  return model;
}
