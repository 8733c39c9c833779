import { LoaderCircle, MicOff, MonitorUp, VolumeX } from 'lucide-react';
import type { CallView } from '../../call/types';
import { Bars } from '../parts/bars';
import { useT } from '../prefs';
import { useStore } from '../use-store';

/** What holds for a while and concerns oneself. The most urgent first. */
export function Banners({ call }: { call: CallView }) {
  const t = useT();
  const phase = useStore(call.connection, (connection) => connection.phase);
  const weak = useStore(call.people, ({ list }) => list[0]?.quality === 'poor');
  const { canPlaySound, silentMicrophone, sending } = useStore(call.devices);
  return (
    <div className="banners" aria-live="polite">
      {(phase === 'reconnecting' || phase === 'resuming') && (
        <p className="banner banner--warn" data-testid="reconnecting">
          <LoaderCircle className="spin" size={18} aria-hidden />
          {t(`banner.${phase}`)}
        </p>
      )}
      {!canPlaySound && (
        <p className="banner">
          <VolumeX size={18} aria-hidden />
          <span>{t('banner.sound')}</span>
          <button type="button" className="button button--small" data-testid="enable-sound" onClick={() => void call.playSound()}>
            {t('banner.enableSound')}
          </button>
        </p>
      )}
      {silentMicrophone && (
        <p className="banner banner--warn">
          <MicOff size={18} aria-hidden />
          {t('banner.silent')}
        </p>
      )}
      {weak && phase === 'connected' && (
        <p className="banner">
          <Bars lit={1} />
          {t('banner.weak')}
        </p>
      )}
      {sending.share && (
        <p className="banner">
          <MonitorUp size={18} aria-hidden />
          <span>{t('banner.sharing')}</span>
          <button type="button" className="button button--small" onClick={() => void call.setShare(false)}>
            {t('control.stopShare')}
          </button>
        </p>
      )}
    </div>
  );
}
