import { readAddress } from './call/invitation';
import { keepTicket } from './call/tickets';

/** The address as it is now, and whether there was a token in it. A token does not stay in it for a moment. */
export function here(): { readonly href: string; readonly ticket: boolean } {
  const { clean, ticket } = readAddress(location.href);
  if (ticket) keepTicket({ room: ticket.room, tokens: [ticket.token] });
  if (clean !== location.pathname + location.search + location.hash) history.replaceState(history.state, '', clean);
  return { href: location.href, ticket: ticket !== undefined };
}
