import type { en } from './en';

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

/** What a language calls itself. */
const NAMES: Readonly<Record<Language, string>> = { en: 'English', fr: 'Français' };

/** Each language is a file of its own: nobody loads what nobody reads. */
const FILES: Readonly<Record<Language, () => Promise<Messages>>> = {
  en: async () => (await import('./en')).en,
  fr: async () => (await import('./fr')).fr,
};

const loaded = new Map<Language, Messages>();

/** In the order they are offered. */
export const languages = Object.keys(NAMES) as Language[];

export function nameOf(language: Language): string {
  return NAMES[language];
}

/** Fetches the sentences of a language; before that there is no {@link translator} for it. */
export async function loadLanguage(language: Language): Promise<void> {
  if (!loaded.has(language)) loaded.set(language, await FILES[language]());
}

/** The sentences of a language that is loaded. */
export function translator(language: Language): Translate {
  const messages = loaded.get(language);
  if (!messages) throw new Error(`the sentences of ${language} are not loaded`);
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
