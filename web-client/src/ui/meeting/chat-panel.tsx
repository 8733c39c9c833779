import { ArrowDown, MessagesSquare, SendHorizontal } from 'lucide-react';
import { memo, useCallback, useEffect, useEffectEvent, useMemo, useRef, useState, type KeyboardEvent, type SyntheticEvent } from 'react';
import { splitLinks } from '../../call/links';
import type { CallView, ChatMessage } from '../../call/types';
import { usePlural, usePrefs, useT } from '../prefs';
import { useStore } from '../use-store';
import { Sheet } from './sheet';
import type { Kept } from './use-sheets';

/** Messages of one person within this many milliseconds of the first stand under one name. */
const GROUP = 3 * 60_000;
/** Pixels from the end within which new messages scroll into view. */
const NEAR_END = 80;
/** Characters, as the call accepts them. */
const MAX_LENGTH = 4000;

/** Written messages. Text only: nothing in them is loaded or run. */
export function ChatPanel({ call, kept, onClose }: { call: CallView; kept: Kept; onClose: () => void }) {
  const t = useT();
  const chat = useStore(call.chat, ({ log }) => log);
  const again = useCallback((text: string) => void call.sendChat(text), [call]);
  const may = useStore(call.people, ({ list }) => list[0]?.can.chat !== false);
  return (
    <Sheet title={t('chat.title')} kept={kept} onClose={onClose}>
      <Log chat={chat} kept={kept} onAgain={again} />
      {may ? <Composer call={call} /> : <p className="chat-may-not">{t('chat.mayNot')}</p>}
    </Sheet>
  );
}

function Log({ chat, kept, onAgain }: { chat: readonly ChatMessage[]; kept: Kept; onAgain: (text: string) => void }) {
  const t = useT();
  const plural = usePlural();
  const list = useRef<HTMLDivElement>(null);
  const size = useRef('');
  /** The newest message when one left the end to read further up; `undefined` at the end. */
  const [left, setLeft] = useState(kept.left);
  const away = left !== undefined;
  const news = away ? chat.slice(chat.findIndex(({ id }) => id === left) + 1).filter(({ isLocal }) => !isLocal).length : 0;
  const starts = useMemo(() => groups(chat), [chat]);

  const toEnd = (): void => {
    if (list.current) list.current.scrollTop = list.current.scrollHeight;
  };

  useEffect(() => {
    kept.keep({ left });
  }, [kept, left]);

  useEffect(() => {
    if (!away || chat.at(-1)?.isLocal) toEnd();
  }, [chat, away]);

  const resized = useEffectEvent(() => {
    if (list.current) size.current = sizeOf(list.current);
    if (!away) toEnd();
  });

  useEffect(() => {
    const element = list.current;
    if (!element) return;
    // A telephone that is turned, or whose keyboard comes up, does not hide the newest message.
    const watch = new ResizeObserver(() => resized());
    watch.observe(element);
    return () => watch.disconnect();
  }, []);

  return (
    <div className="chat-read">
      <div
        ref={list}
        className="chat-log"
        // Its first message is news as well: it is there before there is one.
        role="log"
        aria-label={t('chat.title')}
        // Reachable by keyboard, or it could not be scrolled without a mouse.
        tabIndex={0}
        data-scrolls={away ? 'away' : 'end'}
        onScroll={(event) => {
          // What a new size did is no wish of the reader's.
          if (sizeOf(event.currentTarget) !== size.current) return;
          const { scrollHeight, scrollTop, clientHeight } = event.currentTarget;
          const end = scrollHeight - scrollTop - clientHeight < NEAR_END;
          if (end || !away) setLeft(end ? undefined : chat.at(-1)?.id);
        }}
      >
        {chat.length === 0 ? (
          <div className="chat-empty">
            <MessagesSquare size={28} strokeWidth={1.6} aria-hidden />
            <p>{t('chat.empty')}</p>
          </div>
        ) : (
          <ol>
            {chat.map((message, index) => (
              <Message key={message.id} message={message} continued={!starts[index]} onAgain={onAgain} />
            ))}
          </ol>
        )}
      </div>
      {news > 0 && (
        <button
          type="button"
          className="button button--small chat-news"
          onClick={() => {
            setLeft(undefined);
            toEnd();
            list.current?.focus({ preventScroll: true });
          }}
        >
          {t(`chat.news.${plural(news)}`, { count: news })}
          <ArrowDown size={16} aria-hidden />
        </button>
      )}
    </div>
  );
}

