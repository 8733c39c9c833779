import { useEffect, useState, type RefObject } from 'react';

/** Milliseconds without a new frame after which a camera's picture is a still one. */
const STILL_AFTER = 2000;
const LOOK_EVERY = 500;

/**
 * Whether a video that moved no longer does. What arrives is asked, not the server: it may be the server that stands still.
 * A page nobody sees draws nothing, and that says nothing.
 */
export function useStill(element: RefObject<HTMLVideoElement | null>, key: string | undefined): boolean {
  const [still, setStill] = useState<string>();

  useEffect(() => {
    const video = element.current;
    if (key === undefined || !video || !('requestVideoFrameCallback' in video)) return;
    let last: number | undefined;
    const drawn = (): void => {
      last = Date.now();
      setStill(undefined);
      frame = video.requestVideoFrameCallback(drawn);
    };
    let frame = video.requestVideoFrameCallback(drawn);
    const timer = setInterval(() => {
      if (document.hidden) last = undefined;
      else if (last !== undefined && Date.now() - last >= STILL_AFTER) setStill(key);
    }, LOOK_EVERY);
    return () => {
      clearInterval(timer);
      video.cancelVideoFrameCallback(frame);
    };
  }, [element, key]);

  return key !== undefined && still === key;
}
