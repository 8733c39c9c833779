import { useLayoutEffect, useRef } from 'react';
import type { Picture } from '../../call/types';
import type { Zoom } from '../../layout/zoom';

interface Props {
  picture: Picture;
  label: string;
  /** Shown whole, not cropped to the tile. */
  whole?: boolean;
  zoom?: Zoom;
}

/**
 * Shows a picture. The element is muted: sound has elements of its own. React does not make it: it would listen to whatever
 * a video has to tell, four times a second each, and for nobody.
 */
export function Video({ picture, label, whole = false, zoom }: Props) {
  const host = useRef<HTMLSpanElement>(null);
  const element = useRef<HTMLVideoElement>(null);
  const { media } = picture;

  useLayoutEffect(() => {
    const shown = document.createElement('video');
    shown.autoplay = true;
    shown.playsInline = true;
    shown.muted = true;
    host.current?.append(shown);
    element.current = shown;
    media.attach(shown);
    return () => {
      media.detach(shown);
      element.current = null;
      shown.remove();
    };
  }, [media]);

  useLayoutEffect(() => {
    const shown = element.current;
    if (!shown) return;
    shown.className = `video${whole ? ' video--whole' : ''}${picture.mirrored ? ' video--mirrored' : ''}`;
    shown.setAttribute('aria-label', label);
    const closer = zoom && zoom.scale > 1 ? zoom : undefined;
    shown.style.transform = closer ? `translate(${String(closer.x)}px, ${String(closer.y)}px) scale(${String(closer.scale)})` : '';
    shown.style.transformOrigin = closer ? '0 0' : '';
  });

  return <span ref={host} className="video-host" />;
}
