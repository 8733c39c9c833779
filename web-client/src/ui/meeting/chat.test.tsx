import { describe, expect, it } from 'vitest';
import { calling, click, doing, draw, press, resized, the } from '../../../test/dom';
import type { ChatMessage } from '../../call/types';
import { Meeting } from './meeting';

const message = (id: string, more: Partial<ChatMessage> = {}): ChatMessage => ({ id, identity: 'p-1', name: 'Jonas', isLocal: false, text: `text of ${id}`, at: Date.parse('2026-01-01T10:00:00Z'), failed: false, ...more });
const later = (minutes: number) => Date.parse('2026-01-01T10:00:00Z') + minutes * 60_000;

async function chatting(log: readonly ChatMessage[] = []) {
  const call = calling();
  call.chat.patch({ log });
  await draw(<Meeting call={call} room="salle" />);
  await press('c');
  const add = (...messages: ChatMessage[]) => doing(() => call.chat.patch({ log: [...call.chat.getSnapshot().log, ...messages] }));
  return { call, add };
}

/** The reader scrolls; there is no layout that would say where to. */
async function scrollTo(fromEnd: number) {
  const log = the('.chat-log');
  Object.defineProperties(log, { scrollHeight: { configurable: true, value: 1000 }, clientHeight: { configurable: true, value: 400 }, clientWidth: { configurable: true, value: 300 } });
  await resized();
  await doing(() => {
    log.scrollTop = 600 - fromEnd;
    log.dispatchEvent(new Event('scroll', { bubbles: true }));
  });
}

describe('the chat', () => {
  it('is a log that reads out what comes, from the first message on, and says what it does not have', async () => {
    const { add } = await chatting();
    const log = the('[role="log"]');
    expect(log.textContent).toMatch(/^No messages yet\. You see what is written from now on/);
    await add(message('a'));
    expect(the('[role="log"]')).toBe(log);
    expect(log.textContent).toContain('text of a');
  });

  it('has a name over each few minutes of one person, and the time of every message', async () => {
    await chatting([message('a'), message('b', { at: later(2) }), message('c', { at: later(4) }), message('d', { identity: 'p-2', at: later(4) })]);
    const all = [...document.querySelectorAll<HTMLElement>('[data-testid="chat-message"]')];
    expect(all.map(({ dataset }) => dataset.continued)).toEqual(['false', 'true', 'false', 'false']);
    expect(all.every((one) => one.querySelector('time'))).toBe(true);
  });

  it('sends with Enter, not in the middle of a word, and a failed message again', async () => {
    const { call } = await chatting([message('a', { isLocal: true, failed: true })]);
    await doing(() => call.setDraft('hello'));
    await press('Enter', { isComposing: true });
    await press('Enter', { shiftKey: true });
    expect(call.chat.getSnapshot().log).toHaveLength(1);
    await press('Enter');
    await click('.chat-failed button');
    expect(call.chat.getSnapshot().log.map(({ text }) => text)).toEqual(['text of a', 'hello', 'text of a']);
    expect(call.chat.getSnapshot().draft).toBe('');
  });

  it('says how many came while one read further up, and leads there', async () => {
    const { add } = await chatting([message('a'), message('b')]);
    await scrollTo(0);
    await add(message('c'));
    expect(document.querySelector('.chat-news')).toBeNull();
    await scrollTo(300);
    await add(message('d'), message('e', { isLocal: true }), message('f'));
    expect(the('.chat-news').textContent).toBe('2 new messages');
    await click('.chat-news');
    expect(document.querySelector('.chat-news')).toBeNull();
    expect(document.activeElement).toBe(the('.chat-log'));
  });

  it('is at the same message when it was closed meanwhile', async () => {
    const { add } = await chatting([message('a'), message('b')]);
    await scrollTo(300);
    await press('Escape');
    await add(message('c'));
    await press('c');
    expect(the('.chat-log').scrollTop).toBe(300);
    expect(the('.chat-news').textContent).toBe('1 new message');
  });
});
