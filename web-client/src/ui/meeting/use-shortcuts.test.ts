import { describe, expect, it } from 'vitest';
import { shortcutOf } from './use-shortcuts';

const key = (name: string, more = {}) => shortcutOf({ key: name, ctrlKey: false, altKey: false, metaKey: false, defaultPrevented: false, isComposing: false, ...more })?.action;

describe('a key', () => {
  it('is a shortcut, whatever its case', () => {
    expect(key('d', { ctrlKey: true })).toBe('microphone');
    expect(key('E', { ctrlKey: true })).toBe('camera');
    expect(key('c')).toBe('chat');
  });

  it('is none with another modifier, in the middle of a word, or where somebody else took it', () => {
    expect(key('d')).toBeUndefined();
    expect(key('c', { ctrlKey: true })).toBeUndefined();
    expect(key('d', { ctrlKey: true, altKey: true })).toBeUndefined();
    expect(key('d', { ctrlKey: true, isComposing: true })).toBeUndefined();
    expect(key('d', { ctrlKey: true, defaultPrevented: true })).toBeUndefined();
  });
});
