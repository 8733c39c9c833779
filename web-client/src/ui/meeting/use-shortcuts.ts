import { useEffect, useEffectEvent } from 'react';

/** What the keys do. */
export interface ShortcutActions {
  microphone(): void;
  camera(): void;
  chat(): void;
  people(): void;
  help(): void;
}

interface Shortcut {
  readonly action: keyof ShortcutActions;
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

/** Listens for the shortcuts while no text is written and no dialog is open. */
export function useShortcuts(actions: ShortcutActions): void {
  const pressed = useEffectEvent((event: KeyboardEvent) => {
    if (event.defaultPrevented || event.repeat || event.altKey || event.metaKey || isTyping(event.target)) return;
    const shortcut = SHORTCUTS.find(({ key, ctrl }) => key === event.key.toLowerCase() && ctrl === event.ctrlKey);
    if (!shortcut || document.querySelector('dialog[open]')) return;
    event.preventDefault();
    actions[shortcut.action]();
  });

  useEffect(() => {
    const listen = (event: KeyboardEvent): void => pressed(event);
    window.addEventListener('keydown', listen);
    return () => window.removeEventListener('keydown', listen);
  }, []);
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName));
}
