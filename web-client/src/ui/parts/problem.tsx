import { TriangleAlert } from 'lucide-react';
import type { DeviceCause, DeviceProblem } from '../../call/types';
import { useT } from '../prefs';

/** What does not work: one device, or camera and microphone for the same cause. */
export interface Trouble {
  readonly device: DeviceProblem['device'] | 'both';
  readonly cause: DeviceCause;
}

/** Why a device does not work, and what to do next. */
export function Problem({ problem, onRetry, onDismiss }: { problem: Trouble; onRetry?: () => void; onDismiss?: () => void }) {
  const t = useT();
  return (
    <div className="problem" role="alert">
      <TriangleAlert size={18} aria-hidden />
      <div>
        <p className="problem-title">{t(`problem.${problem.device}.${problem.cause}`)}</p>
        <p>{t(`help.${problem.cause}`)}</p>
        <div className="problem-actions">
          {onRetry && (
            <button type="button" className="button button--quiet button--small" onClick={onRetry}>
              {t('problem.retry')}
            </button>
          )}
          {onDismiss && (
            <button type="button" className="button button--text button--small" onClick={onDismiss}>
              {t('problem.dismiss')}
            </button>
          )}
        </div>
      </div>
    </div>
  );
}
