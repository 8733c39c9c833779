import { ConnectionState, DefaultReconnectPolicy, DisconnectReason, Participant, Room, RoomEvent } from 'livekit-client';
import { AudioOut } from './audio-out';
import { Chat } from './chat';
import { difference } from './difference';
import { hostsByToken } from './jwt';
import { keptList } from './kept';
import { leftOfEntry, leftOfJoinError, reasonOfDisconnect, type Place } from './leave';
import { unreachable } from './left';
import { roomOptions } from './media';
import { Notices } from './notices';
import { OwnDevices } from './own-devices';
import { frozen, peopleOf, soundsOf } from './people';
import type { OpenTracks } from './preview';
import { freshToken, onSentAway, onServerStop } from './restart';
import { canOf } from './roles';
import { Store } from './store';
import { Presence } from './tabs';
import { Comings } from './throttle';
import { enter, socketOrigin, type TokenRequest } from './token';
import type { CallView, ConnectionSnapshot, Left, PeopleSnapshot, Person, Phase } from './types';

const BEFORE: ConnectionSnapshot = { phase: 'idle', room: '', access: 'token', token: undefined, left: undefined };

/**
 * Milliseconds until an attempt to join is given up. The engine's own limits add up to less, yet it
 * tries for ever where a proxy answers every path with 404.
 */
const JOIN_LIMIT = 40_000;

/**
 * Milliseconds between two looks at the room's state that no event asks for. The engine
 * (livekit-client 2.23) says that it has reconnected up to two seconds before it is done inside, and
 * withholds events meanwhile, some of them for ever; its state is right all the time.
 */
const LOOK_EVERY = 1000;

/** More people than this are a crowd. */
const CROWD = 5;

/**
 * Events after which the room may read differently. They only say when to look: everything shown,
 * heard and told comes from the room's state, so that an event that never comes makes it late, not
 * wrong.
 */
const CHANGES = [
  RoomEvent.ParticipantConnected,
  RoomEvent.ParticipantDisconnected,
  RoomEvent.ParticipantNameChanged,
  RoomEvent.ParticipantPermissionsChanged,
  RoomEvent.TrackSubscribed,
  RoomEvent.TrackUnsubscribed,
  RoomEvent.TrackPublished,
  RoomEvent.TrackUnpublished,
  RoomEvent.TrackMuted,
  RoomEvent.TrackUnmuted,
  RoomEvent.TrackStreamStateChanged,
  RoomEvent.LocalTrackPublished,
  RoomEvent.LocalTrackUnpublished,
  RoomEvent.ActiveDeviceChanged,
  RoomEvent.ConnectionQualityChanged,
  RoomEvent.Moved,
] as const;

/**
 * One stay in one meeting, from joining to the reason of leaving. It is not used twice: who comes back
 * makes another one.
 */
