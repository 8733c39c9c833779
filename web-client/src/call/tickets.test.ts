import { describe, expect, it } from 'vitest';
import type { Shelf } from './storage';
import { keepTicket, renewed, ticketOf, tokenOf } from './tickets';

const token = (room: string, exp: number) => `h.${btoa(JSON.stringify({ exp, video: { room } }))}.s`;
const memory = (): Shelf => {
  const kept = new Map<string, string>();
  return { read: (key) => kept.get(key), write: (key, value) => void kept.set(key, value) };
};

const HOUR = 3_600_000;
const invitation = token('salle', (6 * HOUR) / 1000);
const minutes = token('salle', 600);

describe('the tickets of a tab', () => {
  it('are kept by room: who comes with a second one goes back with the first', () => {
    const shelf = memory();
    keepTicket({ room: 'a', tokens: ['of-a'] }, shelf);
    keepTicket({ room: 'b', tokens: ['of-b'] }, shelf);
    expect(ticketOf('a', shelf).tokens).toEqual(['of-a']);
    expect(ticketOf('b', shelf).tokens).toEqual(['of-b']);
    keepTicket({ room: 'a', tokens: ['newer'] }, shelf);
    expect(ticketOf('a', shelf).tokens).toEqual(['newer']);
  });

  it('are few, the newest ones', () => {
    const shelf = memory();
    for (const room of ['a', 'b', 'c', 'd', 'e', 'f', 'g']) keepTicket({ room, tokens: [room] }, shelf);
    expect(ticketOf('a', shelf).tokens).toEqual([]);
    expect(ticketOf('c', shelf).tokens).toEqual(['c']);
  });

  it('are none where the browser keeps something else, or nothing', () => {
    for (const kept of [undefined, '', 'null', '{}', '[1, null, {"room": "a"}, {"room": "a", "tokens": [1]}]']) {
      expect(ticketOf('a', { read: () => kept, write: () => undefined })).toEqual({ room: 'a', tokens: [] });
    }
  });
});

describe('a token that the server sends', () => {
  const ticket = { room: 'salle', tokens: [invitation] };

  it('takes the place of the one before; the invitation stays', () => {
    const first = renewed(ticket, minutes);
    expect(first).toEqual({ room: 'salle', tokens: [minutes, invitation] });
    const newer = token('salle', 900);
    expect(renewed(first, newer)).toEqual({ room: 'salle', tokens: [newer, invitation] });
    expect(renewed(first, minutes)).toBe(first);
    expect(renewed(ticket, invitation)).toBe(ticket);
  });

  it('of another room opens that one, and only that one', () => {
    const moved = token('autre', 600);
    expect(renewed({ room: 'salle', tokens: [minutes, invitation] }, moved)).toEqual({ room: 'autre', tokens: [moved] });
    const odd = token('../Salle 1', 600);
    expect(renewed(ticket, odd)).toEqual({ room: 'salle', tokens: [odd] });
    expect(renewed({ room: 'salle', tokens: [odd] }, token('../Salle 1', 900)).room).toBe('salle');
  });

  it('is not kept by who came by link, unless moved to where the link does not lead', () => {
    const byLink = { room: 'abcd-efgh-jkm', tokens: [] };
    expect(renewed(byLink, token('abcd-efgh-jkm', 600))).toBe(byLink);
    expect(renewed(byLink, minutes)).toEqual({ room: 'salle', tokens: [minutes] });
  });
});

describe('the token to go in with', () => {
  const ticket = { room: 'salle', tokens: [minutes, invitation] };

  it('is the newest, and the invitation where that one has expired', () => {
    expect(tokenOf(ticket, 599_000)).toBe(minutes);
    expect(tokenOf(ticket, 601_000)).toBe(invitation);
  });

  it('is the one that lasts longer where all have expired: the server knows the time', () => {
    expect(tokenOf(ticket, 7 * HOUR)).toBe(invitation);
    expect(tokenOf({ room: 'salle', tokens: [token('salle', 900), minutes] }, HOUR)).toBe(token('salle', 900));
  });

  it('need not say how long it lasts, and need not be', () => {
    expect(tokenOf({ room: 'salle', tokens: ['nonsense'] }, HOUR)).toBe('nonsense');
    expect(tokenOf({ room: 'salle', tokens: [] }, HOUR)).toBeUndefined();
  });
});
