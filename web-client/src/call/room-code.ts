/**
 * Meeting codes: `xxxx-yyyy-zzz`, easy to read out, hard to guess. The server makes them (server/src/meetings.rs says how
 * hard); here they are read.
 */

const CODE = /^([a-z]{4})-?([a-z]{4})-?([a-z]{3})$/;

/** Whether a room may have been named by the server, as meetings by link are; whether it was, only the server knows. */
export function isCode(room: string): boolean {
  return /^[a-z]{4}-[a-z]{4}-[a-z]{3}$/i.test(room);
}

/** Room names other applications choose; wider than our own codes, still safe in a path. */
export const ROOM_NAME = /^[A-Za-z0-9][A-Za-z0-9_.~:@-]{0,127}$/;

/** What somebody typed or pasted. */
export type Entered =
  | { readonly kind: 'room'; readonly path: string }
  | { readonly kind: 'empty' }
  | { readonly kind: 'elsewhere'; readonly host: string }
  | { readonly kind: 'bad' };

/**
 * Reads a code or a link. Of a link the token is kept, and nothing that would join by itself.
 *
 * @param origin the origin this app is served from; a link to another one is refused, not followed.
 */
export function parseEntered(text: string, origin: string): Entered {
  const entered = text.trim();
  if (entered === '') return { kind: 'empty' };

  const code = CODE.exec(entered.toLowerCase().replace(/\s+/g, ''));
  if (code) return { kind: 'room', path: `/m/${code.slice(1).join('-')}` };

  const url = readUrl(entered, origin);
  if (!url) return { kind: 'bad' };
  if (url.host !== new URL(origin).host) return { kind: 'elsewhere', host: url.host };
  const room = roomOfPath(url.pathname);
  if (room === undefined) return { kind: 'bad' };
  const token = new URLSearchParams(url.hash.slice(1)).get('token') ?? url.searchParams.get('token');
  return { kind: 'room', path: `/m/${room}${token === null ? '' : `#token=${encodeURIComponent(token)}`}` };
}

/** The room a path `/m/ROOM` names, or `undefined` where it names none. */
export function roomOfPath(path: string): string | undefined {
  const match = /^\/m\/([^/]+)\/?$/.exec(path);
  if (!match?.[1]) return undefined;
  let name: string;
  try {
    name = decodeURIComponent(match[1]);
  } catch {
    return undefined;
  }
  return ROOM_NAME.test(name) ? name : undefined;
}

function readUrl(text: string, origin: string): URL | undefined {
  const withScheme = /^https?:\/\//i.test(text)
    ? text
    : text.startsWith('/')
      ? `${origin}${text}`
      : text.includes('/')
        ? `https://${text}`
        : undefined;
  return withScheme !== undefined && URL.canParse(withScheme) ? new URL(withScheme) : undefined;
}