const Message = memo(function Message({ message, continued, onAgain }: { message: ChatMessage; continued: boolean; onAgain: (text: string) => void }) {
  const t = useT();
  const { language } = usePrefs();
  const at = new Date(message.at);
  return (
    <li className="chat-message" data-testid="chat-message" data-identity={message.identity} data-own={message.isLocal} data-continued={continued}>
      <div className="chat-who">
        <strong className={continued ? 'sr-only' : undefined}>{message.isLocal ? t('chat.you') : message.name}</strong>
        <time dateTime={at.toISOString()}>{at.toLocaleTimeString(language, { hour: '2-digit', minute: '2-digit', hour12: false })}</time>
      </div>
      <p className="chat-text" dir="auto">
        {splitLinks(message.text).map(({ text, href }, index) =>
          href === undefined ? (
            text
          ) : (
            <a key={index} href={href} target="_blank" rel="noopener noreferrer nofollow" referrerPolicy="no-referrer">
              {text}
            </a>
          ),
        )}
      </p>
      {message.failed && (
        <p className="chat-failed" role="alert">
          {t('chat.failed')}{' '}
          <button type="button" onClick={() => onAgain(message.text)}>
            {t('chat.again')}
          </button>
        </p>
      )}
    </li>
  );
});

/** What is written belongs to the call: it outlives the panel. */
function Composer({ call }: { call: CallView }) {
  const t = useT();
  const text = useStore(call.chat, ({ draft }) => draft);
  const field = useRef<HTMLTextAreaElement>(null);

  useEffect(() => {
    const element = field.current;
    element?.focus({ preventScroll: true });
    // One goes on where one was.
    element?.setSelectionRange(element.value.length, element.value.length);
  }, []);

  const send = (event: SyntheticEvent): void => {
    event.preventDefault();
    if (text.trim() === '') return;
    void call.sendChat(text);
    call.setDraft('');
    field.current?.focus();
  };

  const onKeyDown = (event: KeyboardEvent): void => {
    // Enter also ends the composition of a Japanese or Chinese word; that one is not ours.
    if (event.key === 'Enter' && !event.shiftKey && !event.nativeEvent.isComposing) send(event);
  };

  return (
    <form className="composer" onSubmit={send}>
      <textarea
        ref={field}
        className="input"
        data-testid="chat-input"
        aria-label={t('chat.input')}
        placeholder={t('chat.input')}
        rows={1}
        maxLength={MAX_LENGTH}
        value={text}
        onChange={(event) => call.setDraft(event.target.value)}
        onKeyDown={onKeyDown}
      />
      <button type="submit" className="button" data-testid="chat-send" aria-label={t('chat.send')} title={t('chat.send')} disabled={text.trim() === ''}>
        <SendHorizontal size={20} aria-hidden />
      </button>
    </form>
  );
}

function sizeOf({ clientWidth, clientHeight }: Element): string {
  return `${String(clientWidth)}x${String(clientHeight)}`;
}

/** Whether each message begins a new group: of another person, or too long after the first one of the group. */
function groups(chat: readonly ChatMessage[]): readonly boolean[] {
  let first: ChatMessage | undefined;
  return chat.map((message) => {
    const starts = first?.identity !== message.identity || message.at - first.at >= GROUP;
    if (starts) first = message;
    return starts;
  });
}
