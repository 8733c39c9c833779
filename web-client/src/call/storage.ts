/**
 * Browser storage that may be switched off: reading then gives nothing, writing does nothing.
 */
export interface Shelf {
  read(key: string): string | undefined;
  write(key: string, value: string): void;
}

const PREFIX = 'conclave.';

function shelf(open: () => Storage): Shelf {
  return {
    read(key) {
      try {
        return open().getItem(PREFIX + key) ?? undefined;
      } catch {
        return undefined;
      }
    },
    write(key, value) {
      try {
        open().setItem(PREFIX + key, value);
      } catch {
        // Full or forbidden: what is kept here is a convenience only.
      }
    },
  };
}

/** Kept on this machine: name, devices, theme, language. */
export const kept: Shelf = shelf(() => localStorage);

/** Kept for this tab: who one is in the meeting. */
export const keptForTab: Shelf = shelf(() => sessionStorage);
