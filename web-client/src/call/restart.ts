import { DisconnectReason } from 'livekit-client';

/** What the engine keeps inside (livekit-client 2.23); nothing of it is taken for granted. */
interface Inside {
  readonly engine?: { readonly token?: string; readonly client?: { onLeave?: ((leave: { reason?: DisconnectReason }) => void) | undefined } };
}

/**
 * Hears of it when the server sends its clients away because it stops. The engine knows the reason and tells it to nobody:
 * it only reconnects. To be called again after each reconnection, which makes the engine forget its listeners.
 */
export function onServerStop(room: unknown, tell: () => void): void {
  const client = (room as Inside).engine?.client;
  const { onLeave } = client ?? {};
  if (!client || !onLeave) return;
  client.onLeave = (leave) => {
    if (leave.reason === DisconnectReason.SERVER_SHUTDOWN) tell();
    onLeave(leave);
  };
}

/** The newest token the server has sent; the first one may have expired when one comes back. */
export function freshToken(room: unknown): string | undefined {
  return (room as Inside).engine?.token;
}
