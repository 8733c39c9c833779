import { kept } from './storage';
import { Store } from './store';
import type { DeviceCause } from './types';

/** A device the participant may choose. */
export interface Device {
  readonly id: string;
  readonly label: string;
}

/** What is plugged in. Labels are empty until the browser was given permission once. */
export interface Devices {
  readonly microphones: readonly Device[];
  readonly cameras: readonly Device[];
  readonly speakers: readonly Device[];
}

const NONE: Devices = { microphones: [], cameras: [], speakers: [] };

/** The devices plugged in; follows what is plugged and unplugged. */
export const devices = new Store<Devices>(NONE);

/** Reads the list anew; call it after permission was given, for only then devices have names. */
export async function refreshDevices(): Promise<void> {
  if (!hasMediaDevices()) return;
  const all = await navigator.mediaDevices.enumerateDevices().catch(() => []);
  const of = (kind: MediaDeviceKind): Device[] =>
    all.filter((device) => device.kind === kind && device.deviceId !== '').map(({ deviceId, label }) => ({ id: deviceId, label }));
  devices.set({ microphones: of('audioinput'), cameras: of('videoinput'), speakers: of('audiooutput') });
}

/** Starts to follow plugging and unplugging; for the life of the page. */
export function followDevices(): void {
  if (!hasMediaDevices()) return;
  navigator.mediaDevices.addEventListener('devicechange', () => void refreshDevices());
  void refreshDevices();
}

/** False on pages without TLS: the browser then hides cameras and microphones altogether. */
export function hasMediaDevices(): boolean {
  return typeof navigator !== 'undefined' && (navigator.mediaDevices as MediaDevices | undefined) !== undefined;
}

/** Whether a screen can be shared at all; telephones cannot. */
export function canShareScreen(): boolean {
  return hasMediaDevices() && typeof (navigator.mediaDevices as Partial<MediaDevices>).getDisplayMedia === 'function';
}

/** Whether another speaker can be chosen. */
export function canChooseSpeaker(): boolean {
  return typeof HTMLMediaElement !== 'undefined' && 'setSinkId' in HTMLMediaElement.prototype;
}

/** The device chosen last time, if any. */
export function savedDevice(kind: MediaDeviceKind): string | undefined {
  const id = kept.read(`device.${kind}`);
  return id === '' ? undefined : id;
}

/** Remembers the choice for the next meeting. */
export function saveDevice(kind: MediaDeviceKind, id: string): void {
  kept.write(`device.${kind}`, id);
}

/** What the browser would say if asked for a device now. */
export async function permissionOf(device: 'microphone' | 'camera'): Promise<PermissionState> {
  try {
    return (await navigator.permissions.query({ name: device as PermissionName })).state;
  } catch {
    // Older browsers do not know these names; asking is then the only way to learn.
    return 'prompt';
  }
}

/** Tells when somebody gives or takes permission in the browser's own window; `stop` ends it. */
export function followPermission(device: 'microphone' | 'camera', tell: (state: PermissionState) => void): { stop(): void } {
  let status: PermissionStatus | undefined;
  let stopped = false;
  const changed = (): void => {
    if (status) tell(status.state);
  };
  void (async () => {
    try {
      status = await navigator.permissions.query({ name: device as PermissionName });
      if (!stopped) status.addEventListener('change', changed);
    } catch {
      // Older browsers do not know these names, and say nothing.
    }
  })();
  return {
    stop: () => {
      stopped = true;
      status?.removeEventListener('change', changed);
    },
  };
}

/** The reason a device failed, from the browser's exception. */
export function causeOf(error: unknown): DeviceCause {
  if (!hasMediaDevices()) return 'insecure';
  const name = nameOf(error);
  const message = error instanceof Error ? error.message : '';
  switch (name) {
    case 'NotAllowedError':
    case 'PermissionDeniedError':
    case 'SecurityError':
      // Chromium and Firefox tell the system's refusal apart in the message alone.
      return /system|platform|operating/i.test(message) ? 'system-denied' : 'browser-denied';
    case 'NotReadableError':
    case 'TrackStartError':
    case 'AbortError':
      return /permission|system/i.test(message) ? 'system-denied' : 'in-use';
    case 'NotFoundError':
    case 'DevicesNotFoundError':
    case 'OverconstrainedError':
      return 'missing';
    default:
      return 'unknown';
  }
}

function nameOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'name' in error ? String(error.name) : '';
}
