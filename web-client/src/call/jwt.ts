/**
 * What a token says, for display and for choosing among tokens: the server verifies them, a browser cannot.
 */

/** The name a token carries. */
export function nameInToken(token: string): string | undefined {
  return text(claimsOf(token), 'name');
}

/** The room a token is for. */
export function roomInToken(token: string): string | undefined {
  const claims = claimsOf(token);
  return typeof claims === 'object' && claims !== null && 'video' in claims ? text(claims.video, 'room') : undefined;
}

/** Whether a token lets somebody run the meeting. */
export function hostsByToken(token: string): boolean {
  const claims = claimsOf(token);
  const video = typeof claims === 'object' && claims !== null && 'video' in claims ? claims.video : undefined;
  return typeof video === 'object' && video !== null && 'roomAdmin' in video && video.roomAdmin === true;
}

/** When a token expires, milliseconds since the epoch; `undefined` where it does not say. */
export function expiryOfToken(token: string): number | undefined {
  const claims = claimsOf(token);
  const seconds = typeof claims === 'object' && claims !== null && 'exp' in claims ? claims.exp : undefined;
  return typeof seconds === 'number' ? seconds * 1000 : undefined;
}

function claimsOf(token: string): unknown {
  const payload = token.split('.')[1];
  if (payload === undefined) return undefined;
  try {
    const bytes = Uint8Array.from(atob(payload.replace(/-/g, '+').replace(/_/g, '/')), (letter) => letter.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

function text(claims: unknown, key: string): string | undefined {
  if (typeof claims !== 'object' || claims === null) return undefined;
  const value = (claims as Record<string, unknown>)[key];
  return typeof value === 'string' && value.trim() !== '' ? value : undefined;
}
