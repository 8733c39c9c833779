import type { Size } from './types';

/** The shapes a tile may take, width over height. */
export interface Shape {
  readonly min: number;
  readonly max: number;
}

/** One cell of a grid. */
export interface Cell extends Size {
  readonly x: number;
  readonly y: number;
}

/** How `count` tiles share a rectangle. */
export interface Grid {
  readonly columns: number;
  readonly rows: number;
  /** Of one tile. */
  readonly size: Size;
}

/** The grid with the largest tiles. */
export function bestGrid(count: number, area: Size, gap: number, shape: Shape): Grid {
  let best: Grid = { columns: 1, rows: Math.max(1, count), size: { width: 0, height: 0 } };
  for (let columns = 1; columns <= Math.max(1, count); columns++) {
    const rows = Math.max(1, Math.ceil(count / columns));
    const size = fit({ width: (area.width - gap * (columns - 1)) / columns, height: (area.height - gap * (rows - 1)) / rows }, shape);
    if (size.width * size.height > best.size.width * best.size.height) best = { columns, rows, size };
  }
  return best;
}

/** How many tiles fit without any being narrower than `minWidth`, at most `limit`, at least one. */
export function capacity(area: Size, gap: number, shape: Shape, minWidth: number, limit: number): number {
  let count = 1;
  while (count < limit && bestGrid(count + 1, area, gap, shape).size.width >= minWidth) count++;
  return count;
}

/** The cells of a grid, centred in the area; a last row that is not full is centred too. */
export function cells(count: number, area: Size, gap: number, shape: Shape): Cell[] {
  const { columns, rows, size } = bestGrid(count, area, gap, shape);
  const top = (area.height - rows * size.height - (rows - 1) * gap) / 2;
  return Array.from({ length: count }, (_, index) => {
    const row = Math.floor(index / columns);
    const inRow = row === rows - 1 ? count - columns * (rows - 1) : columns;
    const left = (area.width - inRow * size.width - (inRow - 1) * gap) / 2;
    return { x: left + (index % columns) * (size.width + gap), y: top + row * (size.height + gap), ...size };
  });
}

/** The largest rectangle of an allowed shape inside a cell. */
export function fit(cell: Size, { min, max }: Shape): Size {
  const width = Math.max(0, cell.width);
  const height = Math.max(0, cell.height);
  if (height === 0 || width === 0) return { width: 0, height: 0 };
  const ratio = Math.min(max, Math.max(min, width / height));
  return width / height > ratio ? { width: height * ratio, height } : { width, height: width / ratio };
}
