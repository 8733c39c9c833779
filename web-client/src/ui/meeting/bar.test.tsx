import { beforeEach, describe, expect, it, vi } from 'vitest';
import { calling, click, doing, draw, focus, press, resized, the, windowOf } from '../../../test/dom';
import { devices } from '../../call/devices';
import { Meeting } from './meeting';

vi.mock('../../call/devices', async (original) => ({ ...(await original<object>()), canShareScreen: () => true }));

/** A meeting in a window of this width. */
async function meeting(query = 'people=3', width = 1440) {
  windowOf(width, 800);
  vi.spyOn(window, 'innerWidth', 'get').mockReturnValue(width);
  const call = calling(query);
  await draw(<Meeting call={call} room="bkdt-wqmp-hza" />);
  return call;
}

const bar = () => [...document.querySelectorAll<HTMLElement>('.bar-main > .round, .bar-main > .split > .round')].map(({ dataset }) => dataset.testid);
const menu = () => [...document.querySelectorAll('[role="menuitem"]')].map(({ textContent }) => textContent);

describe('the bar', () => {
  beforeEach(() => vi.restoreAllMocks());

  it('has what one does in a meeting, and the rest in its menu', async () => {
    await meeting();
    expect(bar()).toEqual(['toggle-mic', 'toggle-camera', 'toggle-share', 'toggle-chat', 'toggle-people', 'leave']);
    await click('more');
    expect(menu()).toEqual(['Speaker view', 'Invite people', 'Settings', 'Keyboard shortcuts']);
  });

  it('moves to its menu what there is no room for, where it works the same', async () => {
    const call = await meeting('people=3', 250);
    expect(bar()).toEqual(['toggle-mic', 'toggle-camera', 'toggle-chat', 'leave']);
    await click('more');
    expect(menu().slice(0, 2)).toEqual(['Share your screen', 'People (3)']);
    await click('toggle-share');
    expect(call.sending.getSnapshot().share).toBe(true);
    expect(document.querySelector('[role="menu"]')).toBeNull();
    await click('more');
    await click('toggle-people');
    expect(focus()).toBe('h2: People');
    await press('Escape');
    expect(focus()).toBe('more');
  });

  it('has room for less where letters are twice as large', async () => {
    await meeting('people=3', 500);
    document.documentElement.style.fontSize = '32px';
    windowOf(500, 100);
    await resized();
    document.documentElement.removeAttribute('style');
    expect(bar()).toEqual(['toggle-mic', 'toggle-camera', 'toggle-chat', 'leave']);
  });

  it('offers nothing that one may not do', async () => {
    await meeting('role=listener');
    expect(bar()).toEqual(['toggle-chat', 'toggle-people', 'leave']);
    await press('d', { ctrlKey: true });
  });

  it('can be walked with the arrows, and a list of devices keeps its own', async () => {
    await meeting();
    await doing(() => the('toggle-mic').focus());
    await press('ArrowRight');
    expect(focus()).toBe('button: Choose microphone and speaker');
    await press('ArrowRight');
    expect(focus()).toBe('toggle-camera');
    await press('End');
    expect(focus()).toBe('leave');
    await press('ArrowRight');
    expect(focus()).toBe('toggle-mic');
    await press('ArrowLeft');
    await press('Home');
    expect(focus()).toBe('toggle-mic');
    await doing(() => devices.patch({ cameras: [{ id: 'a', label: 'Front' }, { id: 'b', label: 'Back' }] }));
    await click('[aria-label="Choose the camera"]');
    expect(focus()).toBe('select: Camera');
    await press('ArrowRight');
    expect(focus()).toBe('select: Camera');
    await press('Escape');
    expect(focus()).toBe('button: Choose the camera');
  });

  it('is one stop on the way of Tab, at the button one was at last', async () => {
    await meeting();
    const stops = () => [...document.querySelectorAll<HTMLElement>('.bar-main button')].filter(({ tabIndex }) => tabIndex === 0).map(({ dataset }) => dataset.testid);
    expect(stops()).toEqual(['toggle-mic']);
    await doing(() => the('toggle-mic').focus());
    await press('ArrowLeft');
    expect(stops()).toEqual(['leave']);
    await press('p');
    expect(stops()).toEqual(['leave']);
    // Closing it leads to its button, which is where one goes on.
    await press('Escape');
    expect(stops()).toEqual(['toggle-people']);
    windowOf(250, 100);
    await resized();
    expect(bar()).not.toContain('toggle-people');
    expect(stops()).toEqual(['toggle-mic']);
  });

  it('is walked up and down where it stands', async () => {
    await meeting();
    windowOf(60, 390);
    await resized();
    expect(the('[role="toolbar"]').getAttribute('aria-orientation')).toBe('vertical');
    await doing(() => the('toggle-mic').focus());
    await press('ArrowDown');
    expect(focus()).toBe('button: Choose microphone and speaker');
    await press('ArrowUp');
    expect(focus()).toBe('toggle-mic');
    // A letter is a shortcut here, and leads to no button.
    await press('c');
    expect(focus()).toBe('chat-input');
  });

  it('has a menu as menus are: arrows, letters, Escape, and the way back', async () => {
    await meeting();
    await click('more');
    expect(the('[role="menu"]').getAttribute('aria-label')).toBe('More');
    expect(focus()).toBe('button: Speaker view');
    await press('ArrowDown');
    expect(focus()).toBe('button: Invite people');
    await press('s');
    expect(focus()).toBe('button: Settings');
    await press('s');
    expect(focus()).toBe('button: Speaker view');
    await press('End');
    expect(focus()).toBe('button: Keyboard shortcuts');
    await press('ArrowDown');
    expect(focus()).toBe('button: Speaker view');
    // P would open the people, were this no menu.
    await press('Escape');
    expect(focus()).toBe('more');
    expect(document.querySelector('[role="menu"]')).toBeNull();
  });

  it('offers the link as long as there is one, whoever is there', async () => {
    await meeting();
    await click('invite');
    expect((the('.card-link') as HTMLInputElement).value).toBe(`${location.origin}/m/bkdt-wqmp-hza`);
    expect(the('.dialog').textContent).toContain('Anyone with the link can join');
  });

  it('offers no link that lets nobody in', async () => {
    await meeting('people=3&access=token');
    expect(document.querySelector('[data-testid="invite"]')).toBeNull();
    await click('more');
    expect(menu()).toEqual(['Speaker view', 'Settings', 'Keyboard shortcuts']);
  });

  it('says that one shares and stops it, and takes no place from anybody', async () => {
    const call = await meeting();
    expect(document.querySelector('.share-chip')).toBeNull();
    await click('toggle-share');
    expect(the('.share-chip').textContent).toContain('You are sharing your screen.');
    expect(document.querySelectorAll('[data-testid="tile"]')).toHaveLength(3);
    await click('stop-share');
    expect(call.sending.getSnapshot().share).toBe(false);
    expect(document.querySelector('.share-chip')).toBeNull();
  });
});

