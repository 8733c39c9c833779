import { afterEach, describe, expect, it, vi } from 'vitest';
import { click, doing, draw, focus, the } from '../../../test/dom';
import { settings, type SettingsSnapshot } from '../../call/server';
import { languages } from '../../i18n';
import { prefs, setLanguage } from '../../prefs';
import { Home } from './home';

const OPEN = { start: 'anyone', join: 'link', development: false } as const;
const CLOSED = { start: 'nobody', join: 'token', development: false } as const;

async function home(server: SettingsSnapshot, wrong?: 'link' | 'page', first = true) {
  settings.set(server);
  await draw(<Home first={first} wrong={wrong} />);
}

describe('the start page', () => {
  afterEach(() => doing(() => setLanguage('en')));

  it('offers what the server lets people do, and nothing else', async () => {
    await home(CLOSED);
    expect(the('start-closed').textContent).toMatch(/your organisation’s application/);
    expect(document.querySelector('[data-testid="start-meeting"], [data-testid="join-code"]')).toBeNull();
    await doing(() => settings.set(OPEN));
    expect(the('start-meeting').textContent).toBe('Start a meeting');
    expect(the('join-code')).toBeDefined();
  });

  it('says that an address leads nowhere, and what kind of address it was', async () => {
    await home(OPEN, 'page');
    expect(the('no-page').textContent).toBe('There is no page at this address.');
    await home(OPEN, 'link');
    expect(document.body.textContent).toContain('This link leads to no meeting');
  });

  it('says why no meeting was started, and lets one try again', async () => {
    const fetcher = vi.spyOn(globalThis, 'fetch').mockResolvedValue(Response.json({ state: 'refused', reason: 'too-many' }, { status: 429 }));
    await home(OPEN);
    await click('start-meeting');
    expect(the('.home-actions > .field-error').textContent).toMatch(/^There were too many attempts/);
    expect(the('start-meeting').getAttribute('aria-busy')).toBe('false');
    fetcher.mockRejectedValue(new TypeError('Failed to fetch'));
    await click('start-meeting');
    expect(the('.home-actions > .field-error').textContent).toMatch(/does not answer|has no network/);
  });

  it('takes the focus when one comes back to it, not when it is the first one sees', async () => {
    await home(OPEN, undefined, false);
    expect(focus()).toBe('h1: Meetings on your own server');
  });

  it('speaks another language once its sentences are there', async () => {
    await home(OPEN);
    await doing(() => setLanguage('fr'));
    expect(the('start-meeting').textContent).toBe('Créer une réunion');
    expect(document.documentElement.lang).toBe('fr');
    expect(prefs.getSnapshot().language).toBe('fr');
    expect(languages).toEqual(['en', 'fr']);
  });
});
