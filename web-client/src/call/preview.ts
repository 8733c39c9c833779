import { createLocalAudioTrack, createLocalTracks, createLocalVideoTrack, LocalAudioTrack, LocalVideoTrack } from 'livekit-client';
import { causeOf, followPermission, hasMediaDevices, permissionOf, refreshDevices, saveDevice, savedDevice } from './devices';
import { cameraOptions, microphoneOptions } from './media';
import { kept } from './storage';
import { Store } from './store';
import type { DeviceCause, Picture } from './types';

/** One device before the meeting. */
export interface PreviewDevice {
  readonly on: boolean;
  readonly busy: boolean;
  readonly problem: DeviceCause | undefined;
}

/** What one sees of oneself before joining. */
export interface PreviewSnapshot {
  /** `ask`: the browser would ask now, so the person is told why first. */
  readonly stage: 'looking' | 'ask' | 'ready';
  readonly microphone: PreviewDevice;
  readonly camera: PreviewDevice;
  readonly picture: Picture | undefined;
  /** The open microphone, for a level meter. */
  readonly sound: MediaStreamTrack | undefined;
}

/**
 * Devices handed over to the call, so that they are not opened twice: open ones, and those that still start (a camera may
 * take seconds). A device that does not start rejects; it is `undefined` where it is not wanted.
 */
export interface OpenTracks {
  readonly microphone: Promise<LocalAudioTrack> | undefined;
  readonly camera: Promise<LocalVideoTrack> | undefined;
}

const OFF: PreviewDevice = { on: false, busy: false, problem: undefined };
const BUSY: PreviewDevice = { on: false, busy: true, problem: undefined };

/** Camera and microphone before the meeting. */
export class Preview extends Store<PreviewSnapshot> {
  /** Open or starting. */
  #microphone: Promise<LocalAudioTrack> | undefined;
  #camera: Promise<LocalVideoTrack> | undefined;
  #openMicrophone: LocalAudioTrack | undefined;
  #openCamera: LocalVideoTrack | undefined;
  #closed = false;
  /** What was blocked and is allowed now needs no second click. */
  readonly #permissions = (['microphone', 'camera'] as const).map((device) => followPermission(device, (state) => void this.#allowed(device, state)));

  constructor() {
    super({ stage: 'looking', microphone: OFF, camera: OFF, picture: undefined, sound: undefined });
  }

