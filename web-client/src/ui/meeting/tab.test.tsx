import { describe, expect, it } from 'vitest';
import { calling, click, doing, draw, press, the } from '../../../test/dom';
import type { ChatMessage } from '../../call/types';
import { Meeting } from './meeting';

const message = (id: string): ChatMessage => ({ id, identity: 'p-1', name: 'Jonas', isLocal: false, text: id, at: 1, failed: false });

/** Whether closing the page would be asked about. */
function asks(): boolean {
  const event = new Event('beforeunload', { cancelable: true });
  window.dispatchEvent(event);
  return event.defaultPrevented;
}

describe('a tab in the background', () => {
  it('says how many messages came', async () => {
    const call = calling();
    await draw(<Meeting call={call} room="salle" />);
    expect(document.title).toBe('Meeting salle · Conclave');
    await doing(() => call.chat.patch({ unread: [message('a'), message('b')] }));
    expect(document.title).toBe('(2) Meeting salle · Conclave');
    await press('c');
    expect(document.title).toBe('Meeting salle · Conclave');
  });

  it('says by its icon that the microphone is on', async () => {
    const icon = document.createElement('link');
    Object.assign(icon, { rel: 'icon', href: '/favicon.svg' });
    document.head.append(icon);
    const call = calling();
    await draw(<Meeting call={call} room="salle" />);
    expect(icon.getAttribute('href')).toBe('/favicon-live.svg');
    await click('toggle-mic');
    expect(icon.getAttribute('href')).toBe('/favicon.svg');
    icon.remove();
  });

  it('is not closed by mistake over what is written and not sent', async () => {
    const call = calling();
    await draw(<Meeting call={call} room="salle" />);
    expect(asks()).toBe(false);
    await doing(() => call.setDraft('half a'));
    expect(asks()).toBe(true);
    await doing(() => call.setDraft(' '));
    expect(asks()).toBe(false);
    expect(the('meeting').dataset.phase).toBe('connected');
  });
});
