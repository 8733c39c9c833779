import { describe, expect, it } from 'vitest';
import { splitLinks } from './links';

const targets = (text: string) => splitLinks(text).flatMap((piece) => piece.href ?? []);

describe('addresses in a message', () => {
  it('are cut out and nothing is lost', () => {
    const text = 'see https://a.example/x, or (https://b.example/y_(z)).';
    expect(splitLinks(text).map((piece) => piece.text).join('')).toBe(text);
    expect(targets(text)).toEqual(['https://a.example/x', 'https://b.example/y_(z)']);
  });

  it.each(['javascript:alert(1)', 'data:text/html,x', 'file:///etc', 'no address', 'http://'])('are not made of %s', (text) => expect(targets(text)).toEqual([]));

  it('end at markup', () => {
    expect(targets('<a href="https://a.example/"><img src=x onerror=alert(1)>')).toEqual(['https://a.example/']);
  });
});
