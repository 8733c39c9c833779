import { ConnectionError, ConnectionErrorReason, DisconnectReason } from 'livekit-client';

/** What the engine keeps inside (livekit-client 2.23); nothing of it is taken for granted. */
interface Inside {
  readonly engine?: { readonly token?: string; readonly client?: Client };
}

interface Client {
  onLeave?: ((leave: { reason?: DisconnectReason }) => void) | undefined;
  join?: ((...request: unknown[]) => Promise<unknown>) | undefined;
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

/**
 * Hears why the server lets somebody not in once there is a signal connection: its first word is that one is to leave. The
 * engine passes on that it said so, and not the reason. To be called before connecting.
 */
export function onSentAway(room: unknown, tell: (reason: DisconnectReason) => void): void {
  const client = (room as Inside).engine?.client;
  const { join } = client ?? {};
  if (!client || !join) return;
  client.join = async (...request) => {
    try {
      return await join.apply(client, request);
    } catch (error) {
      if (error instanceof ConnectionError && error.reason === ConnectionErrorReason.LeaveRequest && typeof error.context === 'number') tell(error.context);
      throw error;
    }
  };
}

/** The newest token the server has sent; the first one may have expired when one comes back. */
export function freshToken(room: unknown): string | undefined {
  return (room as Inside).engine?.token;
}
