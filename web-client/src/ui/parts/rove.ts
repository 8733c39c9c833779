import type { KeyboardEvent } from 'react';

const BACK = { horizontal: 'ArrowLeft', vertical: 'ArrowUp' };
const ON = { horizontal: 'ArrowRight', vertical: 'ArrowDown' };

/**
 * Moves the focus among the buttons of a toolbar or a menu: by arrows, Home and End, in a menu also by the first letter of
 * what is written. What opens inside, as a list of devices, keeps its own keys.
 */
export function rove(event: KeyboardEvent<HTMLElement>, axis: 'horizontal' | 'vertical'): void {
  if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
  const root = event.currentTarget;
  const buttons = [...root.querySelectorAll<HTMLElement>('button')].filter((button) => (button.closest('.popover-panel') ?? root).contains(root) && !(button as HTMLButtonElement).disabled);
  const at = buttons.indexOf(event.target as HTMLElement);
  if (at < 0) return;
  const to = target(event.key, axis, buttons, at);
  if (!to) return;
  event.preventDefault();
  // A letter that finds an entry is no shortcut.
  event.stopPropagation();
  to.focus();
}

function target(key: string, axis: 'horizontal' | 'vertical', buttons: readonly HTMLElement[], at: number): HTMLElement | undefined {
  const { length } = buttons;
  if (key === BACK[axis]) return buttons[(at + length - 1) % length];
  if (key === ON[axis]) return buttons[(at + 1) % length];
  if (key === 'Home') return buttons[0];
  if (key === 'End') return buttons[length - 1];
  if (axis !== 'vertical' || key.length !== 1 || key === ' ') return undefined;
  const letter = key.toLocaleLowerCase();
  // From the next one on, so that the same letter goes on to the next.
  return [...buttons.slice(at + 1), ...buttons.slice(0, at + 1)].find((button) => button.textContent.trim().toLocaleLowerCase().startsWith(letter));
}
