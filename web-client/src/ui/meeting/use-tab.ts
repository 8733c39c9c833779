import { useEffect } from 'react';
import type { CallView } from '../../call/types';
import { useT } from '../prefs';
import { useStore } from '../use-store';

/** What the tab says while one looks at another one: what came, and that the microphone is on. What is written and not sent is not closed by mistake. */
export function useTab(call: CallView, room: string): void {
  const t = useT();
  const unread = useStore(call.chat, (chat) => chat.unread.length);
  const draft = useStore(call.chat, (chat) => chat.draft.trim() !== '');
  const live = useStore(call.sending, ({ microphone }) => microphone);
  const title = `${t('meeting.title', { code: room })} · Conclave`;

  useEffect(() => {
    document.title = unread > 0 ? `(${String(unread)}) ${title}` : title;
    return () => {
      document.title = title;
    };
  }, [unread, title]);

  useEffect(() => {
    if (!live) return;
    const icon = document.querySelector<HTMLLinkElement>('link[rel="icon"]');
    icon?.setAttribute('href', '/favicon-live.svg');
    return () => icon?.setAttribute('href', '/favicon.svg');
  }, [live]);

  useEffect(() => {
    if (!draft) return;
    const ask = (event: BeforeUnloadEvent): void => event.preventDefault();
    window.addEventListener('beforeunload', ask);
    return () => window.removeEventListener('beforeunload', ask);
  }, [draft]);
}
