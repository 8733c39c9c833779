import { ConnectionQuality, type Room } from 'livekit-client';
import { describe, expect, it } from 'vitest';
import { frozen, peopleOf } from './people';

/** Somebody of the engine; `read` counts how often it is asked. */
function somebody(identity: string, joinedAt: number, isLocal = false) {
  const one = {
    identity,
    isLocal,
    joinedAt: new Date(joinedAt),
    isMicrophoneEnabled: true,
    isSpeaking: false,
    connectionQuality: ConnectionQuality.Excellent,
    read: 0,
    getTrackPublication: () => undefined,
    get name() {
      one.read++;
      return identity.toUpperCase();
    },
  };
  return one;
}

function room(count: number) {
  const others = Array.from({ length: count }, (_, index) => somebody(`p${String(index)}`, count - index));
  const own = somebody('me', 99, true);
  const engine = { localParticipant: own, remoteParticipants: new Map(others.map((one) => [one.identity, one])) };
  return { engine: engine as unknown as Pick<Room, 'localParticipant' | 'remoteParticipants'>, others, own };
}

const identities = (people: readonly { identity: string }[]) => people.map(({ identity }) => identity);

describe('the people of a room', () => {
  it('are oneself, then the others as they came', () => expect(identities(peopleOf(room(3).engine, []))).toEqual(['me', 'p2', 'p1', 'p0']));

  it('stay the same objects while they say the same, and so does their list', () => {
    const { engine, others } = room(25);
    const before = peopleOf(engine, []);
    expect(peopleOf(engine, before)).toBe(before);
    if (others[7]) others[7].isMicrophoneEnabled = false;
    const after = peopleOf(engine, before);
    expect(after.filter((person, index) => person !== before[index]).map(({ identity, muted }) => [identity, muted])).toEqual([['p7', true]]);
  });

  it('are not all read anew for what happened to one of them', () => {
    const { engine, others, own } = room(25);
    const before = peopleOf(engine, []);
    for (const one of [...others, own]) one.read = 0;
    for (const one of others.slice(3, 5)) one.isMicrophoneEnabled = false;
    const after = peopleOf(engine, before, { changed: new Set(['p3']) });
    expect([...others, own].filter((one) => one.read > 0).map(({ identity }) => identity)).toEqual(['p3']);
    expect(after.filter(({ muted }) => muted).map(({ identity }) => identity)).toEqual(['p3']);
  });

  it('include who is new and not who is gone, whoever the look is about', () => {
    const { engine, others } = room(3);
    const before = peopleOf(engine, []);
    const remote = engine.remoteParticipants as unknown as Map<string, ReturnType<typeof somebody>>;
    remote.delete('p1');
    remote.set('new', somebody('new', 50));
    expect(others).toHaveLength(3);
    expect(identities(peopleOf(engine, before, { changed: new Set() }))).toEqual(['me', 'p2', 'p0', 'new']);
  });

  it('stay where they were while the connection is rebuilt, without what they sent', () => {
    const { engine } = room(2);
    const before = peopleOf(engine, []);
    (engine.remoteParticipants as unknown as Map<string, unknown>).clear();
    const while_ = frozen(peopleOf(engine, before), before);
    expect(identities(while_)).toEqual(['me', 'p1', 'p0']);
    expect(while_.slice(1).every(({ quality, camera }) => quality === 'lost' && !camera)).toBe(true);
    expect(frozen(while_.slice(0, 1), while_)).toBe(while_);
  });
});
