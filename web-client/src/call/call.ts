import { ConnectionState, DefaultReconnectPolicy, DisconnectReason, Room, RoomEvent, Track, type LocalTrack, type LocalTrackPublication, type Participant, type TrackPublication } from 'livekit-client';
import { AudioOut } from './audio-out';
import { Awake } from './awake';
import { Chat } from './chat';
import { difference } from './difference';
import { causeOf, saveDevice, savedDevice } from './devices';
import { keptFields, keptList } from './kept';
import { leftOfJoinError, reasonOfDisconnect } from './leave';
import { unreachable } from './left';
import { roomOptions, SCREEN_OPTIONS } from './media';
import { frozen, peopleOf, soundsOf } from './people';
import type { OpenTracks } from './preview';
import { freshToken, onSentAway, onServerStop } from './restart';
import { SilenceWatch } from './silence';
import { Store } from './store';
import { Comings } from './throttle';
import { obtainToken, socketOrigin, type TokenRequest } from './token';
import type { CallSnapshot, CallView, DeviceProblem, Left, Notice, Person, Phase, Sending } from './types';

const NOT_SENDING: Sending = { microphone: false, camera: false, share: false, microphoneBusy: false, cameraBusy: false, shareBusy: false };

const BEFORE: CallSnapshot = {
  phase: 'idle',
  room: '',
  access: 'token',
  token: undefined,
  people: [],
  speakers: [],
  chat: [],
  draft: '',
  sending: NOT_SENDING,
  canPlaySound: true,
  silentMicrophone: false,
  problem: undefined,
  notices: [],
  left: undefined,
};

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

/**
 * Events after which the room may read differently. They only say when to look: everything shown,
 * heard and told comes from the room's state, so that an event that never comes makes it late, not
 * wrong.
 */
