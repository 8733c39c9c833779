import { useEffect, useRef } from 'react';
import type { Picture } from '../../call/types';

/** Shows a picture. The element is muted: sound has elements of its own. */
export function Video({ picture, label, whole = false }: { picture: Picture; label: string; whole?: boolean }) {
  const element = useRef<HTMLVideoElement>(null);
  const { media } = picture;

  useEffect(() => {
    const video = element.current;
    if (!video) return;
    media.attach(video);
    return () => {
      media.detach(video);
    };
  }, [media]);

  const shape = `video${whole ? ' video--whole' : ''}${picture.mirrored ? ' video--mirrored' : ''}`;
  return <video ref={element} className={shape} aria-label={label} autoPlay playsInline muted disablePictureInPicture={false} />;
}
