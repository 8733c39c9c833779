import { createLocalAudioTrack, createLocalTracks, createLocalVideoTrack, LocalAudioTrack, LocalVideoTrack, type LocalTrack } from 'livekit-client';
import { causeOf, hasMediaDevices, permissionOf, refreshDevices, saveDevice, savedDevice } from './devices';
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

/** Open devices handed from the preview to the call, so that they are not opened twice. */
export interface OpenTracks {
  readonly microphone: LocalAudioTrack | undefined;
  readonly camera: LocalVideoTrack | undefined;
}

const OFF: PreviewDevice = { on: false, busy: false, problem: undefined };

/** Camera and microphone before the meeting. */
export class Preview extends Store<PreviewSnapshot> {
  #microphone: LocalAudioTrack | undefined;
  #camera: LocalVideoTrack | undefined;
  #closed = false;

  constructor() {
    super({ stage: 'looking', microphone: OFF, camera: OFF, picture: undefined, sound: undefined });
  }

  /** Opens what the browser already allows and the person wanted last time; asks for nothing. */
  async start(): Promise<void> {
    if (!hasMediaDevices()) {
      const insecure: PreviewDevice = { on: false, busy: false, problem: 'insecure' };
      this.patch({ stage: 'ready', microphone: insecure, camera: insecure });
      return;
    }
    const [microphone, camera] = await Promise.all([permissionOf('microphone'), permissionOf('camera')]);
    if (this.#closed) return;
    const denied: PreviewDevice = { on: false, busy: false, problem: 'browser-denied' };
    if (microphone === 'denied') this.patch({ microphone: denied });
    if (camera === 'denied') this.patch({ camera: denied });
    if (microphone !== 'granted' && camera !== 'granted') {
      this.patch({ stage: microphone === 'prompt' || camera === 'prompt' ? 'ask' : 'ready' });
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
    this.patch({ microphone: { ...OFF, busy: true }, camera: { ...OFF, busy: true } });
    try {
      const tracks = await createLocalTracks({ audio: microphoneOptions(), video: cameraOptions() });
      for (const track of tracks) this.#adopt(track);
      this.patch({ stage: 'ready', microphone: { ...OFF, on: true }, camera: { ...OFF, on: true } });
    } catch {
      this.patch({ stage: 'ready', microphone: OFF, camera: OFF });
      await this.setMicrophone(true);
      await this.setCamera(true);
    }
    void refreshDevices();
  }

  /** Goes on without asking for any device. */
  skip(): void {
    this.patch({ stage: 'ready' });
  }

  async setMicrophone(on: boolean): Promise<void> {
    if (this.getSnapshot().microphone.busy) return;
    want('microphone', on);
    if (!on) {
      this.#microphone?.stop();
      this.#microphone = undefined;
      this.patch({ microphone: OFF, sound: undefined });
      return;
    }
    this.patch({ stage: 'ready', microphone: { ...OFF, busy: true } });
    try {
      this.#adopt(await createLocalAudioTrack(microphoneOptions()));
      this.patch({ microphone: { ...OFF, on: true } });
    } catch (error) {
      this.patch({ microphone: { ...OFF, problem: causeOf(error) } });
    }
    void refreshDevices();
  }

  async setCamera(on: boolean): Promise<void> {
    if (this.getSnapshot().camera.busy) return;
    want('camera', on);
    if (!on) {
      this.#camera?.stop();
      this.#camera = undefined;
      this.patch({ camera: OFF, picture: undefined });
      return;
    }
    this.patch({ stage: 'ready', camera: { ...OFF, busy: true } });
    try {
      this.#adopt(await createLocalVideoTrack(cameraOptions()));
      this.patch({ camera: { ...OFF, on: true } });
    } catch (error) {
      this.patch({ camera: { ...OFF, problem: causeOf(error) } });
    }
    void refreshDevices();
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
    const track = kind === 'audioinput' ? this.#microphone : kind === 'videoinput' ? this.#camera : undefined;
    return track?.mediaStreamTrack.getSettings().deviceId ?? savedDevice(kind) ?? '';
  }

  /** Hands the open devices over; the preview is done then. */
  take(): OpenTracks {
    const tracks = { microphone: this.#microphone, camera: this.#camera };
    this.#microphone = undefined;
    this.#camera = undefined;
    this.#closed = true;
    return tracks;
  }

  /** Turns the devices off. */
  close(): void {
    const { microphone, camera } = this.take();
    microphone?.stop();
    camera?.stop();
  }

  #adopt(track: LocalTrack): void {
    if (this.#closed) {
      // The page moved on while the browser was asking: no light may stay on.
      track.stop();
    } else if (track instanceof LocalAudioTrack) {
      this.#microphone = track;
      this.patch({ sound: track.mediaStreamTrack });
    } else if (track instanceof LocalVideoTrack) {
      this.#camera = track;
      const mirrored = track.mediaStreamTrack.getSettings().facingMode !== 'environment';
      this.patch({ picture: { key: track.mediaStreamTrack.id, media: track, mirrored, paused: false } });
    }
  }
}

function wanted(device: 'microphone' | 'camera'): boolean {
  return kept.read(`want.${device}`) !== 'no';
}

function want(device: 'microphone' | 'camera', on: boolean): void {
  kept.write(`want.${device}`, on ? 'yes' : 'no');
}

/** Opens devices without a preview; one that fails is simply not there. */
export async function openDevices(want: { readonly microphone: boolean; readonly camera: boolean }): Promise<OpenTracks> {
  if (!hasMediaDevices()) return { microphone: undefined, camera: undefined };
  const [microphone, camera] = await Promise.all([
    want.microphone ? createLocalAudioTrack(microphoneOptions()).catch(() => undefined) : undefined,
    want.camera ? createLocalVideoTrack(cameraOptions()).catch(() => undefined) : undefined,
  ]);
  void refreshDevices();
  return { microphone, camera };
}
