import { MessagesSquare, SendHorizontal } from 'lucide-react';
import { useEffect, useRef, type KeyboardEvent, type SyntheticEvent } from 'react';
import { splitLinks } from '../../call/links';
import type { CallView, ChatMessage } from '../../call/types';
import { usePrefs, useT } from '../prefs';
import { useStore } from '../use-store';
import { Sheet } from './sheet';
import type { Kept } from './use-sheets';

/** Messages of one person within this many milliseconds stand under one name. */
const GROUP = 3 * 60_000;
/** Pixels from the end within which new messages scroll into view. */
const NEAR_END = 80;
/** Characters, as the call accepts them. */
const MAX_LENGTH = 4000;

/** Written messages. Text only: nothing in them is loaded or run. */
export function ChatPanel({ call, kept, onClose }: { call: CallView; kept: Kept; onClose: () => void }) {
  const t = useT();
  const chat = useStore(call.chat, ({ log }) => log);
  const may = useStore(call.people, ({ list }) => list[0]?.can.chat !== false);
  return (
    <Sheet title={t('chat.title')} kept={kept} onClose={onClose}>
      {chat.length === 0 ? (
        <div className="chat-empty">
          <MessagesSquare size={28} strokeWidth={1.6} aria-hidden />
          <p>{t('chat.empty')}</p>
        </div>
      ) : (
        <Log chat={chat} onAgain={(text) => void call.sendChat(text)} />
      )}
      {may ? <Composer call={call} /> : <p className="chat-may-not">{t('chat.mayNot')}</p>}
    </Sheet>
  );
}

function Log({ chat, onAgain }: { chat: readonly ChatMessage[]; onAgain: (text: string) => void }) {
  const list = useRef<HTMLOListElement>(null);
  const follow = useRef(true);
  const size = useRef('');

  useEffect(() => {
    const element = list.current;
    if (element && (follow.current || chat.at(-1)?.isLocal)) element.scrollTop = element.scrollHeight;
  }, [chat]);

  useEffect(() => {
    const element = list.current;
    if (!element) return;
    // A telephone that is turned, or whose keyboard comes up, does not hide the newest message.
    const watch = new ResizeObserver(() => {
      size.current = sizeOf(element);
      if (follow.current) element.scrollTop = element.scrollHeight;
    });
    watch.observe(element);
    return () => watch.disconnect();
  }, []);

  return (
    <ol
      ref={list}
      className="chat-log"
      // Reachable by keyboard, or it could not be scrolled without a mouse.
      tabIndex={0}
      onScroll={(event) => {
        // What a new size did is no wish of the reader's.
        if (sizeOf(event.currentTarget) !== size.current) return;
        const { scrollHeight, scrollTop, clientHeight } = event.currentTarget;
        follow.current = scrollHeight - scrollTop - clientHeight < NEAR_END;
      }}
    >
      {chat.map((message, index) => (
        <Message key={message.id} message={message} continued={continues(chat[index - 1], message)} onAgain={onAgain} />
      ))}
    </ol>
  );
}

function Message({ message, continued, onAgain }: { message: ChatMessage; continued: boolean; onAgain: (text: string) => void }) {
  const t = useT();
  const { language } = usePrefs();
  const at = new Date(message.at);
  return (
    <li className="chat-message" data-testid="chat-message" data-identity={message.identity} data-own={message.isLocal} data-continued={continued}>
      <div className={continued ? 'sr-only' : 'chat-who'}>
        <strong>{message.isLocal ? t('chat.you') : message.name}</strong>
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
}

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

function continues(before: ChatMessage | undefined, message: ChatMessage): boolean {
  return before !== undefined && before.identity === message.identity && message.at - before.at < GROUP;
}
