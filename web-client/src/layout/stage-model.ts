import type { Person } from '../call/types';
import { Store } from '../call/store';
import { layout } from './layout';
import { keepOrder } from './order';
import type { Item, Layout, Size, View } from './types';

/** What the stage shows now, and how it was asked to. */
export interface StageSnapshot {
  readonly layout: Layout;
  readonly pins: readonly string[];
  readonly view: View;
}

/** More large pictures than this are a grid again. */
const MAX_PINS = 3;

const EMPTY: Layout = { mode: 'empty', tiles: [], page: 0, pages: 1 };

/** Remembers what a pure layout cannot: who was where, who spoke when, what was pinned. */
export class StageModel extends Store<StageSnapshot> {
  #people: readonly Person[] = [];
  #speakers: readonly string[] = [];
  #viewport: Size = { width: 0, height: 0 };
  #order: readonly string[] = [];
  #page = 0;
  readonly #lastSpoke = new Map<string, number>();

  constructor() {
    super({ layout: EMPTY, pins: [], view: 'grid' });
  }

  /** @param now any monotonic time; only its order matters. */
  setPeople(people: readonly Person[], speakers: readonly string[], now: number): void {
    if (people === this.#people && sameList(speakers, this.#speakers)) return;
    this.#people = people;
    this.#speakers = speakers;
    for (const identity of speakers) this.#lastSpoke.set(identity, now);
    this.#arrange({});
  }

  setViewport(viewport: Size): void {
    if (viewport.width === this.#viewport.width && viewport.height === this.#viewport.height) return;
    this.#viewport = viewport;
    this.#arrange({});
  }

  setView(view: View): void {
    this.#arrange({ view });
  }

  setPage(page: number): void {
    this.#page = page;
    this.#arrange({});
  }

  /** Makes a picture large, or small again. */
  togglePin(id: string): void {
    const { pins } = this.getSnapshot();
    this.#arrange({ pins: pins.includes(id) ? pins.filter((pin) => pin !== id) : [...pins, id].slice(-MAX_PINS) });
  }

  #arrange(change: Partial<Pick<StageSnapshot, 'pins' | 'view'>>): void {
    const { pins, view } = { ...this.getSnapshot(), ...change };
    const items = itemsOf(this.#people);
    const input = { speakers: this.#speakers, pins, view, viewport: this.#viewport };
    const firstPage = layout({ ...input, items, page: 0 }).tiles.length;
    const ordered = keepOrder(items, this.#order, firstPage, this.#speakers, this.#lastSpoke);
    this.#order = ordered.map((item) => item.id);
    const next = layout({ ...input, items: ordered, page: this.#page });
    this.#page = next.page;
    this.set({ layout: next, pins, view });
  }
}

/** Everybody has a place, with a camera or without; shares come as pictures of their own. */
export function itemsOf(people: readonly Person[]): Item[] {
  return [
    ...people.map(({ identity, isLocal }): Item => ({ id: `${identity}/camera`, identity, source: 'camera', isLocal })),
    ...people.filter((person) => person.share).map(({ identity, isLocal }): Item => ({ id: `${identity}/screen_share`, identity, source: 'screen_share', isLocal })),
  ];
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, index) => item === b[index]);
}
