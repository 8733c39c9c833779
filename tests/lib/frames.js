/** VP8's RTP clock, Hz. */
const CLOCK = 90_000;

/**
 * Reads a series of frames (requestVideoFrameCallback): the longest step of media time between two of them in seconds,
 * and the widths in their order. Media time is the RTP timestamp: a loaded machine that shows a frame late has not frozen.
 *
 * @param {Array<{rtp: number, width: number}>} frames
 */
export function freezes(frames) {
  let longest = 0;
  const sizes = [];
  for (const [index, frame] of frames.entries()) {
    if (sizes.at(-1) !== frame.width) sizes.push(frame.width);
    if (index === 0) continue;
    // Timestamps wrap at 2^32, and a step back is a fault of its own.
    const step = ((frame.rtp - frames[index - 1].rtp) | 0) / CLOCK;
    if (step < 0) throw new Error(`media time went back by ${-step} s at frame ${index}`);
    longest = Math.max(longest, step);
  }
  return { longest, sizes, count: frames.length };
}
