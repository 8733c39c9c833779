import { beforeEach, describe, expect, it, vi } from 'vitest';
import { calling, doing, draw, windowOf } from '../../../test/dom';
import type { Person } from '../../call/types';
import { Meeting } from './meeting';

/** How often each part was drawn. */
const drawn = vi.hoisted(() => new Map<string, number>());

vi.mock('../parts/avatar', () => ({
  Avatar: ({ identity }: { identity: string }) => {
    drawn.set(identity, (drawn.get(identity) ?? 0) + 1);
    return null;
  },
}));
vi.mock('../parts/heading', () => ({
  Heading: () => {
    drawn.set('meeting', (drawn.get('meeting') ?? 0) + 1);
    return null;
  },
}));

const message = (id: string) => ({ id, identity: 'p-2', name: 'Amara', isLocal: false, text: 'hello', at: 1, failed: false });

describe('a meeting of twenty-five', () => {
  beforeEach(() => {
    drawn.clear();
    windowOf(1440, 800);
  });

  async function meeting() {
    const call = calling('people=25');
    const host = await draw(<Meeting call={call} room="salle" />);
    expect(host.querySelectorAll('[data-testid="tile"]')).toHaveLength(25);
    drawn.clear();
    const becomes = (identity: string, change: Partial<Person>) =>
      call.people.patch({ list: call.people.getSnapshot().list.map((person) => (person.identity === identity ? { ...person, ...change } : person)) });
    return { call, host, becomes };
  }

  it('draws the tile of who is renamed anew, and nothing else', async () => {
    const { host, becomes } = await meeting();
    await doing(() => becomes('p-7', { name: 'Zoe' }));
    expect(host.querySelector('[data-identity="p-7"]')?.textContent).toContain('Zoe');
    expect([...drawn]).toEqual([['p-7', 1]]);
  });

  it('draws nothing for who speaks, and marks who is not muted', async () => {
    const { call, host, becomes } = await meeting();
    const marks = () => [...host.querySelectorAll('[data-speaking="true"]')].map((tile) => [tile.getAttribute('data-identity'), tile.querySelector('.tile-ring')?.getAttribute('aria-hidden')]);
    await doing(() => becomes('p-7', { muted: false }));
    drawn.clear();
    await doing(() => call.people.patch({ speakers: ['p-7'] }));
    expect(marks()).toEqual([['p-7', 'false']]);
    await doing(() => call.people.patch({ speakers: [] }));
    expect(marks()).toEqual([]);
    expect(host.querySelector('[data-identity="p-7"] .tile-ring')?.getAttribute('aria-hidden')).toBe('true');
    expect([...drawn]).toEqual([]);
    await doing(() => call.people.patch({ speakers: ['p-7'] }));
    await doing(() => becomes('p-7', { muted: true }));
    expect(marks()).toEqual([]);
  });

  it('draws no tile for a message', async () => {
    const { call, host } = await meeting();
    await doing(() => call.chat.patch({ log: [message('a')], unread: [message('a')] }));
    expect(host.querySelector('.round-badge')).not.toBeNull();
    expect([...drawn]).toEqual([]);
  });

  it('draws nothing for a device that starts but its button', async () => {
    const { call } = await meeting();
    await doing(() => call.setMicrophone(false));
    expect([...drawn]).toEqual([]);
  });
});
