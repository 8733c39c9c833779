import { X } from 'lucide-react';
import { useEffect, useState } from 'react';
import type { CallView, ChatMessage, Notice } from '../../call/types';
import type { Translate } from '../../i18n';
import { Problem } from '../parts/problem';
import { useT } from '../prefs';
import { useStore } from '../use-store';

/** Milliseconds a passing message stays; what concerns oneself stays longer. */
const STAY = 5000;
const STAY_LONG = 10_000;

/** Messages that come and go, and the device that did not work. */
export function Toasts({ call, onOpenChat }: { call: CallView; onOpenChat: () => void }) {
  const t = useT();
  const problem = useStore(call.devices, (devices) => devices.problem);
  const notices = useStore(call.notices);
  const latest = useStore(call.chat, (chat) => chat.unread.at(-1));
  return (
    <div className="toasts">
      <div aria-live="polite" className="toasts-live">
        {latest && <ChatPeek key={latest.id} message={latest} onOpen={onOpenChat} />}
        {notices.map((notice) => (
          <Toast key={notice.id} notice={notice} text={sentence(notice, t)} onGone={() => call.dismissNotice(notice.id)} />
        ))}
      </div>
      {problem && (
        <div className="toast toast--problem">
          <Problem
            problem={problem}
            onDismiss={() => call.dismissProblem()}
            onRetry={() => {
              call.dismissProblem();
              if (problem.device === 'microphone') void call.setMicrophone(true);
              else if (problem.device === 'camera') void call.setCamera(true);
              else void call.setShare(true);
            }}
          />
        </div>
      )}
    </div>
  );
}

function Toast({ notice, text, onGone }: { notice: Notice; text: string; onGone: () => void }) {
  const t = useT();
  const { id, kind } = notice;
  const passing = kind === 'joined' || kind === 'left';

  useEffect(() => {
    const timer = setTimeout(onGone, passing ? STAY : STAY_LONG);
    return () => clearTimeout(timer);
    // A new callback is no reason to begin anew: the id alone is.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [id, passing]);

  return (
    <div className="toast">
      <p>{text}</p>
      {!passing && (
        <button type="button" className="icon-button" aria-label={t('problem.dismiss')} onClick={onGone}>
          <X size={16} aria-hidden />
        </button>
      )}
    </div>
  );
}

function ChatPeek({ message, onOpen }: { message: ChatMessage; onOpen: () => void }) {
  const t = useT();
  const [shown, setShown] = useState(true);

  useEffect(() => {
    const timer = setTimeout(() => setShown(false), STAY);
    return () => clearTimeout(timer);
  }, []);

  if (!shown) return null;
  return (
    <button type="button" className="toast toast--chat" onClick={onOpen} aria-label={t('chat.new', { name: message.name, text: message.text })}>
      <strong>{message.name}</strong>
      <span>{message.text}</span>
    </button>
  );
}

function sentence({ kind, names }: Notice, t: Translate): string {
  if (kind !== 'joined' && kind !== 'left') return t(`notice.${kind}`);
  const [name = '', other = ''] = names;
  if (names.length === 1) return t(`notice.${kind}.one`, { name });
  if (names.length === 2) return t(`notice.${kind}.two`, { name, other });
  return t(`notice.${kind}.many`, { name, count: names.length - 1 });
}
