import type { RefusalCause } from './types';

/** The server gave no token. */
export class TokenRefused extends Error {
  override readonly name = 'TokenRefused';
  /** Why; `undefined` where no server answered at all. */
  override readonly cause: RefusalCause | undefined;
  /** The server's sentence, if there was one. */
  readonly detail: string | undefined;

  constructor(cause: RefusalCause | undefined, detail?: string) {
    super(detail ?? cause ?? 'no token');
    this.cause = cause;
    this.detail = detail;
  }
}

/** What a token is asked for. */
export interface TokenRequest {
  readonly room: string;
  /** Tells this tab from others of the same browser. */
  readonly tab: string;
  readonly name: string;
  /** Handed over in the link by another application; the server is not asked then. */
  readonly token: string | undefined;
  /** The server lets everybody into everything, also into rooms that are no meetings by link. */
  readonly development: boolean;
}

/** Obtains the token that opens a room: from the link, else from the server of this origin. */
export async function obtainToken(request: TokenRequest, fetcher: typeof fetch = fetch): Promise<string> {
  const { room, name, tab, token, development } = request;
  if (token !== undefined) return token;
  try {
    return tokenIn(await post(`/api/v1/rooms/${encodeURIComponent(room)}/enter`, { name, tab }, fetcher));
  } catch (error) {
    if (!development || !(error instanceof TokenRefused) || error.cause !== 'unknown') throw error;
    return tokenIn(await post('/dev/token', { room, identity: tab, name }, fetcher));
  }
}

/** Starts a meeting by link; the answer is the name of its room. */
export async function startMeeting(fetcher: typeof fetch = fetch): Promise<string> {
  const slug = field(await post('/api/v1/rooms', {}, fetcher), 'slug');
  if (slug === undefined) throw new TokenRefused('other');
  return slug;
}

/**
 * The WebSocket address of an `http:` or `https:` origin. The page always connects to its own: what a server behind a proxy
 * knows of its address may lead nowhere.
 */
export function socketOrigin(origin: string): string {
  return origin.replace(/^http/, 'ws');
}

function tokenIn(body: unknown): string {
  const token = field(body, 'token');
  // Other answers than a token are to come, for example a lobby: a page that does not know them is refused.
  if (token === undefined) throw new TokenRefused('other');
  return token;
}

async function post(path: string, body: object, fetcher: typeof fetch): Promise<unknown> {
  let response: Response;
  try {
    response = await fetcher(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), cache: 'no-store' });
  } catch {
    throw new TokenRefused(undefined);
  }
  const answer: unknown = await response.json().catch(() => undefined);
  if (response.ok) return answer;
  const reason = field(answer, 'reason');
  // A proxy in front of a server that is gone answers in its place.
  if (reason === undefined && response.status >= 502 && response.status <= 504) throw new TokenRefused(undefined);
  throw new TokenRefused(causeOfReason(reason), field(answer, 'error'));
}

const REASONS: Readonly<Record<string, RefusalCause>> = {
  'start-not-allowed': 'start-not-allowed',
  'token-required': 'token-required',
  unknown: 'unknown',
  removed: 'removed',
  ended: 'ended',
  'too-many': 'too-many',
  full: 'capacity',
  restarting: 'restarting',
};

function causeOfReason(reason: string | undefined): RefusalCause {
  return (reason !== undefined && Object.hasOwn(REASONS, reason) ? REASONS[reason] : undefined) ?? 'other';
}

/** What the sentence with which the server refuses a token means. */
export function causeOfSentence(sentence: string): RefusalCause {
  const meanings: readonly (readonly [RegExp, RefusalCause])[] = [
    [/expired/i, 'expired'],
    [/not valid yet/i, 'not-yet'],
    [/revoked/i, 'removed'],
    [/signature|signing method|API key:|authorization (?:token|header)/i, 'bad-invitation'],
    [/room is full/i, 'full'],
    [/does not exist/i, 'unknown'],
    [/shutting down/i, 'restarting'],
    [/limit|as many rooms/i, 'capacity'],
    [/permission|no room name|identity/i, 'bad-invitation'],
  ];
  return meanings.find(([pattern]) => pattern.test(sentence))?.[1] ?? 'other';
}

function field(body: unknown, key: string): string | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const value = (body as Record<string, unknown>)[key];
  return typeof value === 'string' && value !== '' ? value : undefined;
}
