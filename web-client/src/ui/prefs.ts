import { useMemo } from 'react';
import { pluralOf, translator, type Translate } from '../i18n';
import { prefs, type Prefs } from '../prefs';
import { useStore } from './use-store';

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
