import { useEffect, useEffectEvent, useId, useRef, useState, type ReactNode } from 'react';
import { rove } from './rove';
import './popover.css';

interface Props {
  /** Names the button and the panel. */
  label: string;
  className: string;
  icon: ReactNode;
  align?: 'start' | 'center' | 'end';
  /** It is a list of things to do, not a panel of fields. */
  menu?: boolean;
  testId?: string;
  children: (close: () => void) => ReactNode;
}

/** A button that opens a small panel above itself. Escape, a click elsewhere or moving on closes it. */
export function Popover({ label, className, icon, align = 'center', menu = false, testId, children }: Props) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const button = useId();
  const panel = useRef<HTMLDivElement>(null);

  const close = (): void => {
    setOpen(false);
    document.getElementById(button)?.focus();
  };

  const pressed = useEffectEvent((event: KeyboardEvent) => {
    if (event.key !== 'Escape') return;
    event.stopPropagation();
    close();
  });

  useEffect(() => {
    if (!open) return;
    const outside = (event: Event): void => {
      if (event.target instanceof Node && !root.current?.contains(event.target)) setOpen(false);
    };
    const escape = (event: KeyboardEvent): void => pressed(event);
    document.addEventListener('pointerdown', outside);
    document.addEventListener('focusin', outside);
    document.addEventListener('keydown', escape);
    (panel.current?.querySelector<HTMLElement>(':is(button, select, input):not(:disabled)') ?? panel.current)?.focus({ preventScroll: true });
    return () => {
      document.removeEventListener('pointerdown', outside);
      document.removeEventListener('focusin', outside);
      document.removeEventListener('keydown', escape);
    };
  }, [open]);

  return (
    <div ref={root} className="popover">
      <button id={button} type="button" className={className} aria-label={label} title={label} data-testid={testId} aria-expanded={open} aria-haspopup={menu ? 'menu' : 'dialog'} onClick={() => setOpen(!open)}>
        {icon}
      </button>
      {open && (
        // It takes a click on its own ground: what is around it would take the focus, and that closes it.
        <div ref={panel} className="popover-panel" data-align={align} role={menu ? 'menu' : 'dialog'} aria-label={label} tabIndex={-1} onKeyDown={menu ? (event) => rove(event, 'vertical', true) : undefined}>
          {children(close)}
        </div>
      )}
    </div>
  );
}
