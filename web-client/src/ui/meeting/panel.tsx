import { X } from 'lucide-react';
import { useEffect, useId, useRef, type ReactNode } from 'react';
import { useT } from '../prefs';
import './panel.css';

/** A light sheet beside the stage; over it on a telephone, over everything where there is little height. */
export function Panel({ title, note, onClose, children }: { title: string; note?: string; onClose: () => void; children: ReactNode }) {
  const t = useT();
  const id = useId();
  const heading = useRef<HTMLHeadingElement>(null);

  useEffect(() => {
    // Unless something inside has taken it already.
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
