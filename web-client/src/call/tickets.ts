import { expiryOfToken, roomInToken } from './jwt';
import { ROOM_NAME } from './room-code';
import { keptForTab, type Shelf } from './storage';

/** What opens a room for this tab. */
export interface Ticket {
  /** The room's name in the address. */
  readonly room: string;
  /** The newest first; last the one of the invitation. None: one comes by link. */
  readonly tokens: readonly string[];
}

const KEY = 'tickets';

/** Rooms whose tickets a tab keeps: the way back leads to a few. */
const MAX_KEPT = 5;

/** The ticket with which this tab goes to a room; a reload needs no invitation. */
export function ticketOf(room: string, shelf: Shelf = keptForTab): Ticket {
  return ticketsIn(shelf).find((ticket) => ticket.room === room) ?? { room, tokens: [] };
}

/** Keeps a ticket instead of another one of the same room. */
export function keepTicket(ticket: Ticket, shelf: Shelf = keptForTab): void {
  const others = ticketsIn(shelf).filter((other) => other.room !== ticket.room);
  shelf.write(KEY, JSON.stringify([ticket, ...others].slice(0, MAX_KEPT)));
}

/**
 * The ticket after the server has sent this token: a newer one of the same room, or one of the room a moderator moved
 * somebody to. Who came by link and was not moved asks for another one each time.
 */
export function renewed(ticket: Ticket, token: string): Ticket {
  const { room, tokens } = ticket;
  const invitation = tokens.at(-1);
  const before = (invitation === undefined ? undefined : roomInToken(invitation)) ?? room;
  const now = roomInToken(token) ?? before;
  // A name that cannot stand in an address leaves it as it is.
  if (now !== before) return { room: ROOM_NAME.test(now) ? now : room, tokens: [token] };
  if (invitation === undefined || tokens.includes(token)) return ticket;
  return { room, tokens: [token, invitation] };
}

/**
 * The token to go in with. The newest says what one may do now, yet lives for minutes only; an invitation may last longer.
 *
 * @param now milliseconds since the epoch. A clock that is wrong has the server refuse a token, no more.
 */
export function tokenOf({ tokens }: Ticket, now: number): string | undefined {
  const lasting = (token: string): number => expiryOfToken(token) ?? Infinity;
  return tokens.find((token) => lasting(token) > now) ?? [...tokens].sort((a, b) => lasting(b) - lasting(a))[0];
}

function ticketsIn(shelf: Shelf): readonly Ticket[] {
  try {
    const kept: unknown = JSON.parse(shelf.read(KEY) ?? '[]');
    return Array.isArray(kept) ? kept.filter(isTicket) : [];
  } catch {
    return [];
  }
}

function isTicket(value: unknown): value is Ticket {
  if (typeof value !== 'object' || value === null) return false;
  const { room, tokens } = value as Record<string, unknown>;
  return typeof room === 'string' && Array.isArray(tokens) && tokens.every((token) => typeof token === 'string');
}
