import { describe, expect, it } from 'vitest';
import { newCode, parseEntered, roomOfPath } from './room-code';

const ORIGIN = 'https://meet.example.org';

describe('a new code', () => {
  it('reads xxxx-yyyy-zzz and never holds letters that look like digits', () => {
    for (let i = 0; i < 200; i++) expect(newCode()).toMatch(/^[a-hjkmnp-z]{4}-[a-hjkmnp-z]{4}-[a-hjkmnp-z]{3}$/);
  });

  it('draws again where a byte would favour some letters', () => {
    const drawn = [255, 254, 253, ...Array.from({ length: 11 }, (_, i) => i)];
    expect(newCode((bytes) => (bytes[0] = drawn.shift() ?? 0))).toBe('abcd-efgh-jkm');
  });
});

describe('what is typed into the join field', () => {
  it.each(['abcd-efgh-jkm', 'ABCD-EFGH-JKM', 'abcdefghjkm', ' abcd efgh jkm ', `${ORIGIN}/m/abcd-efgh-jkm`, 'meet.example.org/m/abcd-efgh-jkm', '/m/abcd-efgh-jkm'])(
    'is understood: %s',
    (text) => expect(parseEntered(text, ORIGIN)).toEqual({ kind: 'room', path: '/m/abcd-efgh-jkm' }),
  );

  it('keeps the token of a link', () => {
    expect(parseEntered(`${ORIGIN}/m/standup?token=a.b.c`, ORIGIN)).toEqual({ kind: 'room', path: '/m/standup?token=a.b.c' });
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
