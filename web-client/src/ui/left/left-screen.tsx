import { CircleSlash, CloudOff, DoorClosed, DoorOpen, MonitorSmartphone, RotateCw, ServerOff, ShieldAlert, TriangleAlert, WifiOff, type LucideIcon } from 'lucide-react';
import { mayRetry } from '../../call/left';
import type { Left, LeaveReason } from '../../call/types';
import { Heading } from '../parts/heading';
import { PageHead } from '../parts/page-head';
import { useT } from '../prefs';
import { go } from '../route';
import { textOf, titleOf } from './words';
import './left-screen.css';

const ICONS: Readonly<Record<LeaveReason, LucideIcon>> = {
  left: DoorOpen,
  removed: CircleSlash,
  duplicate: MonitorSmartphone,
  ended: DoorClosed,
  closed: DoorClosed,
  shutdown: RotateCw,
  lost: CloudOff,
  offline: WifiOff,
  unreachable: ServerOff,
  'no-media': ShieldAlert,
  loopback: ShieldAlert,
  refused: DoorClosed,
  timeout: ServerOff,
  'no-rtc': TriangleAlert,
  unknown: TriangleAlert,
};

/** After the meeting, or where there is no way in: why, and what one can do. */
export function LeftScreen({ left, room, onRejoin }: { left: Left; room: string; onRejoin: () => void }) {
  const t = useT();
  const Icon = ICONS[left.reason];
  const retry = mayRetry(left);
  const home = (
    <button type="button" className={retry ? 'button button--quiet' : 'button'} data-testid="go-home" onClick={() => go('/')}>
      {t('left.home')}
    </button>
  );

  return (
    <div className="page">
      <PageHead />
      <main className="left">
        <span className="left-icon" data-calm={left.reason === 'left' || left.reason === 'ended' || left.reason === 'closed'}>
          <Icon size={30} strokeWidth={1.75} aria-hidden />
        </span>
        {/* The screen changed under the person's hands: a screen reader must hear of it. */}
        <Heading data-testid="left-reason" data-reason={left.reason} data-cause={left.cause}>
          {titleOf(left, t)}
        </Heading>
        <p className="left-text">{textOf(left, t)}</p>
        <div className="left-actions">
          {retry && (
            <button type="button" className="button" data-testid="rejoin" onClick={onRejoin}>
              {t(left.wasIn ? 'left.rejoin' : 'left.retry')}
            </button>
          )}
          {home}
        </div>
        {left.detail !== undefined && (
          <details className="left-detail">
            <summary>{t('left.details')}</summary>
            <p lang="en">{left.detail}</p>
          </details>
        )}
        <p className="left-code">{t('pre.meeting', { code: room })}</p>
      </main>
    </div>
  );
}
