import { ConnectionError, DisconnectReason } from 'livekit-client';
import { describe, expect, it } from 'vitest';
import { onSentAway, onServerStop } from './restart';

describe('a server that stops', () => {
  it('is heard of, and the engine hears of it too', () => {
    const heard: unknown[] = [];
    let told = 0;
    const room = { engine: { client: { onLeave: (leave: { reason?: DisconnectReason }) => void heard.push(leave) } } };
    onServerStop(room, () => told++);
    room.engine.client.onLeave({ reason: DisconnectReason.PARTICIPANT_REMOVED });
    expect(told).toBe(0);
    room.engine.client.onLeave({ reason: DisconnectReason.SERVER_SHUTDOWN });
    expect(told).toBe(1);
    expect(heard).toHaveLength(2);
  });

  it('is not heard of where the engine is made otherwise, and nothing breaks', () => {
    for (const room of [undefined, {}, { engine: {} }, { engine: { client: {} } }]) expect(() => onServerStop(room ?? {}, () => undefined)).not.toThrow();
  });
});

describe('a server that sends away who is just coming', () => {
  it('is heard of, and the engine hears of it too', async () => {
    const told: DisconnectReason[] = [];
    const outcomes = [Promise.resolve('in'), Promise.reject(new Error('gone')), Promise.reject(ConnectionError.leaveRequest('bye', DisconnectReason.JOIN_FAILURE))];
    const client = { join: () => outcomes.shift() ?? Promise.reject(new Error('once more')) };
    onSentAway({ engine: { client } }, (reason) => told.push(reason));
    expect(await client.join()).toBe('in');
    await expect(client.join()).rejects.toThrow('gone');
    await expect(client.join()).rejects.toThrow('bye');
    expect(told).toEqual([DisconnectReason.JOIN_FAILURE]);
  });

  it('is not heard of where the engine is made otherwise, and nothing breaks', () => {
    for (const room of [{}, { engine: {} }, { engine: { client: {} } }]) expect(() => onSentAway(room, () => undefined)).not.toThrow();
  });
});
