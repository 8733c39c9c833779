/** What the layout knows of a picture: who, what, and how it may be shaped. */
export interface Item {
  /** `identity/camera` or `identity/screen_share`. */
  readonly id: string;
  readonly identity: string;
  readonly source: 'camera' | 'screen_share';
  readonly isLocal: boolean;
}

/** Pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Where one tile goes, in pixels from the stage's corner. */
export interface Placed extends Item {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  /** `stage`: the large picture; `strip`: beside it; `grid`: one of equals; `float`: over the others. */
  readonly role: 'stage' | 'strip' | 'grid' | 'float';
}

/** What the participant prefers: equals, or the speaker large. Shares and pins come before both. */
export type View = 'grid' | 'speaker';

export interface LayoutInput {
  /** In the order they should appear; see `keepOrder`. */
  readonly items: readonly Item[];
  /** Identities, loudest first. */
  readonly speakers: readonly string[];
  /** Item ids made large by the participant, in the order of pinning. */
  readonly pins: readonly string[];
  readonly view: View;
  readonly viewport: Size;
  /** From zero; one too large shows the last page. */
  readonly page: number;
}

export interface Layout {
  readonly mode: 'empty' | 'solo' | 'duo' | 'grid' | 'stage';
  readonly tiles: readonly Placed[];
  /** The page shown, from zero. */
  readonly page: number;
  /** At least one. */
  readonly pages: number;
}
