import { capacity, cells, fit, type Cell, type Shape } from './grid';
import type { Item, Layout, LayoutInput, Placed, Size } from './types';

/** Pixels between tiles. */
const GAP = 10;
const PHONE_GAP = 8;
/** Below this width the window is treated as a telephone. */
const PHONE = 640;
/** A face narrower than this is no longer read. */
const MIN_TILE = 200;
const MIN_PHONE_TILE = 140;
/** More moving pictures than this strain most machines' decoders. */
const MAX_PAGE = 25;
const MAX_PHONE_PAGE = 8;
/** Below this height, a telephone on its side: what floats may cover less. */
const LOW = 480;
/** Wide enough for a face and a name, small enough to leave the share the window. */
const STRIP = 208;
const PHONE_STRIP = 112;
/** Beside a share a face may be smaller: one looks at the share. */
const MIN_STRIP_TILE = 96;

const WIDE: Shape = { min: 4 / 3, max: 16 / 9 };
const UPRIGHT: Shape = { min: 3 / 4, max: 16 / 9 };
const STRIP_SHAPE: Shape = { min: 4 / 3, max: 16 / 9 };

/** Where every tile goes. Pure: the same input gives the same picture. */
export function layout(input: LayoutInput): Layout {
  const { items, viewport } = input;
  if (items.length === 0 || viewport.width <= 0 || viewport.height <= 0) return { mode: 'empty', tiles: [], page: 0, pages: 1 };

  const large = onStage(input);
  if (large.length > 0) return stage(input, large);
  if (items.length === 1) return solo(items, viewport);
  if (items.length === 2 && items.some((item) => item.isLocal)) return duo(items, viewport);
  return grid(input);
}

/** What is made large: pins, else the shares of others, else the speaker where that view was chosen. */
function onStage({ items, pins, speakers, view }: LayoutInput): Item[] {
  const pinned = pins.flatMap((id) => items.find((item) => item.id === id) ?? []);
  if (pinned.length > 0) return pinned;

  // The newest share is last: it is the one people talk about. One's own would be a mirror in a mirror.
  const share = items.filter((item) => item.source === 'screen_share' && !item.isLocal).at(-1);
  if (share) return [share];

  if (view !== 'speaker' || items.length < 3) return [];
  const others = items.filter((item) => !item.isLocal);
  const speaking = speakers.flatMap((identity) => others.find((item) => item.identity === identity) ?? [])[0];
  const speaker = speaking ?? others[0];
  return speaker ? [speaker] : [];
}

function solo(items: readonly Item[], viewport: Size): Layout {
  return whole('solo', [...place(items, 'grid', cells(1, viewport, GAP, shapeFor(viewport)))]);
}

/** The other one fills the window, oneself floats in the corner. */
function duo(items: readonly Item[], viewport: Size): Layout {
  const gap = gapFor(viewport);
  const others = items.filter((item) => !item.isLocal);
  const own = items.filter((item) => item.isLocal);
  const portrait = viewport.height > viewport.width;
  const width = Math.min(portrait ? 116 : 240, viewport.width * (viewport.height < LOW ? 0.18 : 0.34));
  const height = portrait ? width / 0.75 : (width * 9) / 16;
  const shape: Shape = portrait ? { min: 0.4, max: 16 / 9 } : { min: 4 / 3, max: 2.2 };
  const main = cells(others.length, viewport, gap, shape);
  const right = main[0] ? main[0].x + main[0].width : viewport.width;
  const bottom = main[0] ? main[0].y + main[0].height : viewport.height;
  const corner = { x: right - width - gap - 4, y: bottom - height - gap - 4, width, height };
  return whole('duo', [...place(others, 'grid', main), ...place(own, 'float', [corner])]);
}

function grid({ items, viewport, page }: LayoutInput): Layout {
  const phone = isPhone(viewport);
  const gap = gapFor(viewport);
  const shape = shapeFor(viewport);
  const room = capacity(viewport, gap, shape, phone ? MIN_PHONE_TILE : MIN_TILE, phone ? MAX_PHONE_PAGE : MAX_PAGE);
  const part = pageOf(items, room, page);
  // Later pages keep the first one's tile size: turning a page must not make faces jump in size.
  const grid = part.pages > 1 ? cells(room, viewport, gap, shape) : cells(part.items.length, viewport, gap, shape);
  return { mode: 'grid', tiles: place(part.items, 'grid', grid), page: part.page, pages: part.pages };
}

