import { useEffect, useEffectEvent } from 'react';

/** What the keys do. */
export type Action = 'microphone' | 'camera' | 'chat' | 'people' | 'help';

interface Shortcut {
  readonly action: Action;
  readonly key: string;
  readonly ctrl: boolean;
}

/** The catalogue, in the order it is shown. */
export const SHORTCUTS: readonly Shortcut[] = [
  { action: 'microphone', key: 'd', ctrl: true },
  { action: 'camera', key: 'e', ctrl: true },
  { action: 'chat', key: 'c', ctrl: false },
  { action: 'people', key: 'p', ctrl: false },
  { action: 'help', key: '?', ctrl: false },
];

/** The keys of an action, as `aria-keyshortcuts` has them. */
export function keysOf(action: string): string | undefined {
  const shortcut = SHORTCUTS.find((one) => one.action === action);
  return shortcut && `${shortcut.ctrl ? 'Control+' : ''}${shortcut.key.toUpperCase()}`;
}

/**
 * Listens for the shortcuts. Those with Ctrl work everywhere, for the moment in which one wants to be muted is the one in
 * which one types; single letters rest while text is written or a dialog is open.
 */
export function useShortcuts(act: (action: Action) => void): void {
  const pressed = useEffectEvent((event: KeyboardEvent) => {
    const shortcut = shortcutOf(event);
    if (!shortcut || (!shortcut.ctrl && (isTyping(event.target) || document.querySelector('dialog[open]')))) return;
    event.preventDefault();
    // A key that is held down is one wish, and none of the browser's.
    if (!event.repeat) act(shortcut.action);
  });

  useEffect(() => {
    const listen = (event: KeyboardEvent): void => pressed(event);
    window.addEventListener('keydown', listen);
    return () => window.removeEventListener('keydown', listen);
  }, []);
}

/** Escape closes what is open, from wherever one is. Menus and dialogs close themselves first. */
export function useEscape(open: boolean, close: () => void): void {
  const pressed = useEffectEvent((event: KeyboardEvent) => {
    if (event.key === 'Escape' && !event.defaultPrevented && !event.isComposing && !document.querySelector('dialog[open]')) close();
  });

  useEffect(() => {
    if (!open) return;
    const listen = (event: KeyboardEvent): void => pressed(event);
    window.addEventListener('keydown', listen);
    return () => window.removeEventListener('keydown', listen);
  }, [open]);
}

/** The shortcut that was pressed, if any. */
export function shortcutOf(event: Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'altKey' | 'metaKey' | 'defaultPrevented' | 'isComposing'>): Shortcut | undefined {
  if (event.defaultPrevented || event.isComposing || event.altKey || event.metaKey) return undefined;
  return SHORTCUTS.find(({ key, ctrl }) => key === event.key.toLowerCase() && ctrl === event.ctrlKey);
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName));
}
