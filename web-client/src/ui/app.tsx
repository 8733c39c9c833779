import { lazy, Suspense, useEffect } from 'react';
import { roomOfPath } from '../call/room-code';
import { loadSettings } from '../call/server';
import { ticketOf } from '../call/tickets';
import { Home } from './home/home';
import { usePlace } from './route';

/** The engine is most of the bytes and the start page needs none of them. */
const loadVisit = () => import('./join/visit');
const Visit = lazy(async () => ({ default: (await loadVisit()).Visit }));

void loadSettings();

/** Picks the screen for the address. */
export function App() {
  const { href, visit } = usePlace();
  const url = new URL(href);
  const room = roomOfPath(url.pathname);

  useEffect(() => {
    // Fetched while the person reads, so that the next click is not a wait.
    void loadVisit();
  }, []);

  if (room === undefined) return <Home key={visit} first={visit === 0} wrong={url.pathname === '/' ? undefined : /^\/m(?:\/|$)/.test(url.pathname) ? 'link' : 'page'} />;
  return (
    <Suspense fallback={<div className="page" aria-busy="true" />}>
      <Visit key={visit} ticket={ticketOf(room)} name={url.searchParams.get('name') ?? undefined} autojoin={url.searchParams.get('autojoin') === '1'} />
    </Suspense>
  );
}
