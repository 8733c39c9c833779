import { until } from './until.js';

/** A tone is there when it carries at least this share of a track's power. A clear one carries nine tenths. */
const CLEAR = 0.4;
/** Below this a track is silent (full scale is 1; the tones are sent at 0.3). */
const SILENT = 0.005;

/**
 * Everyone in the meeting hears everyone else who speaks, and nobody else; and sees everyone else's picture: own hue,
 * right size, frames that go on.
 *
 * @param {Array<any>} participants
 */
export async function everyoneHearsAndSees(participants, { limit = 45_000, pictures = true } = {}) {
  const present = participants.filter((one) => one.inMeeting);
  const tones = participants.map((one) => one.tone);
  const earlier = new Map();
  // Each pair once, from now on: a machine that is short of breath makes a gap here and there, and they need not be
  // free of gaps all at the same instant.
  const open = new Map();
  for (const listener of present) {
    open.set(listener, new Map(present.filter((one) => one !== listener).map((one) => [one, ['not asked yet']])));
  }
  const ask = async (listener) => {
    const heard = await listener.listen(tones);
    const seen = {};
    for (const source of pictures ? ['camera', 'screen_share'] : []) seen[source] = await listener.look(source);
    const before = earlier.get(listener) ?? {};
    earlier.set(listener, seen);

    const strangers = Object.keys(heard).filter((identity) => !present.some((one) => one.identity === identity));
    for (const speaker of open.get(listener).keys()) {
      const complaints = strangers.map((identity) => `${listener.name} still has ${identity}`);
      complaints.push(...unheard(listener, speaker, heard[speaker.identity]));
      for (const [source, views] of Object.entries(seen)) {
        complaints.push(...unseen(listener, speaker, source, views[speaker.identity], before[source]?.[speaker.identity]));
      }
      if (complaints.length === 0) open.get(listener).delete(speaker);
      else open.get(listener).set(speaker, complaints);
    }
  };
  const left = () => [...open.values()].flatMap((speakers) => [...speakers.values()].flat());
  await until(
    `${present.map((one) => one.name).join(', ')} hear and see one another`,
    async () => {
      await Promise.all(present.filter((one) => open.get(one).size > 0).map(ask));
      return left().length === 0;
    },
    { limit, every: 400, explain: () => left().map((line) => `  ${line}`).join('\n') },
  );
}

function unheard(listener, speaker, sound) {
  const who = `${listener.name} hears ${speaker.name}`;
  if (!sound || sound.missing) return speaker.microphone ? [`${who}: no track`] : [];
  if (sound.failed) return [`${who}: ${sound.failed}`];
  const share = sound.shares[speaker.tone];
  const figures = `share ${share.toFixed(2)}, loudness ${sound.loudness.toFixed(4)}`;
  if (speaker.microphone) {
    if (sound.muted) return [`${who}: marked as muted`];
    if (!sound.played) return [`${who}: not played`];
    if (share < CLEAR || sound.loudness < SILENT) return [`${who}: not the tone of ${speaker.tone} Hz (${figures})`];
    const foreign = Object.entries(sound.shares).filter(([tone, part]) => Number(tone) !== speaker.tone && part > 0.1);
    return foreign.map(([tone]) => `${who}: someone else's tone of ${tone} Hz`);
  }
  if (!sound.muted) return [`${who}: not marked as muted`];
  return sound.loudness > SILENT ? [`${who}: sound although muted (${figures})`] : [];
}

function unseen(listener, speaker, source, view, before) {
  const who = `${listener.name} sees the ${source} of ${speaker.name}`;
  const shown = source === 'camera' ? speaker.camera : speaker.screen;
  if (!shown) {
    // A camera that is off is muted, a screen that is no longer shared is gone.
    const off = !view || view.muted || view.missing;
    return off ? [] : [`${who}: still there`];
  }
  if (!view || view.missing) return [`${who}: no track`];
  if (view.muted) return [`${who}: marked as off`];
  const hue = source === 'camera' ? speaker.hue : (speaker.hue + 180) % 360;
  const complaints = [];
  if (view.hue === null || hueDistance(view.hue, hue) > 20) complaints.push(`${who}: hue ${view.hue?.toFixed(0)} instead of ${hue}`);
  if (!rightSize(speaker, source, view)) complaints.push(`${who}: size ${view.width}x${view.height}`);
  if (!before || view.frames <= before.frames) complaints.push(`${who}: no new frames (${before?.frames} -> ${view.frames}${view.why ? `; ${view.why}` : ''})`);
  return complaints;
}

/** One of the layers: the whole, a half or a quarter of what was captured. */
function rightSize(speaker, source, { width, height }) {
  const [fullWidth, fullHeight] = source === 'camera' ? [speaker.options.width, speaker.options.height] : [1280, 720];
  return [1, 2, 4].some((part) => Math.abs(width - fullWidth / part) <= 2 && Math.abs(height - fullHeight / part) <= 2);
}

function hueDistance(a, b) {
  const distance = Math.abs(a - b) % 360;
  return Math.min(distance, 360 - distance);
}
