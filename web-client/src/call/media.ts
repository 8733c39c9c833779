import { AudioPresets, VideoPresets, VideoPreset, type AudioCaptureOptions, type ReconnectPolicy, type RoomOptions, type ScreenShareCaptureOptions, type VideoCaptureOptions } from 'livekit-client';
import { savedDevice } from './devices';

/**
 * What is captured and sent. Layers are 180p, 360p and 720p so that a small tile costs a tenth of a
 * large one; VP8 because every browser encodes it in simulcast.
 */
export function roomOptions(reconnectPolicy: ReconnectPolicy): RoomOptions {
  return {
    reconnectPolicy,
    // Off-screen tiles are paused, others get the layer that fits their size.
    adaptiveStream: { pixelDensity: 'screen' },
    // Layers nobody watches are not even encoded.
    dynacast: true,
    audioCaptureDefaults: microphoneOptions(),
    videoCaptureDefaults: cameraOptions(),
    publishDefaults: {
      videoCodec: 'vp8',
      simulcast: true,
      videoEncoding: VideoPresets.h720.encoding,
      videoSimulcastLayers: [VideoPresets.h180, VideoPresets.h360],
      screenShareEncoding: SCREEN.encoding,
      // A reader with a thin line gets fewer pictures a second, never blurred letters.
      screenShareSimulcastLayers: [new VideoPreset(1920, 1080, 400_000, 3)],
      audioPreset: AudioPresets.speech,
      dtx: true,
      red: true,
    },
    stopLocalTrackOnUnpublish: true,
    disconnectOnPageLeave: true,
  };
}

/** Text must be sharp rather than smooth. */
const SCREEN = new VideoPreset(1920, 1080, 2_500_000, 15);

/** The chosen microphone, or the system's where it is gone. */
export function microphoneOptions(): AudioCaptureOptions {
  return { echoCancellation: true, noiseSuppression: true, autoGainControl: true, deviceId: ideal('audioinput') };
}

/** The chosen camera, or the system's where it is gone. */
export function cameraOptions(): VideoCaptureOptions {
  return { resolution: VideoPresets.h720.resolution, deviceId: ideal('videoinput') };
}

/** Sound of a tab comes along; the own tab is not offered, it would show itself without end. */
export const SCREEN_OPTIONS: ScreenShareCaptureOptions = {
  audio: true,
  selfBrowserSurface: 'exclude',
  surfaceSwitching: 'include',
  systemAudio: 'include',
  contentHint: 'detail',
  resolution: { width: SCREEN.width, height: SCREEN.height, frameRate: 15 },
};

function ideal(kind: MediaDeviceKind): ConstrainDOMString | undefined {
  const id = savedDevice(kind);
  return id === undefined ? undefined : { ideal: id };
}
