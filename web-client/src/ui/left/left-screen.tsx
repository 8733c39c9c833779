import { CircleSlash, CloudOff, DoorClosed, DoorOpen, MonitorSmartphone, RotateCw, ServerOff, ShieldAlert, TriangleAlert, type LucideIcon } from 'lucide-react';
import { useEffect, useRef } from 'react';
import type { Left, LeaveReason } from '../../call/types';
import { PageHead } from '../parts/page-head';
import { useT } from '../prefs';
import { go } from '../route';
import './left-screen.css';

const ICONS: Readonly<Record<LeaveReason, LucideIcon>> = {
  left: DoorOpen,
  removed: CircleSlash,
  duplicate: MonitorSmartphone,
  ended: DoorClosed,
  shutdown: RotateCw,
  lost: CloudOff,
  unreachable: ServerOff,
  'no-media': ShieldAlert,
  loopback: ShieldAlert,
  refused: DoorClosed,
  timeout: ServerOff,
  'no-rtc': TriangleAlert,
  unknown: TriangleAlert,
};

/** After the meeting: why it ended here, and the way back. */
export function LeftScreen({ left, room, onRejoin }: { left: Left; room: string; onRejoin: () => void }) {
  const t = useT();
  const heading = useRef<HTMLHeadingElement>(null);
  const Icon = ICONS[left.reason];

  // The screen changed under the person's hands: a screen reader must hear of it.
  useEffect(() => heading.current?.focus(), []);

  return (
    <div className="page">
      <PageHead />
      <main className="left">
        <span className="left-icon" data-calm={left.reason === 'left' || left.reason === 'ended'}>
          <Icon size={30} strokeWidth={1.75} aria-hidden />
        </span>
        <h1 ref={heading} tabIndex={-1} data-testid="left-reason" data-reason={left.reason}>
          {t(`left.${left.reason}.title`)}
        </h1>
        <p className="left-text">{t(left.reason === 'refused' && left.detail !== undefined ? 'left.refused.told' : `left.${left.reason}.text`)}</p>
        {left.detail !== undefined && <p className="left-detail">{t('left.detail', { detail: left.detail })}</p>}
        <div className="left-actions">
          <button type="button" className="button" data-testid="rejoin" onClick={onRejoin}>
            {t(left.wasIn ? 'left.rejoin' : 'left.retry')}
          </button>
          <button type="button" className="button button--quiet" onClick={() => go('/')}>
            {t('left.home')}
          </button>
        </div>
        <p className="left-code">{t('pre.meeting', { code: room })}</p>
      </main>
    </div>
  );
}
