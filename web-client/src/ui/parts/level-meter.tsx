import { useEffect, useRef } from 'react';
import { meterOf } from '../../call/meter';
import { useT } from '../prefs';

/** Falls slower than it rises, so that the eye can follow speech. */
const FALL = 0.86;

/** How loud a microphone is right now. Drawn past React: it moves sixty times a second. */
export function LevelMeter({ track }: { track: MediaStreamTrack | undefined }) {
  const t = useT();
  const bar = useRef<HTMLSpanElement>(null);

  useEffect(() => {
    const element = bar.current;
    if (!track || !element) return;
    const meter = meterOf(track);
    let shown = 0;
    let frame = 0;
    const draw = (): void => {
      shown = Math.max(meter.level(), shown * FALL);
      element.style.setProperty('--level', shown.toFixed(3));
      frame = requestAnimationFrame(draw);
    };
    draw();
    return () => {
      cancelAnimationFrame(frame);
      meter.close();
      element.style.setProperty('--level', '0');
    };
  }, [track]);

  return (
    <div className="meter" role="img" aria-label={t('device.level')}>
      <span ref={bar} />
    </div>
  );
}
