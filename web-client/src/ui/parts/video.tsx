import { memo, useLayoutEffect, useRef } from 'react';
import type { Picture } from '../../call/types';
import type { Zoom } from '../../layout/zoom';

interface Props {
  picture: Picture;
  label: string;
  /** Shown whole, not cropped to the tile. */
  whole?: boolean;
  zoom?: Zoom;
}

// React hears every event of the page, and every picture tells four times a second how far it is.
window.addEventListener('timeupdate', (event) => event.stopPropagation(), true);

/**
 * Shows a picture. The element is muted: sound has elements of its own. React does not make it: it would listen to all
 * that a video has to tell, and for nobody.
 */
export const Video = memo(function Video({ picture, label, whole = false, zoom }: Props) {
  const host = useRef<HTMLSpanElement>(null);
  const element = useRef<HTMLVideoElement>(null);
  const { media, mirrored } = picture;

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
    shown.className = `video${whole ? ' video--whole' : ''}${mirrored ? ' video--mirrored' : ''}`;
    shown.setAttribute('aria-label', label);
    const closer = zoom && zoom.scale > 1 ? zoom : undefined;
    shown.style.transform = closer ? `translate(${String(closer.x)}px, ${String(closer.y)}px) scale(${String(closer.scale)})` : '';
    shown.style.transformOrigin = closer ? '0 0' : '';
  }, [media, mirrored, whole, label, zoom]);

  return <span ref={host} className="video-host" />;
});
