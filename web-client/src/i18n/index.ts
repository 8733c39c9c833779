import { en } from './en';
import { fr } from './fr';

/** A language this app speaks. */
export type Language = 'en' | 'fr';

/** The names of all sentences. */
export type Key = keyof typeof en;

/** One language, complete. */
export type Messages = Readonly<Record<Key, string>>;

/** Names of the {gaps} in a sentence. */
type Gaps<S extends string> = S extends `${string}{${infer Gap}}${infer Rest}` ? Gap | Gaps<Rest> : never;

/** A sentence and what fills its gaps: `t('tile.pin', { name })`. */
export type Translate = <K extends Key>(key: K, ...gaps: Gaps<(typeof en)[K]> extends never ? [] : [Record<Gaps<(typeof en)[K]>, string | number>]) => string;

const LANGUAGES: Readonly<Record<Language, Messages>> = { en, fr };

/** In the order they are offered. */
export const languages = Object.keys(LANGUAGES) as Language[];

/** What a language calls itself. */
export function nameOf(language: Language): string {
  return LANGUAGES[language].language;
}

/** The sentences of one language. */
export function translator(language: Language): Translate {
  const messages = LANGUAGES[language];
  return (key, ...gaps) => {
    const values: Readonly<Record<string, string | number>> = gaps[0] ?? {};
    return messages[key].replace(/\{(\w+)\}/g, (gap, name: string) => String(values[name] ?? gap));
  };
}

/** The plural form a language uses for this many. */
export function pluralOf(language: Language, count: number): 'one' | 'other' {
  return new Intl.PluralRules(language).select(count) === 'one' ? 'one' : 'other';
}

/** The first language of these that is spoken here; English where none is. */
export function pickLanguage(wanted: readonly string[]): Language {
  for (const tag of wanted) {
    const found = languages.find((language) => tag.toLowerCase().split('-')[0] === language);
    if (found) return found;
  }
  return 'en';
}
