import { expect, it } from 'vitest';
import { hostsByToken, nameInToken, roomInToken } from './jwt';

const token = (claims: unknown) => `h.${btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(claims)))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '')}.s`;

it('reads the name of a token, in any script', () => expect(nameInToken(token({ name: 'Zoë 李' }))).toBe('Zoë 李'));
it.each(['', 'x', 'a.b.c', token({}), token(null), token({ name: 7 })])('finds no name in %s', (text) => expect(nameInToken(text)).toBeUndefined());
it('reads the room of a token', () => expect(roomInToken(token({ video: { room: 'Salle 1' } }))).toBe('Salle 1'));
it.each(['', 'a.b.c', token({}), token({ video: null }), token({ video: { room: '' } }), token({ video: 'room' })])('finds no room in %s', (text) => expect(roomInToken(text)).toBeUndefined());
it('knows whose token runs the meeting', () => {
  expect(hostsByToken(token({ video: { roomAdmin: true } }))).toBe(true);
  for (const text of ['', token({ roomAdmin: true }), token({ video: { roomAdmin: 'true' } }), token({ video: null })]) expect(hostsByToken(text)).toBe(false);
});