describe('a sheet', () => {
  beforeEach(() => vi.restoreAllMocks());

  it('takes the focus and gives it back to the button that opens it, whatever did', async () => {
    await meeting();
    await press('p');
    expect(focus()).toBe('h2: People');
    await press('Escape');
    expect(focus()).toBe('toggle-people');
    await press('c');
    expect(focus()).toBe('chat-input');
    await click('.panel .icon-button');
    expect(focus()).toBe('toggle-chat');
  });

  it('gives way to another one, and keeps where it was scrolled to', async () => {
    await meeting();
    await click('toggle-people');
    the('.people').scrollTop = 120;
    await click('toggle-chat');
    expect(document.querySelectorAll('.panel')).toHaveLength(1);
    await click('toggle-people');
    expect(the('.people').scrollTop).toBe(120);
  });

  it('keeps what is written and not sent', async () => {
    const call = await meeting();
    await press('c');
    await doing(() => call.setDraft('six lines'));
    await press('Escape');
    await press('c');
    expect((the('chat-input') as HTMLTextAreaElement).value).toBe('six lines');
  });
});

describe('a notice', () => {
  beforeEach(() => vi.restoreAllMocks());

  it('stands in one of two places that are always there, most urgent first, once', async () => {
    const call = await meeting();
    expect([...document.querySelectorAll('.notices')].map((place) => [place.getAttribute('role'), place.children.length])).toEqual([['status', 0], ['status', 0]]);
    await doing(() => {
      call.notices.tell({ kind: 'joined', names: ['Ana', 'Bo', 'Cy'] });
      call.notices.tell({ kind: 'muted-by-other' });
      call.notices.tell({ kind: 'muted-by-other' });
      call.notices.tell({ kind: 'sound' });
    });
    expect([...the('.notices--top').children].map(({ className }) => className)).toEqual(['banner', 'toast']);
    expect(the('.notices--corner').textContent).toBe('Ana and 2 others joined');
    await click('enable-sound');
    expect(document.querySelector('[data-testid="enable-sound"]')).toBeNull();
    await click('.notices--top .toast .icon-button');
    expect(the('.notices--top').children).toHaveLength(0);
  });

  it('of a message opens the chat', async () => {
    const call = await meeting();
    await doing(() => call.notices.tell({ kind: 'message', message: { id: 'a', identity: 'p-1', name: 'Jonas', isLocal: false, text: 'hello', at: 1, failed: false } }));
    await click('.toast--chat');
    expect(focus()).toBe('chat-input');
  });
});
