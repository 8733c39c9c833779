import './styles/layers.css';
import './styles/fonts.css';
import './styles/tokens.css';
import './styles/base.css';
import { here } from './address';
import { keptForTab } from './call/storage';
import { loadLanguage } from './i18n';
import { apply, prefs } from './prefs';

// Small, and first: it asks for everything else at once, so that nothing is found only after something else has run.

here();
apply();

// After an update of the server the files this page knows may be gone: the new page knows the new ones.
window.addEventListener('vite:preloadError', (event) => {
  if (keptForTab.read('reloaded') === location.href) return;
  keptForTab.write('reloaded', location.href);
  event.preventDefault();
  location.reload();
});

const language = loadLanguage(prefs.getSnapshot().language);
const app = import('./start');
if (location.pathname.startsWith('/m/')) void import('./ui/join/visit').catch(() => undefined);
void Promise.all([app, language]).then(([{ start }]) => start());
