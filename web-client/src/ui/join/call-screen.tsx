import { LoaderCircle } from 'lucide-react';
import { lazy, Suspense, useEffect, useEffectEvent } from 'react';
import type { CallView } from '../../call/types';
import { LeftScreen } from '../left/left-screen';
import { useT } from '../prefs';
import { useStore } from '../use-store';
import './joining.css';

interface Props {
  call: CallView;
  room: string;
  /** The server says which room it is. */
  onRoom: (room: string) => void;
  onRejoin: () => void;
}

/** Most of what is drawn, and needed by nobody who stands at the door: it comes while one does. */
export const loadMeeting = () => import('../meeting/meeting');
const Meeting = lazy(async () => ({ default: (await loadMeeting()).Meeting }));

/** A call from the first attempt to connect to the reason of its end. */
export function CallScreen({ call, room, onRoom, onRejoin }: Props) {
  const t = useT();
  const { phase, left, room: actual } = useStore(call.connection);
  const tell = useEffectEvent(onRoom);

  useEffect(() => {
    if (actual !== '') tell(actual);
  }, [actual]);

  if (left) return <LeftScreen left={left} room={room} onRejoin={onRejoin} />;
  const joining = (
    <main className="joining" data-testid="meeting" data-connection-state="connecting">
      <LoaderCircle className="spin" size={32} aria-hidden />
      <p role="status">{t('meeting.joining')}</p>
      <button type="button" className="button joining-cancel" onClick={() => void call.leave()}>
        {t('pre.cancel')}
      </button>
    </main>
  );
  if (phase === 'idle' || phase === 'connecting') return joining;
  return (
    <Suspense fallback={joining}>
      <Meeting call={call} room={room} />
    </Suspense>
  );
}