  /**
   * Opens what the browser already allows and the person wanted last time; asks for nothing.
   *
   * @param wait opens nothing before a click.
   */
  async start({ wait = false } = {}): Promise<void> {
    if (!hasMediaDevices()) {
      const insecure: PreviewDevice = { ...OFF, problem: 'insecure' };
      this.patch({ stage: 'ready', microphone: insecure, camera: insecure });
      return;
    }
    const [microphone, camera] = await Promise.all([permissionOf('microphone'), permissionOf('camera')]);
    if (this.#closed) return;
    const denied: PreviewDevice = { ...OFF, problem: 'browser-denied' };
    if (microphone === 'denied') this.patch({ microphone: denied });
    if (camera === 'denied') this.patch({ camera: denied });
    if (wait || (microphone !== 'granted' && camera !== 'granted')) {
      this.patch({ stage: microphone === 'denied' && camera === 'denied' ? 'ready' : 'ask' });
      return;
    }
    this.patch({ stage: 'ready' });
    await Promise.all([
      microphone === 'granted' && wanted('microphone') ? this.setMicrophone(true) : undefined,
      camera === 'granted' && wanted('camera') ? this.setCamera(true) : undefined,
    ]);
  }

  /** Asks for both devices with one question, then for each alone where both together fail. */
  async allow(): Promise<void> {
    const both = createLocalTracks({ audio: microphoneOptions(), video: cameraOptions() });
    const microphone = both.then(
      (tracks) => found(tracks.find((track) => track instanceof LocalAudioTrack)),
      () => createLocalAudioTrack(microphoneOptions()),
    );
    const camera = both.then(
      (tracks) => found(tracks.find((track) => track instanceof LocalVideoTrack)),
      // One question after the other.
      () => microphone.catch(() => undefined).then(() => createLocalVideoTrack(cameraOptions())),
    );
    await Promise.all([this.#openSound(microphone), this.#openPicture(camera)]);
    this.patch({ stage: 'ready' });
  }

  /** Goes on without asking for any device. */
  skip(): void {
    this.patch({ stage: 'ready' });
  }

  async setMicrophone(on: boolean): Promise<void> {
    if (this.getSnapshot().microphone.busy) return;
    want('microphone', on);
    if (!on) {
      this.#openMicrophone?.stop();
      this.#microphone = this.#openMicrophone = undefined;
      this.patch({ microphone: OFF, sound: undefined });
      return;
    }
    this.patch({ stage: 'ready' });
    await this.#openSound(createLocalAudioTrack(microphoneOptions()));
  }

  async setCamera(on: boolean): Promise<void> {
    if (this.getSnapshot().camera.busy) return;
    want('camera', on);
    if (!on) {
      this.#openCamera?.stop();
      this.#camera = this.#openCamera = undefined;
      this.patch({ camera: OFF, picture: undefined });
      return;
    }
    this.patch({ stage: 'ready' });
    await this.#openPicture(createLocalVideoTrack(cameraOptions()));
  }

  /** Changes to another device; one that was off stays off. */
  async chooseDevice(kind: MediaDeviceKind, id: string): Promise<void> {
    saveDevice(kind, id);
    const { microphone, camera } = this.getSnapshot();
    if (kind === 'audioinput' && microphone.on) {
      await this.setMicrophone(false);
      await this.setMicrophone(true);
    } else if (kind === 'videoinput' && camera.on) {
      await this.setCamera(false);
      await this.setCamera(true);
    }
  }

  /** The id in use, or an empty string. */
  activeDevice(kind: MediaDeviceKind): string {
    const track = kind === 'audioinput' ? this.#openMicrophone : kind === 'videoinput' ? this.#openCamera : undefined;
    return track?.mediaStreamTrack.getSettings().deviceId ?? savedDevice(kind) ?? '';
  }

  /** Hands the devices over, also those that still start; the preview is done then. */
  take(): OpenTracks {
    const tracks = { microphone: this.#microphone, camera: this.#camera };
    this.#microphone = this.#camera = undefined;
    this.#closed = true;
    for (const permission of this.#permissions) permission.stop();
    return tracks;
  }

  /** Turns the devices off. No light may stay on, nor come on late. */
  close(): void {
    stopTracks(this.take());
  }

  /** The browser's own window was used, not ours. */
  async #allowed(device: 'microphone' | 'camera', state: PermissionState): Promise<void> {
    const now = this.getSnapshot()[device];
    if (this.#closed || now.on || now.busy) return;
    if (state === 'denied') this.patch({ [device]: { ...OFF, problem: 'browser-denied' } });
    else if (state === 'granted' && now.problem === 'browser-denied') await (device === 'microphone' ? this.setMicrophone(true) : this.setCamera(true));
    else if (now.problem === 'browser-denied') this.patch({ [device]: OFF });
  }

  async #openSound(opening: Promise<LocalAudioTrack>): Promise<void> {
    this.#microphone = opening;
    this.patch({ microphone: BUSY });
    try {
      const track = await opening;
      // Whoever took it over meanwhile, or turned it off, has it.
      if (this.#microphone !== opening) return;
      this.#openMicrophone = track;
      this.patch({ microphone: { ...OFF, on: true }, sound: track.mediaStreamTrack });
    } catch (error) {
      if (this.#microphone !== opening) return;
      this.#microphone = undefined;
      this.patch({ microphone: { ...OFF, problem: causeOf(error) } });
    }
    void refreshDevices();
  }

  async #openPicture(opening: Promise<LocalVideoTrack>): Promise<void> {
    this.#camera = opening;
    this.patch({ camera: BUSY });
    try {
      const track = await opening;
      if (this.#camera !== opening) return;
      this.#openCamera = track;
      const mirrored = track.mediaStreamTrack.getSettings().facingMode !== 'environment';
      this.patch({ camera: { ...OFF, on: true }, picture: { key: track.mediaStreamTrack.id, media: track, mirrored, paused: false } });
    } catch (error) {
      if (this.#camera !== opening) return;
      this.#camera = undefined;
      this.patch({ camera: { ...OFF, problem: causeOf(error) } });
    }
    void refreshDevices();
  }
}

/** Opens devices without a preview. */
export function openDevices(want: { readonly microphone: boolean; readonly camera: boolean }): OpenTracks {
  if (!hasMediaDevices()) return { microphone: undefined, camera: undefined };
  const tracks = {
    microphone: want.microphone ? createLocalAudioTrack(microphoneOptions()) : undefined,
    camera: want.camera ? createLocalVideoTrack(cameraOptions()) : undefined,
  };
  void Promise.allSettled([tracks.microphone, tracks.camera]).then(refreshDevices);
  return tracks;
}

/** Turns devices off, also those that still start. */
export function stopTracks({ microphone, camera }: OpenTracks): void {
  for (const opening of [microphone, camera]) {
    void opening?.then(
      (track) => track.stop(),
      () => undefined,
    );
  }
}

function found<T>(track: T | undefined): T {
  if (track === undefined) throw new DOMException('', 'NotFoundError');
  return track;
}

function wanted(device: 'microphone' | 'camera'): boolean {
  return kept.read(`want.${device}`) !== 'no';
}

function want(device: 'microphone' | 'camera', on: boolean): void {
  kept.write(`want.${device}`, on ? 'yes' : 'no');
}