function stage({ items, viewport, page }: LayoutInput, large: readonly Item[]): Layout {
  const phone = isPhone(viewport);
  const gap = gapFor(viewport);
  const ids = new Set(large.map((item) => item.id));
  const small = items.filter((item) => !ids.has(item.id));
  // Another share must not hide on a later page.
  const rest = [...small.filter((item) => item.source === 'screen_share'), ...small.filter((item) => item.source === 'camera')];
  const beside = viewport.width > viewport.height;
  const stageSize = rest.length === 0 ? viewport : beside ? besideStrip(viewport, phone, gap) : aboveStrip(viewport, gap);
  // A share is shown whole inside its tile, so the tile may take any shape.
  const shape: Shape = large.some((item) => item.source === 'screen_share') ? { min: 0.2, max: 5 } : { min: phone ? 0.5 : 1, max: 2.2 };
  const tiles = place(large, 'stage', cells(large.length, stageSize, gap, shape));
  if (rest.length === 0) return whole('stage', tiles);

  const area: Size = beside
    ? { width: viewport.width - stageSize.width - gap, height: viewport.height }
    : { width: viewport.width, height: viewport.height - stageSize.height - gap };
  const room = beside ? Math.max(1, Math.floor((area.height + gap) / (area.width / STRIP_SHAPE.max + gap))) : capacity(area, gap, UPRIGHT, MIN_STRIP_TILE, MAX_PHONE_PAGE);
  const part = pageOf(rest, room, page);
  const at = beside ? column(part.items.length, area, gap) : cells(part.items.length, area, gap, UPRIGHT);
  const strip = at.map((cell) => (beside ? { ...cell, x: cell.x + stageSize.width + gap } : { ...cell, y: cell.y + stageSize.height + gap }));
  return { mode: 'stage', tiles: [...tiles, ...place(part.items, 'strip', strip)], page: part.page, pages: part.pages };
}

function besideStrip(viewport: Size, phone: boolean, gap: number): Size {
  const strip = phone ? Math.min(PHONE_STRIP * 1.4, viewport.width * 0.28) : Math.min(STRIP, viewport.width * 0.28);
  return { width: viewport.width - strip - gap, height: viewport.height };
}

/** In an upright window a share is low by nature: what it cannot use belongs to the faces. */
function aboveStrip(viewport: Size, gap: number): Size {
  const height = Math.max(viewport.width * 0.75, viewport.height * 0.46);
  return { width: viewport.width, height: Math.min(height, viewport.height - PHONE_STRIP - gap) };
}

/** Equal tiles under each other, centred. */
function column(count: number, area: Size, gap: number): Cell[] {
  const tile = fit({ width: area.width, height: area.width / STRIP_SHAPE.max }, STRIP_SHAPE);
  const start = (area.height - count * tile.height - (count - 1) * gap) / 2;
  return Array.from({ length: count }, (_, index) => ({ x: 0, y: start + index * (tile.height + gap), ...tile }));
}

function pageOf(items: readonly Item[], size: number, wanted: number): { items: readonly Item[]; page: number; pages: number } {
  const pages = Math.max(1, Math.ceil(items.length / size));
  const page = Math.min(Math.max(0, wanted), pages - 1);
  return { items: items.slice(page * size, (page + 1) * size), page, pages };
}

function place(items: readonly Item[], role: Placed['role'], at: readonly { x: number; y: number; width: number; height: number }[]): Placed[] {
  // Whole pixels: a half one blurs every edge.
  return items.flatMap((item, index) => {
    const cell = at[index];
    return cell ? [{ ...item, role, x: Math.round(cell.x), y: Math.round(cell.y), width: Math.floor(cell.width), height: Math.floor(cell.height) }] : [];
  });
}

function whole(mode: Layout['mode'], tiles: Placed[]): Layout {
  return { mode, tiles, page: 0, pages: 1 };
}

function isPhone(viewport: Size): boolean {
  return Math.min(viewport.width, viewport.height) < PHONE && viewport.width < 900;
}

function gapFor(viewport: Size): number {
  return isPhone(viewport) ? PHONE_GAP : GAP;
}

function shapeFor(viewport: Size): Shape {
  return viewport.height > viewport.width ? UPRIGHT : WIDE;
}
