import { describe, expect, it, vi } from 'vitest';
import { Lookout, Presence, type Open } from './tabs';

/** The tabs of one browser: what one says, all others hear. */
function browser(): Open {
  const lines = new Set<NonNullable<ReturnType<Open>>>();
  return () => {
    const line: NonNullable<ReturnType<Open>> = {
      onmessage: null,
      postMessage: (data: unknown) => {
        for (const other of [...lines]) if (other !== line) other.onmessage?.({ data } as MessageEvent);
      },
      close: () => void lines.delete(line),
    };
    lines.add(line);
    return line;
  };
}

describe('who stands at the door', () => {
  it('knows of the other tab that is in the meeting, as long as it is', () => {
    const tab = browser();
    const presence = new Presence('salle', () => undefined, tab());
    const lookout = new Lookout('salle', tab());
    expect(lookout.getSnapshot()).toBe(true);
    presence.close();
    expect(lookout.getSnapshot()).toBe(false);
    new Presence('salle', () => undefined, tab());
    expect(lookout.getSnapshot()).toBe(true);
  });

  it('knows nothing of tabs in other rooms, nor of what is no word of ours', () => {
    const tab = browser();
    new Presence('autre', () => undefined, tab());
    const lookout = new Lookout('salle', tab());
    tab()?.postMessage('here');
    tab()?.postMessage(null);
    expect(lookout.getSnapshot()).toBe(false);
  });

  it('can use this tab instead: the other one leaves', () => {
    const tab = browser();
    const [here, there] = [vi.fn(), vi.fn()];
    new Presence('salle', here, tab());
    new Presence('autre', there, tab());
    new Lookout('salle', tab()).takeOver();
    expect(here).toHaveBeenCalledTimes(1);
    expect(there).not.toHaveBeenCalled();
  });

  it('stands there alone in a browser whose tabs do not hear one another', () => {
    const lookout = new Lookout('salle', undefined);
    lookout.takeOver();
    lookout.close();
    expect(lookout.getSnapshot()).toBe(false);
  });
});
