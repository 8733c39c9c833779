import type { Size } from './types';

/** How a picture is looked at more closely: so many times as large, moved by so many pixels. */
export interface Zoom {
  readonly scale: number;
  readonly x: number;
  readonly y: number;
}

export const WHOLE: Zoom = { scale: 1, x: 0, y: 0 };

/** Small letters of a large screen are read on a telephone at this. */
const MAX = 6;
/** What a double tap makes of the whole. */
const CLOSE = 2.5;

/** A point in the tile, pixels from its corner. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** Larger or smaller by a factor; what is under the point stays there. Pure. */
export function zoomAt({ scale, x, y }: Zoom, factor: number, at: Point, size: Size): Zoom {
  const next = Math.min(MAX, Math.max(1, scale * factor));
  const by = next / scale;
  return within({ scale: next, x: at.x - (at.x - x) * by, y: at.y - (at.y - y) * by }, size);
}

/** Moved by so many pixels, never past an edge. */
export function moved(zoom: Zoom, dx: number, dy: number, size: Size): Zoom {
  return within({ ...zoom, x: zoom.x + dx, y: zoom.y + dy }, size);
}

/** Close where it was whole, whole where it was close. */
export function toggled(zoom: Zoom, at: Point, size: Size): Zoom {
  return zoom.scale > 1 ? WHOLE : zoomAt(zoom, CLOSE, at, size);
}

function within({ scale, x, y }: Zoom, { width, height }: Size): Zoom {
  const held = (value: number, room: number): number => Math.min(0, Math.max(room * (1 - scale), value)) + 0;
  return scale === 1 ? WHOLE : { scale, x: held(x, width), y: held(y, height) };
}
