import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';
import { precompressed, preloads } from './build/plugins.ts';

/** Where `npm run dev` finds the server that answers `/api`, `/dev/token` and `/rtc`. */
const SERVER = 'http://localhost:7880';

export default defineConfig({
  plugins: [react(), preloads(), precompressed()],
  build: {
    target: 'es2022',
    // The policy of the pages is `img-src 'self' blob: data:`, yet fonts and scripts may not be data
    // URLs (`default-src 'self'`): nothing is inlined.
    assetsInlineLimit: 0,
    // Inlined by default and useless to any browser this app supports.
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 900,
  },
  server: {
    proxy: {
      '/api': SERVER,
      '/dev/token': SERVER,
      '/rtc': { target: SERVER, ws: true },
    },
  },
  test: {
    restoreMocks: true,
    setupFiles: ['test/setup.ts'],
    projects: [
      // Logic knows no document.
      { extends: true, test: { name: 'logic', environment: 'node', include: ['src/**/*.test.ts'] } },
      { extends: true, test: { name: 'screens', environment: 'happy-dom', testTimeout: 30_000, include: ['src/**/*.test.tsx'] } },
    ],
  },
});
