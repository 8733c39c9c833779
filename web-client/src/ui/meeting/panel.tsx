import { X } from 'lucide-react';
import { useId, type ReactNode } from 'react';
import { useT } from '../prefs';
import './panel.css';

/** A light sheet beside the stage; over it on a telephone. */
export function Panel({ title, note, onClose, children }: { title: string; note?: string; onClose: () => void; children: ReactNode }) {
  const t = useT();
  const heading = useId();
  return (
    <aside
      className="panel"
      aria-labelledby={heading}
      onKeyDown={(event) => {
        if (event.key === 'Escape') onClose();
      }}
    >
      <div className="panel-head">
        <h2 id={heading}>{title}</h2>
        {note !== undefined && <span>{note}</span>}
        <button type="button" className="icon-button" aria-label={t('panel.close')} onClick={onClose}>
          <X size={20} aria-hidden />
        </button>
      </div>
      {children}
    </aside>
  );
}
