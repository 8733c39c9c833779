import { useEffect, useState, type RefObject } from 'react';

/** Milliseconds without a new frame after which a camera's picture is a still one. */
const STILL_AFTER = 2000;
const LOOK_EVERY = 1000;

/** All pictures are looked at together: the page wakes up once for them. */
const looks = new Set<() => void>();
let looking: ReturnType<typeof setInterval> | undefined;

function regularly(look: () => void): () => void {
  looks.add(look);
  looking ??= setInterval(() => {
    for (const one of looks) one();
  }, LOOK_EVERY);
  return () => {
    looks.delete(look);
    if (looks.size > 0) return;
    clearInterval(looking);
    looking = undefined;
  };
}

/**
 * Whether the video in an element moved and no longer does. What arrives is asked, not the server: it may be the server that stands still.
 * A page nobody sees draws nothing, and that says nothing.
 */
export function useStill(element: RefObject<HTMLElement | null>, key: string | undefined): boolean {
  const [still, setStill] = useState<string>();

  useEffect(() => {
    const video = element.current?.querySelector('video');
    if (key === undefined || !video) return;
    let frames = framesOf(video);
    let last: number | undefined;
    return regularly(() => {
      const now = framesOf(video);
      if (now !== frames) {
        frames = now;
        last = Date.now();
        setStill(undefined);
      } else if (document.hidden) last = undefined;
      else if (last !== undefined && Date.now() - last >= STILL_AFTER) setStill(key);
    });
  }, [element, key]);

  return key !== undefined && still === key;
}

/**
 * The number of frames so far. Not `requestVideoFrameCallback`: with it the browser would go through the whole page with
 * every frame of every picture.
 */
function framesOf(video: HTMLVideoElement & { readonly mozPaintedFrames?: number }): number | undefined {
  // Firefox counts the frames of a call elsewhere.
  return video.mozPaintedFrames ?? (video as Partial<HTMLVideoElement>).getVideoPlaybackQuality?.().totalVideoFrames;
}
