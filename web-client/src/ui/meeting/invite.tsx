import { Check, Copy } from 'lucide-react';
import { useRef, useState } from 'react';
import { Dialog } from '../parts/dialog';
import { useT } from '../prefs';

/** Milliseconds the button says that the link was copied. */
const COPIED_FOR = 2500;

/** The meeting's link, and what it permits. */
export function InviteLink({ room }: { room: string }) {
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
    <>
      <p>{t('ready.lead')}</p>
      <input ref={field} className="input card-link" readOnly value={link} aria-label={t('ready.link')} onFocus={(event) => event.target.select()} />
      <button type="button" className="button" onClick={() => void copy()}>
        {copied ? <Check size={18} aria-hidden /> : <Copy size={18} aria-hidden />}
        <span aria-live="polite">{t(copied ? 'ready.copied' : 'ready.copy')}</span>
      </button>
      <p className="card-note">{t('pre.linkAllows')}</p>
    </>
  );
}

/** The link once more, also when one is no longer alone. */
export function InviteDialog({ room, onClose }: { room: string; onClose: () => void }) {
  const t = useT();
  return (
    <Dialog title={t('control.invite')} onClose={onClose}>
      <InviteLink room={room} />
    </Dialog>
  );
}