export class Call implements CallView {
  /** The engine underneath; for diagnostics. */
  readonly room = new Room(
    // A server that stops is not there a moment later: the way back is longer, and not the engine's.
    roomOptions({ nextRetryDelayInMs: (context) => (this.#serverStopped ? null : this.#patience.nextRetryDelayInMs(context)) }),
  );
  readonly connection = new Store<ConnectionSnapshot>(BEFORE);
  readonly people = new Store<PeopleSnapshot>({ list: [], speakers: [] });
  readonly notices = new Notices();
  readonly chat: Chat;
  readonly sending: OwnDevices;
  readonly #patience = new DefaultReconnectPolicy();
  readonly #audio = new AudioOut();
  readonly #comings: Comings;
  /** Names of the others by identity; `undefined` while everybody seems to come and go. */
  #present: ReadonlyMap<string, string> | undefined;
  #looking: ReturnType<typeof setInterval> | undefined;
  /** Whom the next look is about; `undefined` where none is due. */
  #changed: Set<string> | 'everybody' | undefined;
  #entered = false;
  #serverStopped = false;
  #hosting = false;
  #presence: Presence | undefined;
  #limit: ReturnType<typeof setTimeout> | undefined;

  /** @param before the call this one goes on from: what was said and written in it is still there. */
  constructor(before?: Call) {
    this.chat = new Chat(this.room, (message) => this.notices.tell({ kind: 'message', message }), before?.chat.getSnapshot());
    this.sending = new OwnDevices(this.room, { notices: this.notices, hangUp: () => void this.leave() });
    this.#comings = new Comings(({ joined, left }) => {
      // Of a crowd one wants to know how large it is, which the bar says, and not who comes and goes.
      if (this.people.getSnapshot().list.length > CROWD) return;
      if (joined.length > 0) this.notices.tell({ kind: 'joined', names: joined });
      if (left.length > 0) this.notices.tell({ kind: 'left', names: left });
    });
    this.#listen();
  }

  /** Enters the meeting and sends what is open, sound first. Never rejects: the outcome is in the snapshot. */
  async join(request: TokenRequest, tracks: OpenTracks): Promise<void> {
    const microphone = this.sending.own(tracks.microphone?.then((track) => [track]));
    const camera = this.sending.own(tracks.camera?.then((track) => [track]));
    if (this.#over()) return;
    if (!hasWebRtc()) {
      this.#end({ reason: 'no-rtc', detail: undefined, wasIn: false });
      return;
    }
    this.connection.patch({ phase: 'connecting', access: request.token === undefined ? 'link' : 'token' });
    this.#limit = setTimeout(() => {
      this.#end(unreachable(navigator));
      void this.room.disconnect();
    }, JOIN_LIMIT);
    const place = (): Place => ({ hostname: location.hostname, userAgent: navigator.userAgent, onLine: navigator.onLine });
    let sentAway: DisconnectReason | undefined;
    onSentAway(this.room, (reason) => (sentAway = reason));
    const entry = await enter(request);
    if (this.#over()) return;
    if (entry.state !== 'token') {
      this.#end(leftOfEntry(entry, place()));
      return;
    }
    try {
      await this.room.connect(socketOrigin(location.origin), entry.token);
    } catch (error) {
      this.#end(leftOfJoinError(error, place(), sentAway));
      return;
    }
    if (this.#over()) {
      await this.room.disconnect();
      return;
    }
    clearTimeout(this.#limit);
    this.#entered = true;
    this.#hearServerStop();
    window.__conclave = { room: this.room };
    this.connection.patch({ phase: 'connected' });
    this.sending.begin();
    this.#look();
    this.#presence = new Presence(request.room, () => {
      this.#end({ reason: 'duplicate', detail: undefined, wasIn: true });
      void this.room.disconnect();
    });
    this.#looking = setInterval(() => this.#look(), LOOK_EVERY);
    const can = canOf(this.room.localParticipant);
    await Promise.all([
      microphone && (can.microphone ? this.sending.publish('microphone', () => microphone) : this.sending.drop(microphone)),
      camera && (can.camera ? this.sending.publish('camera', () => camera) : this.sending.drop(camera)),
    ]);
  }

  setMicrophone(on: boolean): Promise<void> {
    return this.sending.setMicrophone(on);
  }

  setCamera(on: boolean): Promise<void> {
    return this.sending.setCamera(on);
  }

  setShare(on: boolean): Promise<void> {
    return this.sending.setShare(on);
  }

  chooseDevice(kind: MediaDeviceKind, deviceId: string): Promise<void> {
    return this.sending.choose(kind, deviceId);
  }

  activeDevice(kind: MediaDeviceKind): string {
    return this.sending.active(kind);
  }

  microphoneTrack(): MediaStreamTrack | undefined {
    return this.sending.microphoneTrack();
  }

  sendChat(text: string): Promise<void> {
    return this.chat.send(text);
  }

  setDraft(draft: string): void {
    this.chat.patch({ draft });
  }

  showChat(open: boolean): void {
    this.chat.show(open);
    if (open) this.notices.end('message');
  }

  playSound(): Promise<void> {
    return this.sending.playSound();
  }

  dismiss(id: number): void {
    this.notices.dismiss(id);
  }

  async leave(): Promise<void> {
    // Whoever is cut off does not know who is still there.
    const alone = this.connection.getSnapshot().phase === 'connected' ? this.room.remoteParticipants.size === 0 : undefined;
    this.#end({ reason: 'left', detail: undefined, wasIn: this.#entered, alone });
    await this.room.disconnect();
  }

  #listen(): void {
    const { room } = this;
    for (const event of CHANGES) room.on(event, (...about: unknown[]) => this.#schedule(about));
    // Nothing else changes when the speaker does, and in a lively meeting that is several times a second.
    room.on(RoomEvent.ActiveSpeakersChanged, () => this.#lookWhoSpeaks());
    room.on(RoomEvent.ConnectionStateChanged, (state) => this.#onState(state)).on(RoomEvent.Disconnected, (reason) => this.#onDisconnected(reason));
  }

  #hearServerStop(): void {
    onServerStop(this.room, () => {
      this.#serverStopped = true;
    });
  }

  #over(): boolean {
    return this.connection.getSnapshot().phase === 'left';
  }

