/** Reads how loud a microphone is. */
export interface Meter {
  /** 0 (silence) to 1 (as loud as it goes), on a scale the ear finds even. */
  level(): number;
  /** Whether the last look saw nothing but zeros: a dead or hardware-muted microphone. */
  dead(): boolean;
  close(): void;
}

/** -60 dBFS is shown as nothing: below lies the noise of a room. */
const FLOOR_DB = -60;

let shared: AudioContext | undefined;

/** The page's one audio context; browsers allow only a handful. */
export function audioContext(): AudioContext {
  shared ??= new AudioContext();
  if (shared.state === 'suspended') {
    const context = shared;
    const wake = (): void => void context.resume().catch(() => undefined);
    wake();
    // Without a click so far the browser keeps the context asleep.
    document.addEventListener('pointerdown', wake, { once: true });
    document.addEventListener('keydown', wake, { once: true });
  }
  return shared;
}

/**
 * Begins to measure; the track stays the caller's.
 *
 * @param window samples looked at, a power of two up to 32768.
 */
export function meterOf(track: MediaStreamTrack, window = 1024): Meter {
  const context = audioContext();
  const source = context.createMediaStreamSource(new MediaStream([track]));
  const analyser = context.createAnalyser();
  analyser.fftSize = window;
  source.connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const power = (): number => {
    analyser.getFloatTimeDomainData(samples);
    let sum = 0;
    for (const sample of samples) sum += sample * sample;
    return sum / samples.length;
  };
  return {
    level: () => levelOf(power()),
    dead: () => {
      if (context.state !== 'running') return false;
      analyser.getFloatTimeDomainData(samples);
      return samples.every((sample) => sample === 0);
    },
    close: () => source.disconnect(),
  };
}

/** The gauge's reading for a mean power of samples in [-1, 1]. */
export function levelOf(power: number): number {
  if (power <= 0) return 0;
  const db = 10 * Math.log10(power);
  return Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
}

/** Plays two soft notes on the chosen speaker, so that one hears that it works. */
export async function playTestSound(speaker: string | undefined): Promise<void> {
  const context = new AudioContext();
  try {
    if (speaker !== undefined && 'setSinkId' in context) {
      await (context as AudioContext & { setSinkId(id: string): Promise<void> }).setSinkId(speaker).catch(() => undefined);
    }
    const now = context.currentTime;
    note(context, 523.25, now, 0.5);
    const last = note(context, 783.99, now + 0.28, 0.9);
    await new Promise((resolve) => last.addEventListener('ended', resolve));
  } finally {
    await context.close();
  }
}

function note(context: AudioContext, hertz: number, at: number, seconds: number): OscillatorNode {
  const tone = context.createOscillator();
  const gain = context.createGain();
  tone.frequency.value = hertz;
  gain.gain.setValueAtTime(0, at);
  gain.gain.linearRampToValueAtTime(0.25, at + 0.02);
  gain.gain.exponentialRampToValueAtTime(0.001, at + seconds);
  tone.connect(gain).connect(context.destination);
  tone.start(at);
  tone.stop(at + seconds);
  return tone;
}
