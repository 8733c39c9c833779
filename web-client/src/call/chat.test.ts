import type { Room } from 'livekit-client';
import { describe, expect, it, vi } from 'vitest';
import { Chat, CHAT_TOPIC, MAX_MESSAGE } from './chat';
import type { ChatMessage } from './types';

/** A room in which others write, in as many pieces as they like. */
function room() {
  let hear: (reader: object, from: { identity: string }) => void = () => undefined;
  const sendText = vi.fn<(text: string, how: object) => Promise<void>>(() => Promise.resolve());
  const engine = {
    registerTextStreamHandler: (_topic: string, handler: typeof hear) => (hear = handler),
    unregisterTextStreamHandler: vi.fn(),
    localParticipant: { identity: 'me', name: 'Ada', sendText },
    remoteParticipants: new Map([['ben', { name: 'Ben' }]]),
  };
  let count = 0;
  const write = async (pieces: readonly string[], { identity = 'ben', id = `id-${String(count++)}`, breaks = false } = {}) => {
    async function* reading() {
      for (const piece of pieces) yield await Promise.resolve(piece);
      if (breaks) throw new Error('gone');
    }
    hear(Object.assign(reading(), { info: { id, timestamp: 7 } }), { identity });
    for (let turn = 0; turn < pieces.length * 4 + 8; turn++) await Promise.resolve();
  };
  return { engine: engine as unknown as Room, write, sendText, unregister: engine.unregisterTextStreamHandler };
}

describe('the chat of a call', () => {
  const unseen = vi.fn<(message: ChatMessage) => void>();
  const texts = (chat: Chat) => chat.getSnapshot().log.map(({ text }) => text);

  it('keeps what others write, in pieces or not, once, and what came of it where they vanish', async () => {
    const { engine, write } = room();
    const chat = new Chat(engine, unseen);
    await write(['good ', 'morning']);
    await write(['half'], { breaks: true });
    await write(['again'], { id: 'same' });
    await write(['again'], { id: 'same' });
    await write(['  ']);
    expect(texts(chat)).toEqual(['good morning', 'half', 'again']);
    expect(chat.getSnapshot().log[0]).toMatchObject({ identity: 'ben', name: 'Ben', isLocal: false, at: 7 });
    await write(['hi'], { identity: 'gone' });
    expect(chat.getSnapshot().log.at(-1)?.name).toBe('gone');
  });

  it('cuts off what has no end', async () => {
    const { engine, write } = room();
    const chat = new Chat(engine, unseen);
    await write(Array.from({ length: 10 }, () => 'x'.repeat(1000)));
    expect(texts(chat)[0]).toHaveLength(MAX_MESSAGE);
  });

  it('counts and tells what nobody saw, until somebody looks', async () => {
    unseen.mockClear();
    const { engine, write } = room();
    const chat = new Chat(engine, unseen);
    await write(['one']);
    await write(['two']);
    expect(chat.getSnapshot().unread.map(({ text }) => text)).toEqual(['one', 'two']);
    expect(unseen).toHaveBeenCalledTimes(2);
    chat.show(true);
    await write(['three']);
    expect(chat.getSnapshot().unread).toEqual([]);
    expect(unseen).toHaveBeenCalledTimes(2);
    chat.show(false);
    await write(['four']);
    expect(chat.getSnapshot().unread).toHaveLength(1);
  });

  it('sends words, not blanks, and says what did not arrive', async () => {
    const { engine, sendText } = room();
    const chat = new Chat(engine, unseen);
    await chat.send('  ');
    await chat.send(' hello ');
    expect(sendText.mock.calls).toEqual([['hello', { topic: CHAT_TOPIC }]]);
    sendText.mockRejectedValueOnce(new Error('cut'));
    await chat.send('lost');
    expect(chat.getSnapshot().log.map(({ text, failed, isLocal }) => [text, failed, isLocal])).toEqual([['hello', false, true], ['lost', true, true]]);
    expect(chat.getSnapshot().unread).toEqual([]);
  });

  it('goes on from another call', async () => {
    const { engine, write } = room();
    const before = new Chat(engine, unseen);
    await write(['one']);
    before.patch({ draft: 'half a' });
    const after = room();
    const chat = new Chat(after.engine, unseen, before.getSnapshot());
    await after.write(['two'], { id: 'of-after' });
    expect(texts(chat)).toEqual(['one', 'two']);
    expect(chat.getSnapshot().draft).toBe('half a');
    chat.close();
    expect(after.unregister).toHaveBeenCalledWith(CHAT_TOPIC);
  });
});
