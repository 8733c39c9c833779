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
      call.people.patch({ list: call.people.getSnapshot().list.map((person) => (person.identity === identity ? { ...person, ...change } : person)), speakers: change.speaking ? [identity] : [] });
    return { call, host, becomes };
  }

  it('draws the tile of who speaks anew, and nothing else', async () => {
    const { host, becomes } = await meeting();
    await doing(() => becomes('p-7', { speaking: true }));
    expect(host.querySelector('[data-identity="p-7"]')?.getAttribute('data-speaking')).toBe('true');
    await doing(() => becomes('p-7', { speaking: false }));
    expect([...drawn]).toEqual([['p-7', 2]]);
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
