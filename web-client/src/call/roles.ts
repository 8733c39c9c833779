import { ParticipantKind, Track, type LocalParticipant, type RemoteParticipant } from 'livekit-client';
import type { Can, Role } from './types';

/** What of a participant its role and rights are read from. */
type Somebody = Pick<LocalParticipant | RemoteParticipant, 'isLocal' | 'kind' | 'permissions'>;

/** The protocol's numbers of what can be sent. */
const SOURCES = { microphone: Track.sourceToProto(Track.Source.Microphone), camera: Track.sourceToProto(Track.Source.Camera), share: Track.sourceToProto(Track.Source.ScreenShare) };

/** @param hosting whether the own token lets one run the meeting; of others nobody here knows. */
export function roleOf({ isLocal, kind, permissions }: Somebody, hosting: boolean): Role {
  if (kind === ParticipantKind.AGENT) return 'agent';
  if (isLocal && hosting) return 'host';
  return permissions?.canPublish === false ? 'listener' : 'participant';
}

/**
 * What one may do to and with somebody: the one place that decides it. The interface asks this and never a role; the server
 * decides once more.
 */
export function canOf({ isLocal, permissions }: Somebody): Can {
  const sends = (source: number): boolean => {
    if (!isLocal || permissions?.canPublish === false) return false;
    const only: readonly number[] = permissions?.canPublishSources ?? [];
    return only.length === 0 || only.includes(source);
  };
  return {
    microphone: sends(SOURCES.microphone),
    camera: sends(SOURCES.camera),
    share: sends(SOURCES.share),
    chat: isLocal && permissions?.canPublishData !== false,
    pin: true,
  };
}
