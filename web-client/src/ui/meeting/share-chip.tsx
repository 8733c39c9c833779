import { MonitorUp } from 'lucide-react';
import type { CallView } from '../../call/types';
import { Popover } from '../parts/popover';
import { Video } from '../parts/video';
import { useT } from '../prefs';
import { useStore } from '../use-store';

/** That one's own screen is shared, what of it is seen, and the way to stop. It takes no place from anybody. */
export function ShareChip({ call }: { call: CallView }) {
  const t = useT();
  const share = useStore(call.people, ({ list }) => list[0]?.share);
  const sharing = useStore(call.sending, (sending) => sending.share);
  if (!sharing) return null;
  return (
    <div className="share-chip" role="status">
      <Popover className="share-chip-what" label={t('banner.sharing')} align="start" icon={<><MonitorUp size={16} aria-hidden /><span>{t('banner.sharing')}</span></>}>
        {() => (share ? <Video key={share.key} picture={share} label={t('tile.ownShare')} whole /> : <p>{t('tile.ownShare')}</p>)}
      </Popover>
      <button type="button" className="button button--small" data-testid="stop-share" aria-label={t('control.stopShare')} title={t('control.stopShare')} onClick={() => void call.setShare(false)}>
        {t('control.stop')}
      </button>
    </div>
  );
}
