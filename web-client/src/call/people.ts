import { ConnectionQuality, Track, type LocalParticipant, type Participant, type RemoteAudioTrack, type RemoteParticipant, type Room, type TrackPublication } from 'livekit-client';
import { keptFields, keptList } from './kept';
import { canOf, roleOf } from './roles';
import type { Person, Picture, Quality } from './types';

/** How the people of a room are looked at. */
interface Look {
  /** Identities; only these are read anew, and whoever is new. Everybody where it is left out. */
  readonly changed?: ReadonlySet<string> | undefined;
  /** Whether the own token lets one run the meeting. */
  readonly hosting?: boolean;
}

/**
 * The people of a room, the local one first; objects that say the same as before are kept.
 */
export function peopleOf(room: Pick<Room, 'localParticipant' | 'remoteParticipants'>, before: readonly Person[], { changed, hosting = false }: Look = {}): readonly Person[] {
  const known = new Map(before.map((person) => [person.identity, person]));
  const read = (participant: LocalParticipant | RemoteParticipant): Person => {
    const was = known.get(participant.identity);
    return was && changed?.has(participant.identity) === false ? was : kept(was, personOf(participant, hosting));
  };
  const others = [...room.remoteParticipants.values()].map(read).sort((a, b) => a.joinedAt - b.joinedAt || (a.identity < b.identity ? -1 : 1));
  return keptList(before, [read(room.localParticipant), ...others]);
}

/** The sound there is to hear in a room: every audio track of somebody else that has arrived. */
export function soundsOf(room: Pick<Room, 'remoteParticipants'>): readonly RemoteAudioTrack[] {
  return [...room.remoteParticipants.values()].flatMap((participant) =>
    [...participant.audioTrackPublications.values()].flatMap((publication) => (publication.isSubscribed ? ((publication.audioTrack as RemoteAudioTrack | undefined) ?? []) : [])),
  );
}

/** The people shown while the connection is rebuilt: everyone stays where he was, without media. */
export function frozen(now: readonly Person[], before: readonly Person[]): readonly Person[] {
  const present = new Set(now.map((person) => person.identity));
  const missing = before
    .filter((person) => !present.has(person.identity) && !person.isLocal)
    .map((person) => keptFields(person, { ...person, quality: 'lost', camera: undefined, share: undefined }));
  return keptList(before, [...now, ...missing]);
}

function personOf(participant: LocalParticipant | RemoteParticipant, hosting: boolean): Person {
  return {
    identity: participant.identity,
    name: participant.name?.trim() || participant.identity,
    isLocal: participant.isLocal,
    role: roleOf(participant, hosting),
    can: canOf(participant),
    joinedAt: joinedAt(participant),
    muted: !participant.isMicrophoneEnabled,
    quality: qualityOf(participant.connectionQuality),
    camera: pictureOf(participant, Track.Source.Camera),
    share: pictureOf(participant, Track.Source.ScreenShare),
  };
}

function pictureOf(participant: LocalParticipant | RemoteParticipant, source: Track.Source): Picture | undefined {
  const publication: TrackPublication | undefined = participant.getTrackPublication(source);
  const track = publication?.videoTrack;
  if (!publication || !track || publication.isMuted) return undefined;
  return {
    // The media track changes where the device does; the element must be a fresh one then.
    key: `${publication.trackSid}/${track.mediaStreamTrack.id}`,
    media: track,
    mirrored: participant.isLocal && source === Track.Source.Camera && !looksAway(track.mediaStreamTrack),
    paused: !participant.isLocal && track.streamState === Track.StreamState.Paused,
  };
}

/** What a camera's settings say; to ask a browser for them costs more than all the rest of a person. */
const away = new WeakMap<MediaStreamTrack, boolean>();

/** Whether it is the camera at the back of a telephone. */
function looksAway(track: MediaStreamTrack): boolean {
  const known = away.get(track) ?? track.getSettings().facingMode === 'environment';
  away.set(track, known);
  return known;
}

function qualityOf(quality: ConnectionQuality): Quality {
  switch (quality) {
    case ConnectionQuality.Excellent:
      return 'good';
    case ConnectionQuality.Good:
      return 'fair';
    case ConnectionQuality.Poor:
      return 'poor';
    case ConnectionQuality.Lost:
      return 'lost';
    default:
      return 'unknown';
  }
}

function joinedAt(participant: Participant): number {
  return participant.joinedAt?.getTime() ?? 0;
}

function kept(before: Person | undefined, now: Person): Person {
  if (!before) return now;
  const camera = keptPicture(before.camera, now.camera);
  const share = keptPicture(before.share, now.share);
  return keptFields(before, { ...now, can: keptFields(before.can, now.can), camera, share });
}

function keptPicture(before: Picture | undefined, now: Picture | undefined): Picture | undefined {
  if (!before || !now) return now;
  return keptFields(before, now);
}
