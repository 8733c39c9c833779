import { createElement, type ReactElement } from 'react';
import { renderToStaticMarkup } from 'react-dom/server';
import { describe, expect, it, vi } from 'vitest';
import { Store } from '../call/store';
import { StageModel } from '../layout/stage-model';

vi.hoisted(() => {
  vi.stubGlobal('navigator', { languages: ['en'] });
  vi.stubGlobal('location', new URL('https://meet.example.org/'));
  vi.stubGlobal('window', { addEventListener: () => undefined });
});

// Markup is made without a browser: what a store holds now is all there is.
vi.mock('react', async (original) => ({ ...(await original<object>()), useSyncExternalStore: <T>(_: unknown, read: () => T) => read() }));

const { Unreachable } = await import('./home/home');
const { ReturningScreen } = await import('./left/returning-screen');
const { Pager } = await import('./meeting/pager');

/** The buttons of a screen, by what is written on them. */
function buttonsOf(screen: ReactElement): readonly { readonly words: string; readonly attributes: string }[] {
  const markup = renderToStaticMarkup(screen);
  return [...markup.matchAll(/<button([^>]*)>(.*?)<\/button>/g)].map(([, attributes = '', inside = '']) => ({ words: inside.replace(/<[^>]*>/g, ''), attributes }));
}

/** A browser takes the focus from a button that becomes `disabled`. */
const takesFocusAway = ({ attributes }: { readonly attributes: string }) => /(?<!-)\bdisabled/.test(attributes);

describe('a button that has nothing to do for a moment keeps the focus', () => {
  it('while one comes back', () => {
    for (const trying of [false, true]) {
      const way = Object.assign(new Store({ restart: false, trying, nextAt: 0 }), { tryNow: () => undefined });
      const buttons = buttonsOf(createElement(ReturningScreen, { way, room: 'salle', onLeave: () => undefined }));
      expect(buttons.filter(takesFocusAway)).toEqual([]);
      expect(buttons.find(({ words }) => words === 'Try now')?.attributes).toContain(`aria-disabled="${String(trying)}"`);
    }
  });

  it('while the server is asked again whether it is there', () => {
    for (const retrying of [false, true]) {
      const buttons = buttonsOf(createElement(Unreachable, { retrying, onRetry: () => undefined }));
      expect(buttons.map(({ words }) => words)).toEqual(['Try again']);
      expect(buttons.filter(takesFocusAway)).toEqual([]);
    }
  });

  it('on the last page', () => {
    const model = new StageModel();
    model.patch({ page: 1, pages: 2 });
    const buttons = buttonsOf(createElement(Pager, { model }));
    expect(buttons).toHaveLength(2);
    expect(buttons.filter(takesFocusAway)).toEqual([]);
  });
});
