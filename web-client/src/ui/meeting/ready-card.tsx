import { Check, Copy, X } from 'lucide-react';
import { useRef, useState } from 'react';
import type { CallView } from '../../call/types';
import { useT } from '../prefs';
import { useStore } from '../use-store';

/** Milliseconds the button says that the link was copied. */
const COPIED_FOR = 2500;

/** Shown while one is alone: the link, and what it permits. */
export function ReadyCard({ call, room }: { call: CallView; room: string }) {
  const [closed, setClosed] = useState(false);
  const alone = useStore(call.people, ({ list }) => list.length === 1);
  const open = useStore(call.connection, ({ access, phase }) => access === 'link' && phase === 'connected');
  return alone && open && !closed ? <Card room={room} onClose={() => setClosed(true)} /> : null;
}

function Card({ room, onClose }: { room: string; onClose: () => void }) {
  const t = useT();
  const field = useRef<HTMLInputElement>(null);
  const [copied, setCopied] = useState(false);
  // Without the query: a token in it is personal.
  const link = `${location.origin}/m/${encodeURIComponent(room)}`;

  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(link);
    } catch {
      // Forbidden, or a page without TLS: the link is selected, Ctrl+C does the rest.
      field.current?.select();
      return;
    }
    setCopied(true);
    setTimeout(() => setCopied(false), COPIED_FOR);
  };

  return (
    <section className="card" aria-labelledby="ready-title">
      <div className="card-head">
        <h2 id="ready-title">{t('ready.title')}</h2>
        <button type="button" className="icon-button" aria-label={t('ready.close')} onClick={onClose}>
          <X size={18} aria-hidden />
        </button>
      </div>
      <p>{t('ready.lead')}</p>
      <input ref={field} className="input card-link" readOnly value={link} aria-label={t('ready.link')} onFocus={(event) => event.target.select()} />
      <button type="button" className="button" onClick={() => void copy()}>
        {copied ? <Check size={18} aria-hidden /> : <Copy size={18} aria-hidden />}
        <span aria-live="polite">{t(copied ? 'ready.copied' : 'ready.copy')}</span>
      </button>
      <p className="card-note">{t('pre.linkAllows')}</p>
    </section>
  );
}
