import { ParticipantKind, Track } from 'livekit-client';
import { describe, expect, it } from 'vitest';
import { canOf, roleOf } from './roles';

type Somebody = Parameters<typeof canOf>[0];
const somebody = (permissions?: object, isLocal = true, kind = ParticipantKind.STANDARD) => ({ isLocal, kind, permissions }) as unknown as Somebody;
const MAY = { canPublish: true, canPublishData: true, canPublishSources: [] };

describe('a role', () => {
  it('is that of a host only for oneself: of others nobody here knows', () => {
    expect(roleOf(somebody(MAY), true)).toBe('host');
    expect(roleOf(somebody(MAY, false), true)).toBe('participant');
  });
  it('is that of a listener without the right to send', () => expect(roleOf(somebody({ ...MAY, canPublish: false }, false), false)).toBe('listener'));
  it('is that of an agent for what is no person', () => expect(roleOf(somebody(MAY, false, ParticipantKind.AGENT), false)).toBe('agent'));
});

describe('what one may do', () => {
  it('is everything to oneself until the server says otherwise', () => {
    for (const permissions of [undefined, MAY]) expect(canOf(somebody(permissions))).toEqual({ microphone: true, camera: true, share: true, chat: true, pin: true });
  });
  it('is as much as may be sent', () => {
    expect(canOf(somebody({ ...MAY, canPublish: false }))).toMatchObject({ microphone: false, camera: false, share: false, chat: true });
    expect(canOf(somebody({ ...MAY, canPublishData: false }))).toMatchObject({ microphone: true, chat: false });
    const only = [Track.sourceToProto(Track.Source.Microphone)];
    expect(canOf(somebody({ ...MAY, canPublishSources: only }))).toMatchObject({ microphone: true, camera: false, share: false });
  });
  it('is to look at others, and nothing in their name', () => {
    expect(canOf(somebody(MAY, false))).toEqual({ microphone: false, camera: false, share: false, chat: false, pin: true });
  });
});
