import { useEffect, useEffectEvent, useId, useRef, useState, type ReactNode } from 'react';
import './popover.css';

interface Props {
  /** Names the button and the panel. */
  label: string;
  className: string;
  icon: ReactNode;
  align?: 'start' | 'center' | 'end';
  children: (close: () => void) => ReactNode;
}

/** A button that opens a small panel above itself. Escape, a click elsewhere or moving on closes it. */
export function Popover({ label, className, icon, align = 'center', children }: Props) {
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
    panel.current?.querySelector<HTMLElement>('button, select, input')?.focus({ preventScroll: true });
    return () => {
      document.removeEventListener('pointerdown', outside);
      document.removeEventListener('focusin', outside);
      document.removeEventListener('keydown', escape);
    };
  }, [open]);

  return (
    <div ref={root} className="popover">
      <button id={button} type="button" className={className} aria-label={label} title={label} aria-expanded={open} aria-haspopup="dialog" onClick={() => setOpen(!open)}>
        {icon}
      </button>
      {open && (
        // It takes a click on its own ground: what is around it would take the focus, and that closes it.
        <div ref={panel} className="popover-panel" data-align={align} role="dialog" aria-label={label} tabIndex={-1}>
          {children(close)}
        </div>
      )}
    </div>
  );
}
