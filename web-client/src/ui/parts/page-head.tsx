import { ChevronDown, Languages, SunMoon } from 'lucide-react';
import { languages, nameOf, type Language } from '../../i18n';
import { setLanguage, setPref, type Theme } from '../../prefs';
import { usePrefs, useT } from '../prefs';
import { go } from '../route';
import { Logo } from './logo';
import './page-head.css';

/** The head of every page outside a meeting. */
export function PageHead() {
  return (
    <header className="page-head">
      <a
        className="brand"
        href="/"
        onClick={(event) => {
          if (event.metaKey || event.ctrlKey || event.shiftKey) return;
          event.preventDefault();
          go('/');
        }}
      >
        <Logo />
        Conclave
      </a>
      <div className="page-prefs">
        <LanguagePicker />
        <ThemePicker />
      </div>
    </header>
  );
}

/** Chooses the language of the app. */
export function LanguagePicker() {
  const t = useT();
  const { language } = usePrefs();
  return (
    <div className="select">
      <Languages size={16} aria-hidden />
      <select aria-label={t('language.label')} value={language} onChange={(event) => void setLanguage(event.target.value as Language)}>
        {languages.map((tag) => (
          <option key={tag} value={tag} lang={tag}>
            {nameOf(tag)}
          </option>
        ))}
      </select>
      <ChevronDown size={16} aria-hidden />
    </div>
  );
}

/** Chooses light, dark, or the system's choice. */
export function ThemePicker() {
  const t = useT();
  const { theme } = usePrefs();
  return (
    <div className="select">
      <SunMoon size={16} aria-hidden />
      <select aria-label={t('theme.label')} value={theme} onChange={(event) => setPref('theme', event.target.value as Theme)}>
        <option value="system">{t('theme.system')}</option>
        <option value="light">{t('theme.light')}</option>
        <option value="dark">{t('theme.dark')}</option>
      </select>
      <ChevronDown size={16} aria-hidden />
    </div>
  );
}