const CHANGES = [
  RoomEvent.ParticipantConnected,
  RoomEvent.ParticipantDisconnected,
  RoomEvent.ParticipantNameChanged,
  RoomEvent.TrackSubscribed,
  RoomEvent.TrackUnsubscribed,
  RoomEvent.TrackPublished,
  RoomEvent.TrackUnpublished,
  RoomEvent.TrackMuted,
  RoomEvent.TrackUnmuted,
  RoomEvent.TrackStreamStateChanged,
  RoomEvent.LocalTrackPublished,
  RoomEvent.LocalTrackUnpublished,
  RoomEvent.ActiveSpeakersChanged,
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
  readonly #patience = new DefaultReconnectPolicy();
  readonly #store: Store<CallSnapshot>;
  readonly #chat: Chat;
  readonly #audio = new AudioOut();
  readonly #comings: Comings;
  readonly #silence: SilenceWatch;
  /** Names of the others by identity; `undefined` while everybody seems to come and go. */
  #present: ReadonlyMap<string, string> | undefined;
  #looking: ReturnType<typeof setInterval> | undefined;
  #scheduled = false;
  #entered = false;
  #serverStopped = false;
  #limit: ReturnType<typeof setTimeout> | undefined;
  /** What was opened for this call, and what still starts. It goes off with the call, published or not. */
  readonly #opened = new Set<Promise<readonly LocalTrack[]>>();
  #awake: Awake | undefined;
  #noticeId = 0;
  /** Sources being toggled here, to tell an own mute from somebody else's. */
  readonly #toggling = new Set<Track.Source>();

  readonly subscribe: CallView['subscribe'];
  readonly getSnapshot: CallView['getSnapshot'];

  /** @param before the call this one goes on from: what was said and written in it is still there. */
  constructor(before?: Call) {
    const { chat = [], draft = '' } = before?.getSnapshot() ?? {};
    this.#store = new Store<CallSnapshot>({ ...BEFORE, chat, draft });
    this.subscribe = this.#store.subscribe;
    this.getSnapshot = this.#store.getSnapshot;
    this.#chat = new Chat(this.room, chat, () => this.#store.patch({ chat: this.#chat.log }));
    this.#comings = new Comings(({ joined, left }) => {
      if (joined.length > 0) this.#notice('joined', joined);
      if (left.length > 0) this.#notice('left', left);
    });
    this.#silence = new SilenceWatch((silentMicrophone) => {
      if (this.getSnapshot().silentMicrophone !== silentMicrophone) this.#store.patch({ silentMicrophone });
    });
    this.#listen();
  }

  /** Enters the meeting and sends what is open, sound first. Never rejects: the outcome is in the snapshot. */
  async join(request: TokenRequest, tracks: OpenTracks): Promise<void> {
    const microphone = this.#own(tracks.microphone?.then((track) => [track]));
    const camera = this.#own(tracks.camera?.then((track) => [track]));
    if (this.#over()) return;
    if (!hasWebRtc()) {
      this.#end({ reason: 'no-rtc', detail: undefined, wasIn: false });
      return;
    }
    this.#store.patch({ phase: 'connecting', access: request.token === undefined ? 'link' : 'token' });
    this.#limit = setTimeout(() => {
      this.#end(unreachable(navigator));
      void this.room.disconnect();
    }, JOIN_LIMIT);
    let sentAway: DisconnectReason | undefined;
    onSentAway(this.room, (reason) => (sentAway = reason));
    try {
      const token = await obtainToken(request);
      if (this.#over()) return;
      await this.room.connect(socketOrigin(location.origin), token);
    } catch (error) {
      this.#end(leftOfJoinError(error, { hostname: location.hostname, userAgent: navigator.userAgent, onLine: navigator.onLine }, sentAway));
      return;
    }
    if (this.#over()) {
      await this.room.disconnect();
      return;
    }
    clearTimeout(this.#limit);
    this.#entered = true;
    this.#awake = new Awake({
      microphone: () => void this.setMicrophone(!this.getSnapshot().sending.microphone),
      camera: () => void this.setCamera(!this.getSnapshot().sending.camera),
      hangUp: () => void this.leave(),
    });
    this.#hearServerStop();
    window.__conclave = { room: this.room };
    this.#store.patch({ phase: 'connected', canPlaySound: this.room.canPlaybackAudio });
    this.#refresh();
    this.#looking = setInterval(() => this.#refresh(), LOOK_EVERY);
    const speaker = savedDevice('audiooutput');
    if (speaker !== undefined) void this.room.switchActiveDevice('audiooutput', speaker, false).catch(() => undefined);
    await Promise.all([
      microphone && this.#publish('microphone', Track.Source.Microphone, () => microphone),
      camera && this.#publish('camera', Track.Source.Camera, () => camera),
    ]);
  }

  async setMicrophone(on: boolean): Promise<void> {
    const { localParticipant: local } = this.room;
    if (on && this.#isNew(Track.Source.Microphone)) await this.#publish('microphone', Track.Source.Microphone, () => local.createTracks({ audio: true }));
    else await this.#toggle('microphone', Track.Source.Microphone, () => local.setMicrophoneEnabled(on));
  }

  async setCamera(on: boolean): Promise<void> {
    const { localParticipant: local } = this.room;
    if (on && this.#isNew(Track.Source.Camera)) await this.#publish('camera', Track.Source.Camera, () => local.createTracks({ video: true }));
    else await this.#toggle('camera', Track.Source.Camera, () => local.setCameraEnabled(on));
  }

  async setShare(on: boolean): Promise<void> {
    const { localParticipant: local } = this.room;
    if (on && this.#isNew(Track.Source.ScreenShare)) await this.#publish('share', Track.Source.ScreenShare, () => local.createScreenTracks(SCREEN_OPTIONS));
    else await this.#toggle('share', Track.Source.ScreenShare, () => local.setScreenShareEnabled(on));
  }

  async chooseDevice(kind: MediaDeviceKind, deviceId: string): Promise<void> {
    saveDevice(kind, deviceId);
    try {
      await this.room.switchActiveDevice(kind, deviceId === '' ? 'default' : deviceId);
    } catch (error) {
      if (kind !== 'audiooutput' && !this.#over()) this.#problem(kind === 'audioinput' ? 'microphone' : 'camera', error);
    }
    this.#refresh();
  }

  activeDevice(kind: MediaDeviceKind): string {
    return this.room.getActiveDevice(kind) ?? savedDevice(kind) ?? '';
  }

  microphoneTrack(): MediaStreamTrack | undefined {
    const publication = this.room.localParticipant.getTrackPublication(Track.Source.Microphone);
    return publication && !publication.isMuted ? publication.track?.mediaStreamTrack : undefined;
  }

  sendChat(text: string): Promise<void> {
    return this.#chat.send(text);
  }

  setDraft(draft: string): void {
    this.#store.patch({ draft });
  }

  async playSound(): Promise<void> {
    await this.room.startAudio().catch(() => undefined);
    this.#store.patch({ canPlaySound: this.room.canPlaybackAudio });
  }

  dismissProblem(): void {
    this.#store.patch({ problem: undefined });
  }

  dismissNotice(id: number): void {
    this.#store.patch({ notices: this.getSnapshot().notices.filter((notice) => notice.id !== id) });
  }

  async leave(): Promise<void> {
    // Whoever is cut off does not know who is still there.
    const alone = this.getSnapshot().phase === 'connected' ? this.room.remoteParticipants.size === 0 : undefined;
    this.#end({ reason: 'left', detail: undefined, wasIn: this.#entered, alone });
    await this.room.disconnect();
  }

  #listen(): void {
    const { room } = this;
    for (const event of CHANGES) room.on(event, () => this.#schedule());
    room
      .on(RoomEvent.ConnectionStateChanged, (state) => this.#onState(state))
      .on(RoomEvent.Disconnected, (reason) => this.#onDisconnected(reason))
      .on(RoomEvent.TrackMuted, (publication, participant) => this.#onMuted(publication, participant))
      .on(RoomEvent.LocalTrackUnpublished, (publication) => this.#onUnpublished(publication))
      .on(RoomEvent.AudioPlaybackStatusChanged, () => this.#store.patch({ canPlaySound: room.canPlaybackAudio }));
  }

  #hearServerStop(): void {
    onServerStop(this.room, () => {
      this.#serverStopped = true;
    });
  }

  #over(): boolean {
    return this.getSnapshot().phase === 'left';
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
    this.#store.patch({ phase });
    if (phase === 'connected') this.#hearServerStop();
    this.#schedule();
  }

  #onDisconnected(reason: DisconnectReason | undefined): void {
    // A failed join is told by the rejection of `connect`, which knows more.
    if (!this.#entered || this.#over()) return;
    const told = reasonOfDisconnect(reason);
    this.#end({ reason: told === 'lost' && this.#serverStopped ? 'shutdown' : told, detail: undefined, wasIn: true });
  }

  #onMuted(publication: TrackPublication, participant: Participant): void {
    if (!participant.isLocal || this.#toggling.has(publication.source)) return;
    const ended = publication.track?.mediaStreamTrack.readyState === 'ended';
    if (publication.source === Track.Source.Microphone) this.#notice(ended ? 'microphone-ended' : 'muted-by-other', []);
    // A camera that is muted is also ended, whoever did it.
    else if (publication.source === Track.Source.Camera) this.#notice('camera-ended', []);
  }

  #onUnpublished(publication: LocalTrackPublication): void {
    if (publication.source === Track.Source.ScreenShare && !this.#toggling.has(Track.Source.ScreenShare) && !this.#over()) this.#notice('share-ended', []);
  }

  /** Switches off with the call what is open, or opens late. The engine does so with what is published only. */
  #own<T extends Promise<readonly LocalTrack[]> | undefined>(opening: T): T {
    if (!opening) return opening;
    if (this.#over()) stop(opening);
    else this.#opened.add(opening);
    // Whether it starts is asked once it is to be published.
    opening.catch(() => undefined);
    return opening;
  }

  /** Nothing is published that could be switched on again. While the engine reconnects, only it knows: it takes its tracks out and puts them in again. */
  #isNew(source: Track.Source): boolean {
    return this.room.state === ConnectionState.Connected && !this.room.localParticipant.getTrackPublication(source);
  }

  /** Publishes what is open or still starts; one sees that it does, and is told where it fails. */
  async #publish(device: 'microphone' | 'camera' | 'share', source: Track.Source, open: () => Promise<readonly LocalTrack[]>): Promise<void> {
    await this.#toggle(device, source, async () => {
      const tracks = await this.#own(open());
      if (this.#over()) return;
      try {
        await Promise.all(tracks.map((track) => this.room.localParticipant.publishTrack(track)));
      } catch (error) {
        for (const track of tracks) track.stop();
        throw error;
      }
    });
  }

  async #toggle(device: 'microphone' | 'camera' | 'share', source: Track.Source, act: () => Promise<unknown>): Promise<void> {
    if (this.#toggling.has(source) || this.#over()) return;
    this.#toggling.add(source);
    this.#refresh();
    try {
      await act();
    } catch (error) {
      if (!this.#over()) this.#problem(device === 'share' ? 'screen' : device, error);
    } finally {
      this.#toggling.delete(source);
      this.#refresh();
    }
  }

  #problem(device: DeviceProblem['device'], error: unknown): void {
    const cause = causeOf(error);
    // Closing the browser's picker is a choice, not a fault.
    if (device === 'screen' && cause === 'browser-denied') return;
    this.#store.patch({ problem: { device, cause } });
  }

  #notice(kind: Notice['kind'], names: readonly string[]): void {
    this.#store.patch({ notices: [...this.getSnapshot().notices, { id: ++this.#noticeId, kind, names }].slice(-3) });
  }

  /** Several events of one moment make one new snapshot. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#refresh();
    });
  }

  #refresh(): void {
    if (!this.#entered || this.#over()) return;
    const before = this.getSnapshot();
    const now = peopleOf(this.room, before.people);
    const local = this.room.localParticipant;
    this.#audio.play(soundsOf(this.room));
    this.#tellComings(before.phase === 'reconnecting' ? undefined : now);
    const sending = keptFields(before.sending, {
      microphone: local.isMicrophoneEnabled,
      camera: local.isCameraEnabled,
      share: local.isScreenShareEnabled,
      microphoneBusy: this.#toggling.has(Track.Source.Microphone),
      cameraBusy: this.#toggling.has(Track.Source.Camera),
      shareBusy: this.#toggling.has(Track.Source.ScreenShare),
    });
    if (sending !== before.sending) this.#awake?.show(sending);
    this.#store.patch({
      // Another one where a moderator moved us there.
      room: this.room.name || before.room,
      token: freshToken(this.room) ?? before.token,
      people: before.phase === 'reconnecting' ? frozen(now, before.people) : now,
      speakers: keptList(
        before.speakers,
        this.room.activeSpeakers.map((speaker) => speaker.identity),
      ),
      sending,
    });
    this.#silence.watch(this.microphoneTrack());
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
    const reason = left.reason === 'ended' && this.getSnapshot().access === 'token' ? 'closed' : left.reason;
    this.#store.patch({ phase: 'left', left: { ...left, reason } });
    for (const opening of this.#opened) stop(opening);
    clearTimeout(this.#limit);
    this.#awake?.close();
    clearInterval(this.#looking);
    this.#comings.close();
    this.#silence.close();
    this.#chat.close();
    this.#audio.close();
  }
}

function stop(opening: Promise<readonly LocalTrack[]>): void {
  void opening.then(
    (tracks) => {
      for (const track of tracks) track.stop();
    },
    () => undefined,
  );
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
