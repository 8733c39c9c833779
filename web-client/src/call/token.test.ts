import { describe, expect, it, vi } from 'vitest';
import { obtainTicket, TokenRefused } from './token';

const ASK = { room: 'r', identity: 'i', name: 'n', token: undefined };
const ORIGIN = 'https://meet.example.org';
const answering = (body: unknown, status = 200) => vi.fn<typeof fetch>(() => Promise.resolve(Response.json(body, { status })));

describe('a ticket', () => {
  it('comes from the link without asking the server', async () => {
    const fetcher = answering({});
    expect(await obtainTicket({ ...ASK, token: 't' }, ORIGIN, fetcher)).toEqual({ token: 't', url: 'wss://meet.example.org' });
    expect(fetcher).not.toHaveBeenCalled();
  });

  it('names this origin where the server names no other', async () => {
    expect(await obtainTicket(ASK, 'http://localhost:7880', answering({ token: 't' }))).toEqual({ token: 't', url: 'ws://localhost:7880' });
  });

  it('goes where the server says', async () => {
    expect((await obtainTicket(ASK, ORIGIN, answering({ token: 't', url: 'wss://b.example' }))).url).toBe('wss://b.example');
  });

  it('is refused with the sentence of the server', async () => {
    await expect(obtainTicket(ASK, ORIGIN, answering({ error: 'The meeting is full.' }, 403))).rejects.toMatchObject({ detail: 'The meeting is full.', unreachable: false });
  });

  it('is refused where the answer is no JSON', async () => {
    const fetcher = vi.fn<typeof fetch>(() => Promise.resolve(new Response('<html>', { status: 404 })));
    await expect(obtainTicket(ASK, ORIGIN, fetcher)).rejects.toBeInstanceOf(TokenRefused);
  });

  it('says so when no server answers', async () => {
    const fetcher = vi.fn<typeof fetch>(() => Promise.reject(new TypeError('Failed to fetch')));
    await expect(obtainTicket(ASK, ORIGIN, fetcher)).rejects.toMatchObject({ unreachable: true });
  });
});
