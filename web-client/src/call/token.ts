import type { RefusalCause } from './types';

/** What the server answers to whoever wants to come in. */
export type Entry =
  /** The door is open. */
  | { readonly state: 'token'; readonly token: string }
  /** A host is asked; to be asked again after so many milliseconds. */
  | { readonly state: 'waiting'; readonly again: number }
  /** Only who has signed in there comes in; a path of this origin. */
  | { readonly state: 'sign-in'; readonly path: string }
  | Refused
  /** No server of ours answers. */
  | { readonly state: 'unreachable' };

/** The server lets somebody not in, or does not start a meeting. */
export interface Refused {
  readonly state: 'refused';
  readonly cause: RefusalCause;
  /** The server's own sentence, if there was one. */
  readonly detail: string | undefined;
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

/** Asks to come in: with the token of the link, else by asking the server of this origin. Never rejects. */
export async function enter(request: TokenRequest, fetcher: typeof fetch = fetch): Promise<Entry> {
  const { room, name, tab, token, development } = request;
  if (token !== undefined) return { state: 'token', token };
  const answer = await post(`/api/v1/rooms/${encodeURIComponent(room)}/enter`, { name, tab }, fetcher);
  if (development && answer.state === 'refused' && answer.cause === 'unknown') {
    const given = await post('/dev/token', { room, identity: tab, name }, fetcher);
    return given.state === 'answered' ? entryIn(given.body) : given;
  }
  return answer.state === 'answered' ? entryIn(answer.body) : answer;
}

/** Starts a meeting by link; the answer is the name of its room. */
export async function startMeeting(fetcher: typeof fetch = fetch): Promise<{ readonly state: 'started'; readonly slug: string } | Refused | { readonly state: 'unreachable' }> {
  const answer = await post('/api/v1/rooms', {}, fetcher);
  if (answer.state !== 'answered') return answer;
  const slug = field(answer.body, 'slug');
  return slug === undefined ? NOT_UNDERSTOOD : { state: 'started', slug };
}

/**
 * The WebSocket address of an `http:` or `https:` origin. The page always connects to its own: what a server behind a proxy
 * knows of its address may lead nowhere.
 */
export function socketOrigin(origin: string): string {
  return origin.replace(/^http/, 'ws');
}

/** An answer of a newer server that this page does not know. */
const NOT_UNDERSTOOD: Refused = { state: 'refused', cause: 'other', detail: undefined };

/** Milliseconds between two questions to a host, where the server does not say. */
const ASK_AGAIN = 5000;

function entryIn(body: unknown): Entry {
  const token = field(body, 'token');
  if (token !== undefined) return { state: 'token', token };
  switch (field(body, 'state')) {
    case 'waiting': {
      const seconds = (body as { ask_again_in?: unknown }).ask_again_in;
      return { state: 'waiting', again: typeof seconds === 'number' && seconds >= 1 ? seconds * 1000 : ASK_AGAIN };
    }
    case 'sign-in': {
      const path = field(body, 'path');
      // Whoever answers for the server sends nobody elsewhere.
      return path !== undefined && /^\/(?![/\\])/.test(path) ? { state: 'sign-in', path } : NOT_UNDERSTOOD;
    }
    default:
      return NOT_UNDERSTOOD;
  }
}

async function post(path: string, body: object, fetcher: typeof fetch): Promise<{ readonly state: 'answered'; readonly body: unknown } | Refused | { readonly state: 'unreachable' }> {
  let response: Response;
  try {
    response = await fetcher(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), cache: 'no-store' });
  } catch {
    return { state: 'unreachable' };
  }
  const answer: unknown = await response.json().catch(() => undefined);
  if (response.ok) return { state: 'answered', body: answer };
  const reason = field(answer, 'reason');
  // A proxy in front of a server that is gone answers in its place.
  if (reason === undefined && response.status >= 502 && response.status <= 504) return { state: 'unreachable' };
  return { state: 'refused', cause: causeOfReason(reason), detail: field(answer, 'error') };
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
