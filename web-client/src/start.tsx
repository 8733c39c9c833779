import { createRoot } from 'react-dom/client';
import { App } from './ui/app';

/** Draws the app, once its sentences are there. */
export function start(): void {
  const root = document.getElementById('root');
  if (root) createRoot(root).render(<App />);
}
