import type { Room, TextStreamReader } from 'livekit-client';
import { Store } from './store';
import type { ChatMessage, ChatSnapshot } from './types';

/** The topic other clients of this protocol use as well. */
export const CHAT_TOPIC = 'lk.chat';

/** Characters; more is cut off on the way in, for a peer may send without end. */
export const MAX_MESSAGE = 4000;

/** Messages kept; older ones go. */
const MAX_LOG = 500;

/** The messages of one call. They live in this tab only and are gone with it. */
export class Chat extends Store<ChatSnapshot> {
  readonly #room: Room;
  readonly #unseen: (message: ChatMessage) => void;
  #open = false;

  /**
   * @param unseen told of a message that came while nobody read along.
   * @param before what was said and written, where this call goes on from another one.
   */
  constructor(room: Room, unseen: (message: ChatMessage) => void, before: ChatSnapshot = { log: [], unread: [], draft: '' }) {
    super(before);
    this.#room = room;
    this.#unseen = unseen;
    room.registerTextStreamHandler(CHAT_TOPIC, (reader, { identity }) => void this.#receive(reader, identity));
  }

  /** Tells whether somebody reads along. */
  show(open: boolean): void {
    this.#open = open;
    if (open && this.getSnapshot().unread.length > 0) this.patch({ unread: [] });
  }

  async send(text: string): Promise<void> {
    const trimmed = text.trim().slice(0, MAX_MESSAGE);
    if (trimmed === '') return;
    const { identity, name } = this.#room.localParticipant;
    const message = { id: crypto.randomUUID(), identity, name: name || identity, isLocal: true, text: trimmed, at: Date.now(), failed: false };
    this.#append(message);
    try {
      await this.#room.localParticipant.sendText(trimmed, { topic: CHAT_TOPIC });
    } catch {
      this.patch({ log: this.getSnapshot().log.map((other) => (other.id === message.id ? { ...other, failed: true } : other)) });
    }
  }

  close(): void {
    this.#room.unregisterTextStreamHandler(CHAT_TOPIC);
  }

  async #receive(reader: TextStreamReader, identity: string): Promise<void> {
    let text = '';
    try {
      for await (const chunk of reader) {
        text += chunk;
        if (text.length > MAX_MESSAGE) break;
      }
    } catch {
      // The sender vanished half-way: what came is shown.
    }
    if (text.trim() === '') return;
    const name = this.#room.remoteParticipants.get(identity)?.name;
    this.#append({ id: reader.info.id, identity, name: name || identity, isLocal: false, text: text.slice(0, MAX_MESSAGE), at: reader.info.timestamp || Date.now(), failed: false });
  }

  #append(message: ChatMessage): void {
    const { log, unread } = this.getSnapshot();
    if (log.some((other) => other.id === message.id)) return;
    const read = this.#open || message.isLocal;
    this.patch({ log: [...log, message].slice(-MAX_LOG), unread: read ? unread : [...unread, message].slice(-MAX_LOG) });
    if (!read) this.#unseen(message);
  }
}
