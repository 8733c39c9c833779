/** Screens in a document without a browser: drawn, clicked, asked. */
import { act, type ReactElement } from 'react';
import { createRoot } from 'react-dom/client';
import { afterEach, vi } from 'vitest';
import { FakeCall } from '../dev/fake-call';

vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);

// Nothing is drawn, so nothing moves; and happy-dom complains of movements that are called off, which browsers do not.
Object.assign(Element.prototype, { animate: () => ({ cancel: () => undefined }) });

/** Those who want to know of sizes; there is nobody who would tell them. */
const observers = new Set<() => void>();

vi.stubGlobal(
  'ResizeObserver',
  class {
    readonly #tell: () => void;
    constructor(tell: () => void) {
      this.#tell = tell;
    }
    observe = () => void observers.add(this.#tell);
    disconnect = () => void observers.delete(this.#tell);
  },
);

const ends: (() => void)[] = [];

afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** There is no layout here: every element is as large as said. */
export function windowOf(width: number, height: number): void {
  vi.spyOn(HTMLElement.prototype, 'clientWidth', 'get').mockReturnValue(width);
  vi.spyOn(HTMLElement.prototype, 'clientHeight', 'get').mockReturnValue(height);
}

/** Sizes have changed. */
export const resized = (): Promise<void> => doing(() => observers.forEach((tell) => tell()));

/** Draws a screen into the document; it is gone after the test. */
export async function draw(screen: ReactElement): Promise<HTMLElement> {
  const host = document.createElement('div');
  document.body.append(host);
  const root = createRoot(host);
  await act(async () => root.render(screen));
  ends.push(() => {
    act(() => root.unmount());
    host.remove();
  });
  return host;
}

/** Does something, and waits until the screen says so. */
export const doing = (what: () => unknown): Promise<void> => act(async () => void (await what()));

/** Presses a key where the focus is. */
export const press = (key: string, more: KeyboardEventInit = {}): Promise<void> =>
  doing(() => (document.activeElement ?? document.body).dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more })));

/** The one element with this test id, or that matches this selector. */
export function the(which: string): HTMLElement {
  const selector = /^[a-z-]+$/.test(which) ? `[data-testid="${which}"]` : which;
  const found = document.querySelectorAll<HTMLElement>(selector);
  if (found.length !== 1 || !found[0]) throw new Error(`${String(found.length)} elements match ${selector}: ${document.body.innerHTML.slice(0, 2000)}`);
  return found[0];
}

export const click = (which: string): Promise<void> => doing(() => the(which).click());

/** What has the focus: its test id, else element and text. */
export function focus(): string {
  const element = document.activeElement as HTMLElement;
  return element.dataset.testid ?? `${element.tagName.toLowerCase()}: ${(element.getAttribute('aria-label') ?? element.textContent).trim()}`;
}

/** A call with made-up people, none of them with a camera: `people=25&chat=3`. */
export const calling = (query = ''): FakeCall => new FakeCall(new URLSearchParams(`video=0&${query}`));
