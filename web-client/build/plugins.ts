import path from 'node:path';
import type { HtmlTagDescriptor, Plugin } from 'vite';
import { compress } from './brotli.ts';

/** Beside each text file, the same in brotli. */
export function precompressed(): Plugin {
  let folder = 'dist';
  return {
    name: 'precompressed',
    apply: 'build',
    configResolved: (config) => {
      folder = path.resolve(config.root, config.build.outDir);
    },
    closeBundle: () => compress(folder),
  };
}

/** The page itself asks for what its first script will ask for, and for the font, so that they come together with it. */
export function preloads(): Plugin {
  return {
    name: 'preloads',
    apply: 'build',
    transformIndexHtml: {
      order: 'post',
      handler: (html, { bundle = {} }) => {
        const files = Object.values(bundle);
        const start = files.find((file) => file.type === 'chunk' && file.name === 'start');
        const modules = start?.type === 'chunk' ? [start.fileName, ...start.imports] : [];
        const font = files.find((file) => /inter-latin-wght.*\.woff2$/.test(file.fileName));
        const link = (attrs: Record<string, string | boolean>): HtmlTagDescriptor => ({ tag: 'link', attrs, injectTo: 'head' });
        return [
          ...modules.filter((file) => !html.includes(`/${file}"`)).map((file) => link({ rel: 'modulepreload', crossorigin: true, href: `/${file}` })),
          ...(font ? [link({ rel: 'preload', as: 'font', type: 'font/woff2', crossorigin: true, href: `/${font.fileName}` })] : []),
        ];
      },
    },
  };
}
