import type { KeyboardEvent } from 'react';

const BACK = { horizontal: 'ArrowLeft', vertical: 'ArrowUp' };
const ON = { horizontal: 'ArrowRight', vertical: 'ArrowDown' };

/**
 * Moves the focus among the buttons of a toolbar or a menu: by arrows, Home and End, in a menu also by the first letter of
 * what is written. What opens inside, as a list of devices, keeps its own keys.
 */
export function rove(event: KeyboardEvent<HTMLElement>, axis: 'horizontal' | 'vertical', letters = false): void {
  if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
  const buttons = stopsOf(event.currentTarget);
  const at = buttons.indexOf(event.target as HTMLElement);
  if (at < 0) return;
  const to = target(event.key, axis, buttons, at) ?? (letters ? startingWith(event.key, buttons, at) : undefined);
  if (!to) return;
  event.preventDefault();
  // A letter that finds an entry is no shortcut.
  event.stopPropagation();
  to.focus();
}

/** The buttons of a toolbar or a menu that can have the focus: what is hidden, and what is in a panel that one of them opened, is not among them. */
export function stopsOf(root: HTMLElement): readonly HTMLElement[] {
  return [...root.querySelectorAll<HTMLButtonElement>('button')].filter((button) => (button.closest('.popover-panel') ?? root).contains(root) && !button.disabled && button.checkVisibility());
}

function target(key: string, axis: 'horizontal' | 'vertical', buttons: readonly HTMLElement[], at: number): HTMLElement | undefined {
  const { length } = buttons;
  if (key === BACK[axis]) return buttons[(at + length - 1) % length];
  if (key === ON[axis]) return buttons[(at + 1) % length];
  if (key === 'Home') return buttons[0];
  if (key === 'End') return buttons[length - 1];
  return undefined;
}

function startingWith(key: string, buttons: readonly HTMLElement[], at: number): HTMLElement | undefined {
  if (key.length !== 1 || key === ' ') return undefined;
  const letter = key.toLocaleLowerCase();
  // From the next one on, so that the same letter goes on to the next.
  return [...buttons.slice(at + 1), ...buttons.slice(0, at + 1)].find((button) => button.textContent.trim().toLocaleLowerCase().startsWith(letter));
}
