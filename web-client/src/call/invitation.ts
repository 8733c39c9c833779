import { roomInToken } from './jwt';
import { ROOM_NAME, roomOfPath } from './room-code';

/** What an address holds beside the meeting it leads to. */
export interface ReadAddress {
  /** The address without what must not stay in it: path, query, fragment. */
  readonly clean: string;
  /** The token that was in it, and the room it is good for. */
  readonly ticket: { readonly room: string; readonly token: string } | undefined;
}

/**
 * Reads an address `/m/ROOM#token=JWT`. The token is taken out: it lets anybody in who has it, and addresses are shown,
 * kept in histories, and pasted. A fragment does not even reach the server; `?token=` does, and is read all the same.
 *
 * The token says which room it is for. Where the path says another one, the path is wrong.
 */
export function readAddress(href: string): ReadAddress {
  const url = new URL(href);
  const fragment = new URLSearchParams(url.hash.slice(1));
  const token = fragment.get('token') ?? url.searchParams.get('token') ?? undefined;
  if (fragment.has('token')) {
    fragment.delete('token');
    url.hash = fragment.toString();
  }
  url.searchParams.delete('token');
  const named = roomOfPath(url.pathname);
  if (named === undefined || token === undefined || token === '') return { clean: pathOf(url), ticket: undefined };
  const room = roomInToken(token);
  // A name that cannot stand in a path leaves the path as it is.
  if (room !== undefined && ROOM_NAME.test(room)) url.pathname = `/m/${room}`;
  return { clean: pathOf(url), ticket: { room: roomOfPath(url.pathname) ?? named, token } };
}

function pathOf({ pathname, search, hash }: URL): string {
  return `${pathname}${search}${hash}`;
}
