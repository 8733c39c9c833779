import { X } from 'lucide-react';
import { useState } from 'react';
import type { CallView } from '../../call/types';
import { useT } from '../prefs';
import { useStore } from '../use-store';
import { InviteLink } from './invite';

/** Shown while one is alone in a meeting by link. */
export function ReadyCard({ call, room }: { call: CallView; room: string }) {
  const t = useT();
  const [closed, setClosed] = useState(false);
  const alone = useStore(call.people, ({ list }) => list.length === 1);
  const open = useStore(call.connection, ({ access, phase }) => access === 'link' && phase === 'connected');
  if (!alone || !open || closed) return null;
  return (
    <section className="card" aria-labelledby="ready-title">
      <div className="card-head">
        <h2 id="ready-title">{t('ready.title')}</h2>
        <button type="button" className="icon-button" aria-label={t('ready.close')} onClick={() => setClosed(true)}>
          <X size={18} aria-hidden />
        </button>
      </div>
      <InviteLink room={room} />
    </section>
  );
}
