import { createRoot } from 'react-dom/client';
import './styles/fonts.css';
import './styles/tokens.css';
import './styles/base.css';
import { App } from './ui/app';
import { apply } from './ui/prefs';

apply();

const root = document.getElementById('root');
if (root) createRoot(root).render(<App />);
