/** The way into a meeting: where the server is, and the paper that opens it. */
export interface Ticket {
  /** `ws:` or `wss:` */
  readonly url: string;
  readonly token: string;
}

/** The server gave no ticket. */
export class TokenRefused extends Error {
  override readonly name = 'TokenRefused';
  /** The server's sentence, if there was one. */
  readonly detail: string | undefined;
  /** True where no server answered at all. */
  readonly unreachable: boolean;

  constructor(detail: string | undefined, unreachable = false) {
    super(detail ?? 'no ticket');
    this.detail = detail;
    this.unreachable = unreachable;
  }
}

/** What a ticket is asked for. */
export interface TicketRequest {
  readonly room: string;
  readonly identity: string;
  readonly name: string;
  /** Handed over in the link by another application; the server is not asked then. */
  readonly token: string | undefined;
}

/** Obtains a ticket: from the link, else from the server of this origin. */
export async function obtainTicket(request: TicketRequest, origin: string, fetcher: typeof fetch = fetch): Promise<Ticket> {
  if (request.token !== undefined) return { token: request.token, url: socketOrigin(origin) };

  const { room, identity, name } = request;
  let response: Response;
  try {
    response = await fetcher('/dev/token', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ room, identity, name }),
      cache: 'no-store',
    });
  } catch {
    throw new TokenRefused(undefined, true);
  }

  const body: unknown = await response.json().catch(() => undefined);
  if (!response.ok) throw new TokenRefused(field(body, 'error'), response.status >= 502 && response.status <= 504);
  const token = field(body, 'token');
  if (token === undefined) throw new TokenRefused(undefined);
  return { token, url: field(body, 'url') ?? socketOrigin(origin) };
}

/** The WebSocket address of an `http:` or `https:` origin. */
export function socketOrigin(origin: string): string {
  return origin.replace(/^http/, 'ws');
}

function field(body: unknown, key: string): string | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const value = (body as Record<string, unknown>)[key];
  return typeof value === 'string' && value !== '' ? value : undefined;
}
