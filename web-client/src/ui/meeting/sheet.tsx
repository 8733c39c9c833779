import { X } from 'lucide-react';
import { useEffect, useId, useLayoutEffect, useRef, type ReactNode } from 'react';
import { useT } from '../prefs';
import type { Kept } from './use-sheets';
import './panel.css';

interface Props {
  title: string;
  note?: string;
  kept: Kept;
  onClose: () => void;
  children: ReactNode;
}

/**
 * A light sheet beside the stage; over it on a telephone, over everything where there is little height. It takes the focus
 * unless something inside has, and where it was scrolled to is kept: what inside it scrolls says so by `data-scrolls`.
 */
export function Sheet({ title, note, kept, onClose, children }: Props) {
  const t = useT();
  const id = useId();
  const heading = useRef<HTMLHeadingElement>(null);

  useLayoutEffect(() => {
    const scrolls = heading.current?.closest('.panel')?.querySelector('[data-scrolls]');
    if (scrolls && kept.top !== undefined) scrolls.scrollTop = kept.top;
    return () => {
      // At its end it is to be there again, whatever comes meanwhile.
      if (scrolls) kept.keep({ top: scrolls.getAttribute('data-scrolls') === 'end' ? undefined : scrolls.scrollTop });
    };
  }, [kept]);

  useEffect(() => {
    const title = heading.current;
    if (!title?.closest('.panel')?.contains(document.activeElement)) title?.focus({ preventScroll: true });
  }, []);

  return (
    <aside className="panel" aria-labelledby={id}>
      <div className="panel-head">
        <h2 ref={heading} id={id} tabIndex={-1}>
          {title}
        </h2>
        {note !== undefined && <span>{note}</span>}
        <button type="button" className="icon-button" aria-label={t('panel.close')} onClick={onClose}>
          <X size={20} aria-hidden />
        </button>
      </div>
      {children}
    </aside>
  );
}
