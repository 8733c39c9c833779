import { describe, expect, it } from 'vitest';
import { en } from './en';
import { fr } from './fr';
import { languages, pickLanguage, pluralOf, translator, type Key } from './index';

const gaps = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();
const keys = Object.keys(en) as Key[];

describe('every language', () => {
  it.each(keys)('has the gaps of %s', (key) => {
    expect(gaps(fr[key])).toEqual(gaps(en[key]));
    expect(fr[key].trim()).not.toBe('');
  });

  it('writes French with no-break spaces before double punctuation', () => {
    for (const key of keys) expect(fr[key]).not.toMatch(/ [?!;:](?!\/)/);
  });

  it('never makes a French participle agree with a person, whose gender nobody knows', () => {
    // After "être", and after "vous" as an object, it would.
    const agreeing = /(?:(?<!\p{L})(?:êtes|serez|été|être|vous a|vous ont|vous avait) (?:\p{L}+ )?(?:vue?|entendue?|arrivée?|partie?|exclue?|invitée?|laissée?|retirée?|connectée?|déconnectée?|seule?|prête?|admise?)(?!\p{L})|(?:\{name\}|\{other\}|autres) (?:est|sont) \p{L}+é)/u;
    const greeting = /^Prête?(?!\p{L})/u;
    for (const key of keys) {
      expect(fr[key], key).not.toMatch(agreeing);
      expect(fr[key], key).not.toMatch(greeting);
    }
    for (const was of ['{name} est arrivé', 'Vous avez été exclu de la réunion', 'La personne qui vous a invité', 'Pour être vu et entendu', 'Le serveur ne vous a pas laissé entrer']) expect(was).toMatch(agreeing);
  });
});

describe('a translator', () => {
  it('fills gaps, and never reads a name as a pattern', () => {
    expect(translator('en')('notice.joined.one', { name: '$& {name}' })).toBe('$& {name} joined');
  });

  it('knows that zero is one in French and other in English', () => {
    expect(pluralOf('fr', 0)).toBe('one');
    expect(pluralOf('en', 0)).toBe('other');
  });
});

describe('the language picked', () => {
  it('is the first one spoken', () => expect(pickLanguage(['xx', 'fr-CA', 'en'])).toBe('fr'));
  it('is English where none is', () => expect(pickLanguage(['xx'])).toBe('en'));
  it('can always be named', () => expect(languages.length).toBe(2));
});
