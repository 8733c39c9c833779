/**
 * Meeting codes: `xxxx-yyyy-zzz`, easy to read out, hard to guess.
 *
 * Eleven letters out of 23 are 49.7 bits: at a thousand guesses a second a stranger needs some
 * twenty thousand years for one given meeting. `i`, `l` and `o` are left out, being read as digits.
 */

const ALPHABET = 'abcdefghjkmnpqrstuvwxyz';
const LENGTHS = [4, 4, 3] as const;
const CODE = /^([a-z]{4})-?([a-z]{4})-?([a-z]{3})$/;

/** Room names other applications choose; wider than our own codes, still safe in a path. */
const ROOM_NAME = /^[A-Za-z0-9][A-Za-z0-9_.~:@-]{0,127}$/;

/** Fills the array with random bytes; `crypto.getRandomValues` outside of tests. */
export type Random = (bytes: Uint8Array<ArrayBuffer>) => void;

/** A new meeting code. */
export function newCode(random: Random = (bytes) => crypto.getRandomValues(bytes)): string {
  return LENGTHS.map((length) => Array.from({ length }, () => letter(random)).join('')).join('-');
}

/** What somebody typed or pasted. */
export type Entered =
  | { readonly kind: 'room'; readonly path: string }
  | { readonly kind: 'empty' }
  | { readonly kind: 'elsewhere'; readonly host: string }
  | { readonly kind: 'bad' };

/**
 * Reads a code or a link. A link keeps its query, which may hold a token.
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
  return room === undefined ? { kind: 'bad' } : { kind: 'room', path: `/m/${room}${url.search}` };
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

function letter(random: Random): string {
  // Bytes past the last full multiple would favour the first letters.
  const limit = 256 - (256 % ALPHABET.length);
  const byte = new Uint8Array(1);
  do random(byte);
  while ((byte[0] ?? 0) >= limit);
  return ALPHABET.charAt((byte[0] ?? 0) % ALPHABET.length);
}
