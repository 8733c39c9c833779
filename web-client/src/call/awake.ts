import type { Sending } from './types';

/** What the keys of a headset or a lock screen do. */
export interface Keys {
  microphone(): void;
  camera(): void;
  hangUp(): void;
}

/**
 * Keeps the screen on while one is in a meeting, and answers the keys of headsets and lock screens. Browsers that know
 * neither are left alone.
 */
export class Awake {
  #lock: WakeLockSentinel | undefined;
  #closed = false;

  constructor(keys: Keys) {
    document.addEventListener('visibilitychange', this.#again);
    void this.#hold();
    handle('togglemicrophone', keys.microphone);
    handle('togglecamera', keys.camera);
    handle('hangup', keys.hangUp);
  }

  /** Tells the system what is on. */
  show({ microphone, camera }: Sending): void {
    const session = mediaSession();
    try {
      void session?.setMicrophoneActive?.(microphone);
      void session?.setCameraActive?.(camera);
    } catch {
      // It knows the verb and not the device.
    }
  }

  close(): void {
    this.#closed = true;
    document.removeEventListener('visibilitychange', this.#again);
    for (const action of ['togglemicrophone', 'togglecamera', 'hangup'] as const) handle(action, null);
    void this.#lock?.release();
    this.#lock = undefined;
  }

  /** The browser takes the lock away when the page is hidden. */
  readonly #again = (): void => {
    if (document.visibilityState === 'visible') void this.#hold();
  };

  async #hold(): Promise<void> {
    if (this.#closed || (this.#lock && !this.#lock.released)) return;
    try {
      const lock = await (navigator as Partial<Navigator>).wakeLock?.request('screen');
      if (this.#closed) void lock?.release();
      else this.#lock = lock;
    } catch {
      // The battery is low, or the page hidden: the screen does as it likes.
    }
  }
}

/** @param action newer ones than the types know, too */
function handle(action: string, act: (() => void) | null): void {
  try {
    mediaSession()?.setActionHandler?.(action as MediaSessionAction, act);
  } catch {
    // An action this browser does not know.
  }
}

/** Not every browser has every verb. */
function mediaSession(): Partial<MediaSession> | undefined {
  return (navigator as Partial<Navigator>).mediaSession;
}