  #onState(state: ConnectionState): void {
    if (!this.#entered || this.#over()) return;
    const phases: Partial<Record<ConnectionState, Phase>> = {
      [ConnectionState.Connected]: 'connected',
      [ConnectionState.SignalReconnecting]: 'resuming',
      [ConnectionState.Reconnecting]: 'reconnecting',
    };
    const phase = phases[state];
    if (phase === undefined) return;
    this.connection.patch({ phase });
    this.notices.hold({ kind: 'resuming' }, phase === 'resuming');
    this.notices.hold({ kind: 'reconnecting' }, phase === 'reconnecting');
    if (phase === 'connected') this.#hearServerStop();
    this.#schedule([]);
  }

  #onDisconnected(reason: DisconnectReason | undefined): void {
    // A failed join is told by the rejection of `connect`, which knows more.
    if (!this.#entered || this.#over()) return;
    const told = reasonOfDisconnect(reason);
    this.#end({ reason: told === 'lost' && this.#serverStopped ? 'shutdown' : told, detail: undefined, wasIn: true });
  }

  /** Several events of one moment are one look, at those they are about. */
  #schedule(about: readonly unknown[]): void {
    const due = this.#changed !== undefined;
    const people = about.flat().filter((one) => one instanceof Participant);
    if (people.length === 0 || this.#changed === 'everybody') {
      this.#changed = 'everybody';
    } else {
      this.#changed = new Set([...(this.#changed ?? []), ...people.map(({ identity }) => identity)]);
    }
    if (due) return;
    queueMicrotask(() => {
      const changed = this.#changed;
      this.#changed = undefined;
      this.#look(changed === 'everybody' ? undefined : changed);
    });
  }

  /** @param changed whom to read anew; everybody where it is left out. */
  #look(changed?: ReadonlySet<string>): void {
    if (!this.#entered || this.#over()) return;
    const { phase, room, token } = this.connection.getSnapshot();
    const before = this.people.getSnapshot();
    const newest = freshToken(this.room) ?? token;
    if (newest !== token) this.#hosting = newest !== undefined && hostsByToken(newest);
    const now = peopleOf(this.room, before.list, { changed: newest === token ? changed : undefined, hosting: this.#hosting });
    this.#audio.play(soundsOf(this.room));
    this.#tellComings(phase === 'reconnecting' ? undefined : now);
    this.sending.look();
    // Another room where a moderator moved us there.
    this.connection.patch({ room: this.room.name || room, token: newest });
    this.people.patch({ list: phase === 'reconnecting' ? frozen(now, before.list) : now, speakers: this.#speakers() });
    this.notices.hold({ kind: 'weak' }, phase === 'connected' && now[0]?.quality === 'poor');
  }

  #lookWhoSpeaks(): void {
    if (this.#entered && !this.#over()) this.people.patch({ speakers: this.#speakers() });
  }

  #speakers(): readonly string[] {
    // While the connection is rebuilt, the engine still has those who spoke before.
    const speakers = this.connection.getSnapshot().phase === 'reconnecting' ? [] : this.room.activeSpeakers;
    return keptList(
      this.people.getSnapshot().speakers,
      speakers.map((speaker) => speaker.identity),
    );
  }

  /** Who has come and gone since the last look; nobody after a reconnection, where all of them did. */
  #tellComings(people: readonly Person[] | undefined): void {
    const before = this.#present;
    this.#present = people && new Map(people.filter((person) => !person.isLocal).map((person) => [person.identity, person.name]));
    if (!before || !this.#present) return;
    const { missing, surplus } = difference(before.keys(), this.#present.keys());
    for (const identity of missing) this.#comings.joined(this.#present.get(identity) ?? identity);
    for (const identity of surplus) this.#comings.left(before.get(identity) ?? identity);
  }

  #end(left: Left): void {
    if (this.#over()) return;
    const reason = left.reason === 'ended' && this.connection.getSnapshot().access === 'token' ? 'closed' : left.reason;
    this.connection.patch({ phase: 'left', left: { ...left, reason } });
    this.sending.close();
    this.#presence?.close();
    clearTimeout(this.#limit);
    clearInterval(this.#looking);
    this.#comings.close();
    this.chat.close();
    this.notices.close();
    this.#audio.close();
  }
}

function hasWebRtc(): boolean {
  return typeof RTCPeerConnection !== 'undefined';
}

declare global {
  interface Window {
    /** For diagnostics and tests: the engine of the running call. */
    __conclave?: { room: Room };
  }
}
