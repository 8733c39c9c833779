import { kept } from './call/storage';
import { Store } from './call/store';
import { languages, loadLanguage, pickLanguage, type Language } from './i18n';

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

/** Changes the language once its sentences are there; where they do not come, all stays as it is. */
export async function setLanguage(language: Language): Promise<void> {
  await loadLanguage(language);
  setPref('language', language);
}

/** Puts theme and language on the document; call once at the start. */
export function apply(): void {
  const { theme, language } = prefs.getSnapshot();
  const root = document.documentElement;
  root.lang = language;
  if (theme === 'system') delete root.dataset.theme;
  else root.dataset.theme = theme;
}
