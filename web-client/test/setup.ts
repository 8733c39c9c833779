import { languages, loadLanguage } from '../src/i18n';

await Promise.all(languages.map(loadLanguage));
