import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

/** The harness as files, for tests that look at its screens: `vite build --config dev/vite.config.ts --outDir …`. */
export default defineConfig({
  plugins: [react()],
  base: './',
  build: { target: 'es2022', minify: false, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 2000, rolldownOptions: { input: 'dev/harness.html' } },
});
