import { useState } from 'react';
import type { ChatMessage } from '../../call/types';

/** The messages of others that came since the chat was last open. */
export function useUnread(chat: readonly ChatMessage[], open: boolean): readonly ChatMessage[] {
  const newest = chat.at(-1)?.id;
  const [seen, setSeen] = useState(newest);
  // Noted while rendering, as React advises for state that follows other state.
  if (open && seen !== newest) setSeen(newest);
  if (open) return [];
  const from = chat.findIndex((message) => message.id === seen);
  return chat.slice(from + 1).filter((message) => !message.isLocal);
}
