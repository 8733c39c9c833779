import { createHmac } from 'node:crypto';

/** The key of the servers under test, in development mode and outside, where short secrets are refused. */
export const KEY = 'devkey';
export const SECRET = 'a-secret-that-nobody-can-guess-from-a-token';

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** An access token (JWT, HS256) with the LiveKit video grant; `grant` adds to it or overrides it. */
export function token(room, identity, { grant = {}, claims = {}, key = KEY, secret = SECRET } = {}) {
  const now = Math.floor(Date.now() / 1000);
  const body = {
    iss: key,
    sub: identity,
    name: identity,
    nbf: now - 10,
    exp: now + 3600,
    video: { roomJoin: true, room, canPublish: true, canSubscribe: true, canPublishData: true, ...grant },
    ...claims,
  };
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(body)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}
