import { useMemo } from 'react';
import { kept } from '../call/storage';
import { Store } from '../call/store';
import { languages, pickLanguage, pluralOf, translator, type Language, type Translate } from '../i18n';
import { useStore } from './use-store';

/** The appearance chosen; `system` follows the operating system. */
export type Theme = 'system' | 'light' | 'dark';

/** What the person chose on this machine. */
export interface Prefs {
  readonly theme: Theme;
  readonly language: Language;
  readonly name: string;
}

const THEMES: readonly Theme[] = ['system', 'light', 'dark'];

export const prefs = new Store<Prefs>({
  theme: THEMES.find((theme) => theme === kept.read('theme')) ?? 'system',
  language: languages.find((language) => language === kept.read('language')) ?? pickLanguage(navigator.languages),
  name: kept.read('name') ?? '',
});

/** Changes and remembers a preference. */
export function setPref<K extends keyof Prefs>(key: K, value: Prefs[K]): void {
  kept.write(key, value);
  prefs.set({ ...prefs.getSnapshot(), [key]: value });
  apply();
}

/** Puts theme and language on the document; call once at the start. */
export function apply(): void {
  const { theme, language } = prefs.getSnapshot();
  const root = document.documentElement;
  root.lang = language;
  if (theme === 'system') delete root.dataset.theme;
  else root.dataset.theme = theme;
}

export function usePrefs(): Prefs {
  return useStore(prefs);
}

/** The sentences of the chosen language. */
export function useT(): Translate {
  const { language } = usePrefs();
  return useMemo(() => translator(language), [language]);
}

/** Picks the plural form of the chosen language. */
export function usePlural(): (count: number) => 'one' | 'other' {
  const { language } = usePrefs();
  return (count) => pluralOf(language, count);
}
