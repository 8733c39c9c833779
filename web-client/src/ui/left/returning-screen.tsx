import { LoaderCircle, RotateCw } from 'lucide-react';
import { useEffect, useState } from 'react';
import type { ReturningSnapshot } from '../../call/returning';
import type { Watched } from '../../call/types';
import { Heading } from '../parts/heading';
import { PageHead } from '../parts/page-head';
import { usePlural, useT } from '../prefs';
import { useStore } from '../use-store';
import './left-screen.css';

/** What tries to come back. */
export interface Way extends Watched<ReturningSnapshot> {
  tryNow(): void;
}

/** Between two connections: what happened, that one comes back by oneself, and when. */
export function ReturningScreen({ way, room, onLeave }: { way: Way; room: string; onLeave: () => void }) {
  const t = useT();
  const plural = usePlural();
  const { restart, trying, nextAt } = useStore(way);
  const seconds = useSecondsUntil(nextAt);
  const why = restart ? 'restart' : 'lost';

  return (
    <div className="page" data-testid="meeting" data-connection-state="reconnecting" data-phase="returning">
      <PageHead />
      <main className="left">
        <span className="left-icon" data-calm="true">
          <RotateCw size={30} strokeWidth={1.75} aria-hidden />
        </span>
        <Heading data-testid="reconnecting" data-reason={why}>
          {t(`returning.${why}.title`)}
        </Heading>
        <p className="left-text">{t(`returning.${why}.text`)}</p>
        {/* Not read out: it changes every second. */}
        <p className="left-countdown" aria-live="off" data-testid="next-attempt">
          {trying || seconds === 0 ? (
            <>
              <LoaderCircle className="spin" size={18} aria-hidden />
              {t('returning.trying')}
            </>
          ) : (
            t(`returning.next.${plural(seconds)}`, { seconds })
          )}
        </p>
        <div className="left-actions">
          <button type="button" className="button" data-testid="try-now" aria-disabled={trying} onClick={() => way.tryNow()}>
            {t('returning.now')}
          </button>
          <button type="button" className="button button--quiet" data-testid="leave" onClick={onLeave}>
            {t('control.leaveMeeting')}
          </button>
        </div>
        <p className="left-code">{t('pre.meeting', { code: room })}</p>
      </main>
    </div>
  );
}

function useSecondsUntil(at: number): number {
  const [now, setNow] = useState(() => Date.now());

  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 250);
    return () => clearInterval(timer);
  }, []);

  return Math.max(0, Math.ceil((at - now) / 1000));
}
