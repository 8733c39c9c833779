import { lazy } from 'react';

/** Most of what is drawn is needed by nobody who stands at the door: it comes while one does. */
const meeting = () => import('../meeting/meeting');
const out = () => import('../left/out');

export const Meeting = lazy(async () => ({ default: (await meeting()).Meeting }));
export const LeftScreen = lazy(async () => ({ default: (await out()).LeftScreen }));
export const ReturningScreen = lazy(async () => ({ default: (await out()).ReturningScreen }));

/** Fetches all of it; also what is needed only when the server may be gone. */
export async function loadLater(): Promise<void> {
  await Promise.all([out(), meeting()]);
}
