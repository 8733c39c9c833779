import { lazy, Suspense, useEffect } from 'react';
import { roomOfPath } from '../call/room-code';
import { Home } from './home/home';
import { usePlace } from './route';

/** The engine is most of the bytes and the start page needs none of them. */
const loadVisit = () => import('./join/visit');
const Visit = lazy(async () => ({ default: (await loadVisit()).Visit }));

/** Picks the screen for the address. */
export function App() {
  const place = usePlace();
  const room = roomOfPath(place.pathname);

  useEffect(() => {
    // Fetched while the person reads, so that the next click is not a wait.
    void loadVisit();
  }, []);

  if (room === undefined) return <Home badLink={place.pathname.startsWith('/m')} />;
  return (
    <Suspense fallback={<div className="page" aria-busy="true" />}>
      <Visit
        key={room}
        room={room}
        token={place.searchParams.get('token') ?? undefined}
        name={place.searchParams.get('name') ?? undefined}
        autojoin={place.searchParams.get('autojoin') === '1'}
      />
    </Suspense>
  );
}
