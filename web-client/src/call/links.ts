/** A piece of a message: plain text, or an address that was written in it. */
export interface Piece {
  readonly text: string;
  /** Only ever `http:` or `https:`. */
  readonly href: string | undefined;
}

const ADDRESS = /https?:\/\/[^\s<>"'`]+/gi;

/** Splits a message at its web addresses; nothing is fetched. */
export function splitLinks(text: string): Piece[] {
  const pieces: Piece[] = [];
  let done = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const address = trimmed(match[0]);
    if (!URL.canParse(address)) continue;
    if (match.index > done) pieces.push({ text: text.slice(done, match.index), href: undefined });
    // The address is shown as written; only the target is normalised.
    pieces.push({ text: address, href: new URL(address).href });
    done = match.index + address.length;
  }
  if (done < text.length) pieces.push({ text: text.slice(done), href: undefined });
  return pieces;
}

/** Without the punctuation of the sentence around it; a closing bracket stays if it was opened inside. */
function trimmed(address: string): string {
  let end = address;
  for (;;) {
    const last = end.at(-1) ?? '';
    if ('.,;:!?…'.includes(last)) end = end.slice(0, -1);
    else if (last === ')' && count(end, ')') > count(end, '(')) end = end.slice(0, -1);
    else return end;
  }
}

function count(text: string, letter: string): number {
  return text.split(letter).length - 1;
}
