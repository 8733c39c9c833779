import { describe, expect, it, vi } from 'vitest';
import { causeOfSentence, enter, socketOrigin, startMeeting } from './token';

const ASK = { room: 'abcd-efgh-jkm', tab: 'i', name: 'n', token: undefined, development: false };
const answering = (body: unknown, status = 200) => vi.fn<typeof fetch>(() => Promise.resolve(Response.json(body, { status })));
const refusing = (reason: string, status: number) => answering({ state: 'refused', reason, error: 'words' }, status);

describe('a token', () => {
  it('comes from the link without asking the server', async () => {
    const fetcher = answering({});
    expect(await enter({ ...ASK, token: 't' }, fetcher)).toEqual({ state: 'token', token: 't' });
    expect(fetcher).not.toHaveBeenCalled();
  });

  it('is asked for by the name of the meeting', async () => {
    const fetcher = answering({ state: 'admitted', token: 't', url: 'ws://127.0.0.1:7880' });
    expect(await enter(ASK, fetcher)).toEqual({ state: 'token', token: 't' });
    expect(fetcher.mock.calls[0]?.[0]).toBe('/api/v1/rooms/abcd-efgh-jkm/enter');
    expect(fetcher.mock.calls[0]?.[1]?.body).toBe('{"name":"n","tab":"i"}');
  });

  it.each([
    ['removed', 403, 'removed'],
    ['ended', 410, 'ended'],
    ['unknown', 404, 'unknown'],
    ['token-required', 403, 'token-required'],
    ['too-many', 429, 'too-many'],
    ['full', 503, 'capacity'],
    ['of-a-newer-server', 403, 'other'],
    ['constructor', 403, 'other'],
  ])('is refused with the reason of the server: %s', async (reason, status, cause) => {
    expect(await enter(ASK, refusing(reason, status))).toEqual({ state: 'refused', cause, detail: 'words' });
  });

  it('is to be waited for, or needs a sign-in, where the server says so', async () => {
    expect(await enter(ASK, answering({ state: 'waiting', ask_again_in: 3 }))).toEqual({ state: 'waiting', again: 3000 });
    expect(await enter(ASK, answering({ state: 'waiting' }))).toEqual({ state: 'waiting', again: 5000 });
    expect(await enter(ASK, answering({ state: 'sign-in', path: '/sign-in?to=x' }))).toEqual({ state: 'sign-in', path: '/sign-in?to=x' });
  });

  it('is refused where the answer is one that this page does not know, or leads elsewhere', async () => {
    for (const body of [{ state: 'of-a-newer-server' }, {}, null, { state: 'sign-in', path: '//evil.example' }, { state: 'sign-in', path: '/\\evil.example' }, { state: 'sign-in', path: 'https://evil.example' }]) {
      expect(await enter(ASK, answering(body))).toMatchObject({ state: 'refused', cause: 'other' });
    }
  });

  it('is refused where the answer is no JSON', async () => {
    const fetcher = vi.fn<typeof fetch>(() => Promise.resolve(new Response('<html>', { status: 404 })));
    expect(await enter(ASK, fetcher)).toMatchObject({ state: 'refused', cause: 'other' });
  });

  it('says so when no server answers', async () => {
    const gone = vi.fn<typeof fetch>(() => Promise.reject(new TypeError('Failed to fetch')));
    expect(await enter(ASK, gone)).toEqual({ state: 'unreachable' });
    const proxy = vi.fn<typeof fetch>(() => Promise.resolve(new Response('<html>', { status: 502 })));
    expect(await enter(ASK, proxy)).toEqual({ state: 'unreachable' });
  });

  it('for any room is given in development mode, but not to somebody who was removed', async () => {
    const development = { ...ASK, development: true };
    const fetcher = vi.fn<typeof fetch>((path) => Promise.resolve(path === '/dev/token' ? Response.json({ token: 't', url: 'ws://x' }) : Response.json({ reason: 'unknown' }, { status: 404 })));
    expect(await enter(development, fetcher)).toEqual({ state: 'token', token: 't' });
    expect(await enter(development, refusing('removed', 403))).toMatchObject({ cause: 'removed' });
    expect(await enter(ASK, fetcher)).toMatchObject({ cause: 'unknown' });
  });
});

describe('the address of the engine', () => {
  it.each([
    ['https://meet.example.org', 'wss://meet.example.org'],
    ['http://localhost:7880', 'ws://localhost:7880'],
  ])('is that of the page: %s', (origin, socket) => expect(socketOrigin(origin)).toBe(socket));
});

describe('a new meeting', () => {
  it('has the name that the server gives it', async () => expect(await startMeeting(answering({ slug: 'abcd-efgh-jkm' }, 201))).toEqual({ state: 'started', slug: 'abcd-efgh-jkm' }));
  it('may be refused', async () => {
    expect(await startMeeting(refusing('start-not-allowed', 403))).toMatchObject({ state: 'refused', cause: 'start-not-allowed' });
    expect(await startMeeting(answering({}))).toMatchObject({ state: 'refused', cause: 'other' });
  });
});

describe('the sentence of the server', () => {
  it.each([
    ['could not establish signal connection: invalid token: token has invalid claims: token is expired', 'expired'],
    ['invalid token: token has invalid claims: token is not valid yet', 'not-yet'],
    ['invalid token: token signature is invalid: signature is invalid', 'bad-invitation'],
    ['invalid API key: other', 'bad-invitation'],
    ['permissions denied', 'bad-invitation'],
    ['token was revoked', 'removed'],
    ['room is full', 'full'],
    ['this API key has as many rooms open as it may', 'capacity'],
    ['server is shutting down', 'restarting'],
    ['requested room does not exist', 'unknown'],
    ['something new', 'other'],
  ])('%s', (sentence, cause) => expect(causeOfSentence(sentence)).toBe(cause));
});
