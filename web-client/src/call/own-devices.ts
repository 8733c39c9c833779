import { ConnectionState, RoomEvent, Track, type LocalTrack, type LocalTrackPublication, type Participant, type Room, type TrackPublication } from 'livekit-client';
import { Awake } from './awake';
import { causeOf, saveDevice, savedDevice } from './devices';
import { keptFields } from './kept';
import { SCREEN_OPTIONS } from './media';
import type { Notices } from './notices';
import { SilenceWatch } from './silence';
import { Store } from './store';
import type { DeviceProblem, Sending } from './types';

/** What can be sent. */
type Device = 'microphone' | 'camera' | 'share';

const NOT_SENDING: Sending = { microphone: false, camera: false, share: false, microphoneBusy: false, cameraBusy: false, shareBusy: false };

const SOURCES: Readonly<Record<Device, Track.Source>> = { microphone: Track.Source.Microphone, camera: Track.Source.Camera, share: Track.Source.ScreenShare };

interface Options {
  readonly notices: Notices;
  /** The key of a headset that ends calls. */
  hangUp(): void;
}

/** The devices of one call: what is sent and what starts. They go off with it. */
export class OwnDevices extends Store<Sending> {
  readonly #room: Room;
  readonly #options: Options;
  readonly #silence = new SilenceWatch((silent) => this.#options.notices.hold({ kind: 'silent' }, silent));
  /** What was opened for this call, and what still starts. It goes off with the call, published or not. */
  readonly #opened = new Set<Promise<readonly LocalTrack[]>>();
  /** Sources being toggled here, to tell an own mute from somebody else's. */
  readonly #toggling = new Set<Track.Source>();
  #awake: Awake | undefined;
  #over = false;

