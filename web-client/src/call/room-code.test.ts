import { describe, expect, it } from 'vitest';
import { parseEntered, roomOfPath } from './room-code';

const ORIGIN = 'https://meet.example.org';

describe('what is typed into the join field', () => {
  it.each(['abcd-efgh-jkm', 'ABCD-EFGH-JKM', 'abcdefghjkm', ' abcd efgh jkm ', `${ORIGIN}/m/abcd-efgh-jkm`, 'meet.example.org/m/abcd-efgh-jkm', '/m/abcd-efgh-jkm'])(
    'is understood: %s',
    (text) => expect(parseEntered(text, ORIGIN)).toEqual({ kind: 'room', path: '/m/abcd-efgh-jkm' }),
  );

  it.each(['?token=a.b.c', '#token=a.b.c', '?autojoin=1&token=a.b.c', '?name=x&autojoin=1#token=a.b.c'])('keeps the token of a link and nothing else: %s', (rest) => {
    expect(parseEntered(`${ORIGIN}/m/standup${rest}`, ORIGIN)).toEqual({ kind: 'room', path: '/m/standup#token=a.b.c' });
  });

  it('does not make a link join by itself', () => {
    expect(parseEntered(`${ORIGIN}/m/evil?autojoin=1`, ORIGIN)).toEqual({ kind: 'room', path: '/m/evil' });
  });

  it('is not followed to another server', () => {
    expect(parseEntered('https://other.example/m/abcd-efgh-jkm', ORIGIN)).toEqual({ kind: 'elsewhere', host: 'other.example' });
  });

  it.each(['abc', 'abcd-efgh', '1234-5678-901', 'hello world', 'javascript:alert(1)', `${ORIGIN}/elsewhere`, '/m/', '/m/%E0%A4%A'])('is refused: %s', (text) =>
    expect(parseEntered(text, ORIGIN).kind).toBe('bad'),
  );

  it('may be empty', () => expect(parseEntered('  ', ORIGIN)).toEqual({ kind: 'empty' }));
});

describe('the room of a path', () => {
  it('is the part after /m/', () => expect(roomOfPath('/m/abcd-efgh-jkm')).toBe('abcd-efgh-jkm'));
  it.each(['/', '/m/', '/m/a/b', '/m/%3Cscript%3E', '/x/abcd'])('is absent in %s', (path) => expect(roomOfPath(path)).toBeUndefined());
});
