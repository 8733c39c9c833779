import { useEffect, useRef, type RefObject } from 'react';
import type { Picture } from '../../call/types';
import type { Zoom } from '../../layout/zoom';

interface Props {
  picture: Picture;
  label: string;
  /** Shown whole, not cropped to the tile. */
  whole?: boolean;
  zoom?: Zoom;
  video?: RefObject<HTMLVideoElement | null>;
}

/** Shows a picture. The element is muted: sound has elements of its own. */
export function Video({ picture, label, whole = false, zoom, video }: Props) {
  const own = useRef<HTMLVideoElement>(null);
  const element = video ?? own;
  const { media } = picture;

  useEffect(() => {
    const shown = element.current;
    if (!shown) return;
    media.attach(shown);
    return () => {
      media.detach(shown);
    };
  }, [media, element]);

  const shape = `video${whole ? ' video--whole' : ''}${picture.mirrored ? ' video--mirrored' : ''}`;
  const closer = zoom && zoom.scale > 1 ? { transform: `translate(${String(zoom.x)}px, ${String(zoom.y)}px) scale(${String(zoom.scale)})`, transformOrigin: '0 0' } : undefined;
  return <video ref={element} className={shape} style={closer} aria-label={label} autoPlay playsInline muted disablePictureInPicture={false} />;
}
