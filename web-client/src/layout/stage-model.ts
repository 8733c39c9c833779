import { keptFields, keptList } from '../call/kept';
import { Store } from '../call/store';
import type { PeopleSnapshot, Person } from '../call/types';
import { layout } from './layout';
import { keepOrder } from './order';
import type { Item, Layout, Placed, Size, View } from './types';

/** What the stage shows now, and how it was asked to. A part that says the same as before is the same object. */
export interface StageSnapshot {
  readonly mode: Layout['mode'];
  /** In the order of arrival, whatever the layout: a video moved in the document would stop. */
  readonly tiles: readonly Placed[];
  /** The page shown, from zero. */
  readonly page: number;
  readonly pages: number;
  readonly pins: readonly string[];
  readonly view: View;
}

/** More large pictures than this are a grid again. */
const MAX_PINS = 3;

/** Remembers what a pure layout cannot: who was where, who spoke when, what was pinned. */
export class StageModel extends Store<StageSnapshot> {
  #people: readonly Person[] = [];
  #speakers: readonly string[] = [];
  #viewport: Size = { width: 0, height: 0 };
  #order: readonly string[] = [];
  #page = 0;
  readonly #lastSpoke = new Map<string, number>();

  constructor() {
    super({ mode: 'empty', tiles: [], page: 0, pages: 1, pins: [], view: 'grid' });
  }

  /** @param now any monotonic time; only its order matters. */
  setPeople({ list, speakers }: PeopleSnapshot, now: number): void {
    if (list === this.#people && speakers === this.#speakers) return;
    this.#people = list;
    this.#speakers = speakers;
    for (const identity of speakers) this.#lastSpoke.set(identity, now);
    this.#arrange({});
  }

  setViewport(viewport: Size): void {
    if (viewport.width === this.#viewport.width && viewport.height === this.#viewport.height) return;
    this.#viewport = viewport;
    this.#arrange({});
  }

  readonly setView = (view: View): void => {
    this.#arrange({ view });
  };

  readonly setPage = (page: number): void => {
    this.#page = page;
    this.#arrange({});
  };

  /** Makes a picture large, or small again. */
  readonly togglePin = (id: string): void => {
    const { pins } = this.getSnapshot();
    this.#arrange({ pins: pins.includes(id) ? pins.filter((pin) => pin !== id) : [...pins, id].slice(-MAX_PINS) });
  };

  #arrange(change: Partial<Pick<StageSnapshot, 'pins' | 'view'>>): void {
    const { pins, view } = { ...this.getSnapshot(), ...change };
    const items = itemsOf(this.#people);
    const input = { speakers: this.#speakers, pins, view, viewport: this.#viewport };
    const firstPage = layout({ ...input, items, page: 0 }).tiles.length;
    const ordered = keepOrder(items, this.#order, firstPage, this.#speakers, this.#lastSpoke);
    this.#order = ordered.map((item) => item.id);
    const next = layout({ ...input, items: ordered, page: this.#page });
    this.#page = next.page;
    const was = new Map(this.getSnapshot().tiles.map((tile) => [tile.id, tile]));
    const placed = new Map(next.tiles.map((tile) => [tile.id, keptFields(was.get(tile.id) ?? tile, tile)]));
    const tiles = keptList(
      this.getSnapshot().tiles,
      items.flatMap(({ id }) => placed.get(id) ?? []),
    );
    this.patch({ mode: next.mode, tiles, page: next.page, pages: next.pages, pins, view });
  }
}

/** Everybody has a place, with a camera or without; shares of others come as pictures of their own. One's own would be a mirror in a mirror. */
export function itemsOf(people: readonly Person[]): Item[] {
  return [
    ...people.map(({ identity, isLocal }): Item => ({ id: `${identity}/camera`, identity, source: 'camera', isLocal })),
    ...people.filter((person) => person.share && !person.isLocal).map(({ identity, isLocal }): Item => ({ id: `${identity}/screen_share`, identity, source: 'screen_share', isLocal })),
  ];
}
