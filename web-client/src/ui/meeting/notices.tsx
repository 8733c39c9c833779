import { LoaderCircle, MicOff, VolumeX, X } from 'lucide-react';
import { memo, type ReactNode } from 'react';
import type { CallView, Notice } from '../../call/types';
import type { Translate } from '../../i18n';
import { Bars } from '../parts/bars';
import { Problem } from '../parts/problem';
import { useT } from '../prefs';
import { useStore } from '../use-store';

interface Props {
  call: CallView;
  onOpenChat: () => void;
}

/** What the meeting has to say: what concerns oneself at the head of the stage, news beside the clock. Both stay in the page, empty or not, so that what comes is read out. */
export function Notices({ call, onOpenChat }: Props) {
  const t = useT();
  const notices = useStore(call.notices);
  return (
    <div className="messages">
      {(['top', 'corner'] as const).map((place) => (
        <div key={place} className={`notices notices--${place}`} role="status" aria-label={t(place === 'top' ? 'notices.own' : 'notices.news')}>
          {notices.map((notice) => notice.place === place && <One key={notice.id} notice={notice} call={call} onOpenChat={onOpenChat} />)}
        </div>
      ))}
    </div>
  );
}

const One = memo(function One({ notice, call, onOpenChat }: Props & { notice: Notice }) {
  const t = useT();
  const dismiss = (): void => call.dismiss(notice.id);
  switch (notice.kind) {
    case 'resuming':
    case 'reconnecting':
      return (
        <Banner warn icon={<LoaderCircle className="spin" size={18} aria-hidden />} testId="reconnecting">
          {t(`banner.${notice.kind}`)}
        </Banner>
      );
    case 'sound':
      return (
        <Banner icon={<VolumeX size={18} aria-hidden />}>
          <span>{t('banner.sound')}</span>
          <button type="button" className="button button--small" data-testid="enable-sound" onClick={() => void call.playSound()}>
            {t('banner.enableSound')}
          </button>
        </Banner>
      );
    case 'silent':
      return (
        <Banner warn icon={<MicOff size={18} aria-hidden />}>
          {t('banner.silent')}
        </Banner>
      );
    case 'weak':
      return <Banner icon={<Bars lit={1} />}>{t('banner.weak')}</Banner>;
    case 'problem': {
      const { problem } = notice;
      const retry = (): void => {
        dismiss();
        if (problem.device === 'microphone') void call.setMicrophone(true);
        else if (problem.device === 'camera') void call.setCamera(true);
        else void call.setShare(true);
      };
      return (
        <div className="toast toast--problem">
          <Problem problem={problem} onDismiss={dismiss} onRetry={retry} />
        </div>
      );
    }
    case 'message':
      return (
        <button type="button" className="toast toast--chat" onClick={onOpenChat} aria-label={t('chat.new', { name: notice.message.name, text: notice.message.text })}>
          <strong>{notice.message.name}</strong>
          <span>{notice.message.text}</span>
        </button>
      );
    case 'joined':
    case 'left':
      return (
        <div className="toast">
          <p>{comings(notice.kind, notice.names, t)}</p>
        </div>
      );
    default:
      return (
        <div className="toast">
          <p>{t(`notice.${notice.kind}`)}</p>
          <button type="button" className="icon-button" aria-label={t('problem.dismiss')} onClick={dismiss}>
            <X size={16} aria-hidden />
          </button>
        </div>
      );
  }
});

function Banner({ icon, warn = false, testId, children }: { icon: ReactNode; warn?: boolean; testId?: string; children: ReactNode }) {
  return (
    <div className={warn ? 'banner banner--warn' : 'banner'} data-testid={testId}>
      {icon}
      {children}
    </div>
  );
}

function comings(kind: 'joined' | 'left', [name = '', ...others]: readonly string[], t: Translate): string {
  const [other = ''] = others;
  if (others.length === 0) return t(`notice.${kind}.one`, { name });
  if (others.length === 1) return t(`notice.${kind}.two`, { name, other });
  return t(`notice.${kind}.many`, { name, count: others.length });
}
