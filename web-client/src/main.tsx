import { createRoot } from 'react-dom/client';
import './styles/layers.css';
import './styles/fonts.css';
import './styles/tokens.css';
import './styles/base.css';
import { keptForTab } from './call/storage';
import { App } from './ui/app';
import { apply } from './ui/prefs';

apply();

// After an update of the server the files this page knows may be gone: the new page knows the new ones.
window.addEventListener('vite:preloadError', (event) => {
  if (keptForTab.read('reloaded') === location.href) return;
  keptForTab.write('reloaded', location.href);
  event.preventDefault();
  location.reload();
});

const root = document.getElementById('root');
if (root) createRoot(root).render(<App />);
