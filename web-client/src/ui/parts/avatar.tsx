import { memo } from 'react';
import './avatar.css';

/** Enough to tell neighbours apart, few enough to stay calm. */
const TONES = 8;

/** Initials on a colour that stays with the person. */
export const Avatar = memo(function Avatar({ identity, name, size }: { identity: string; name: string; size: 'small' | 'tile' }) {
  return (
    <span className={`avatar avatar--${size} avatar--${String(toneOf(identity))}`} aria-hidden="true">
      {initials(name)}
    </span>
  );
});

function initials(name: string): string {
  const words = name.trim().split(/[\s._-]+/).filter((word) => word !== '');
  const first = firstLetter(words[0]);
  return words.length > 1 ? first + firstLetter(words.at(-1)) : first;
}

function firstLetter(word: string | undefined): string {
  // By code point: a name may begin with a letter of two units.
  return ([...(word ?? '')][0] ?? '').toLocaleUpperCase();
}

function toneOf(identity: string): number {
  let sum = 7;
  for (const letter of identity) sum = (sum * 31 + (letter.codePointAt(0) ?? 0)) % 9973;
  return sum % TONES;
}