  constructor(room: Room, options: Options) {
    super(NOT_SENDING);
    this.#room = room;
    this.#options = options;
    room
      .on(RoomEvent.TrackMuted, (publication, participant) => this.#onMuted(publication, participant))
      .on(RoomEvent.LocalTrackUnpublished, (publication) => this.#onUnpublished(publication))
      .on(RoomEvent.AudioPlaybackStatusChanged, () => this.#heard());
  }

  /** The meeting is entered. */
  begin(): void {
    this.#awake = new Awake({
      microphone: () => void this.setMicrophone(!this.getSnapshot().microphone),
      camera: () => void this.setCamera(!this.getSnapshot().camera),
      hangUp: () => this.#options.hangUp(),
    });
    this.#heard();
    this.look();
    const speaker = savedDevice('audiooutput');
    if (speaker !== undefined) void this.#room.switchActiveDevice('audiooutput', speaker, false).catch(() => undefined);
  }

  async setMicrophone(on: boolean): Promise<void> {
    const { localParticipant: local } = this.#room;
    if (on && this.#isNew('microphone')) await this.publish('microphone', () => local.createTracks({ audio: true }));
    else await this.#toggle('microphone', () => local.setMicrophoneEnabled(on));
  }

  async setCamera(on: boolean): Promise<void> {
    const { localParticipant: local } = this.#room;
    if (on && this.#isNew('camera')) await this.publish('camera', () => local.createTracks({ video: true }));
    else await this.#toggle('camera', () => local.setCameraEnabled(on));
  }

  async setShare(on: boolean): Promise<void> {
    const { localParticipant: local } = this.#room;
    if (on && this.#isNew('share')) await this.publish('share', () => local.createScreenTracks(SCREEN_OPTIONS));
    else await this.#toggle('share', () => local.setScreenShareEnabled(on));
  }

  async choose(kind: MediaDeviceKind, deviceId: string): Promise<void> {
    saveDevice(kind, deviceId);
    try {
      await this.#room.switchActiveDevice(kind, deviceId === '' ? 'default' : deviceId);
    } catch (error) {
      if (kind !== 'audiooutput' && !this.#over) this.#problem(kind === 'audioinput' ? 'microphone' : 'camera', error);
    }
    this.look();
  }

  active(kind: MediaDeviceKind): string {
    return this.#room.getActiveDevice(kind) ?? savedDevice(kind) ?? '';
  }

  microphoneTrack(): MediaStreamTrack | undefined {
    const publication = this.#room.localParticipant.getTrackPublication(Track.Source.Microphone);
    return publication && !publication.isMuted ? publication.track?.mediaStreamTrack : undefined;
  }

  async playSound(): Promise<void> {
    await this.#room.startAudio().catch(() => undefined);
    this.#heard();
  }

  /** Switches off with the call what is open, or opens late. The engine does so with what is published only. */
  own<T extends Promise<readonly LocalTrack[]> | undefined>(opening: T): T {
    if (!opening) return opening;
    if (this.#over) stop(opening);
    else this.#opened.add(opening);
    // Whether it starts is asked once it is to be published.
    opening.catch(() => undefined);
    return opening;
  }

  /** Switches off what may not be sent here. */
  drop(opening: Promise<readonly LocalTrack[]>): void {
    this.#opened.delete(opening);
    stop(opening);
  }

  /** Publishes what is open or still starts; one sees that it does, and is told where it fails. */
  async publish(device: Device, open: () => Promise<readonly LocalTrack[]>): Promise<void> {
    await this.#toggle(device, async () => {
      const tracks = await this.own(open());
      if (this.#over) return;
      try {
        await Promise.all(tracks.map((track) => this.#room.localParticipant.publishTrack(track)));
      } catch (error) {
        for (const track of tracks) track.stop();
        throw error;
      }
    });
  }

  /** Reads what is sent. */
  look(): void {
    if (this.#over || !this.#awake) return;
    const local = this.#room.localParticipant;
    const before = this.getSnapshot();
    const sending = keptFields(before, {
      microphone: local.isMicrophoneEnabled,
      camera: local.isCameraEnabled,
      share: local.isScreenShareEnabled,
      microphoneBusy: this.#toggling.has(Track.Source.Microphone),
      cameraBusy: this.#toggling.has(Track.Source.Camera),
      shareBusy: this.#toggling.has(Track.Source.ScreenShare),
    });
    if (sending !== before) this.#awake.show(sending);
    this.set(sending);
    this.#silence.watch(this.microphoneTrack());
  }

  /** The call is over: no light stays on, nor comes on late. */
  close(): void {
    this.#over = true;
    for (const opening of this.#opened) stop(opening);
    this.#awake?.close();
    this.#silence.close();
  }

  #heard(): void {
    this.#options.notices.hold({ kind: 'sound' }, !this.#room.canPlaybackAudio);
  }

  #onMuted(publication: TrackPublication, participant: Participant): void {
    if (!participant.isLocal || this.#toggling.has(publication.source)) return;
    const ended = publication.track?.mediaStreamTrack.readyState === 'ended';
    if (publication.source === Track.Source.Microphone) this.#options.notices.tell({ kind: ended ? 'microphone-ended' : 'muted-by-other' });
    // A camera that is muted is also ended, whoever did it.
    else if (publication.source === Track.Source.Camera) this.#options.notices.tell({ kind: 'camera-ended' });
  }

  #onUnpublished(publication: LocalTrackPublication): void {
    if (publication.source === Track.Source.ScreenShare && !this.#toggling.has(Track.Source.ScreenShare) && !this.#over) this.#options.notices.tell({ kind: 'share-ended' });
  }

  /** Nothing is published that could be switched on again. While the engine reconnects, only it knows: it takes its tracks out and puts them in again. */
  #isNew(device: Device): boolean {
    return this.#room.state === ConnectionState.Connected && !this.#room.localParticipant.getTrackPublication(SOURCES[device]);
  }

  async #toggle(device: Device, act: () => Promise<unknown>): Promise<void> {
    const source = SOURCES[device];
    if (this.#toggling.has(source) || this.#over) return;
    this.#toggling.add(source);
    this.look();
    try {
      await act();
    } catch (error) {
      if (!this.#over) this.#problem(device === 'share' ? 'screen' : device, error);
    } finally {
      this.#toggling.delete(source);
      this.look();
    }
  }

  #problem(device: DeviceProblem['device'], error: unknown): void {
    const cause = causeOf(error);
    // Closing the browser's picker is a choice, not a fault.
    if (device === 'screen' && cause === 'browser-denied') return;
    this.#options.notices.tell({ kind: 'problem', problem: { device, cause } });
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
