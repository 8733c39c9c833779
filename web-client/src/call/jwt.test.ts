import { expect, it } from 'vitest';
import { nameInToken } from './jwt';

const token = (claims: unknown) => `h.${btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(claims)))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '')}.s`;

it('reads the name of a token, in any script', () => expect(nameInToken(token({ name: 'Zoë 李' }))).toBe('Zoë 李'));
it.each(['', 'x', 'a.b.c', token({}), token(null), token({ name: 7 })])('finds no name in %s', (text) => expect(nameInToken(text)).toBeUndefined());
