import { LoaderCircle } from 'lucide-react';
import { useEffect, useEffectEvent } from 'react';
import type { CallView } from '../../call/types';
import { Heading } from '../parts/heading';
import { useT } from '../prefs';
import { useStore } from '../use-store';
import { useLater } from './later';
import './joining.css';

interface Props {
  call: CallView;
  room: string;
  /** The server says which room it is. */
  onRoom: (room: string) => void;
  onRejoin: () => void;
}

/** A call from the first attempt to connect to the reason of its end. */
export function CallScreen({ call, room, onRoom, onRejoin }: Props) {
  const t = useT();
  const { phase, left, room: actual } = useStore(call.connection);
  const tell = useEffectEvent(onRoom);

  useEffect(() => {
    if (actual !== '') tell(actual);
  }, [actual]);

  const later = useLater();
  if (left) return later ? <later.LeftScreen left={left} room={room} onRejoin={onRejoin} /> : <div className="page" aria-busy="true" />;
  if (later && phase !== 'idle' && phase !== 'connecting') return <later.Meeting call={call} room={room} />;
  return (
    <main className="joining" data-testid="meeting" data-connection-state="connecting">
      <LoaderCircle className="spin" size={32} aria-hidden />
      <Heading>{t('meeting.joining')}</Heading>
      <button type="button" className="button joining-cancel" onClick={() => void call.leave()}>
        {t('pre.cancel')}
      </button>
    </main>
  );
}
