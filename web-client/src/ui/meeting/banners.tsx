import { LoaderCircle, MicOff, MonitorUp, VolumeX } from 'lucide-react';
import type { CallSnapshot, CallView } from '../../call/types';
import { Bars } from '../parts/bars';
import { useT } from '../prefs';

/** What holds for a while and concerns oneself. The most urgent first. */
export function Banners({ call, state }: { call: CallView; state: CallSnapshot }) {
  const t = useT();
  const own = state.people.find((person) => person.isLocal);
  return (
    <div className="banners" aria-live="polite">
      {(state.phase === 'reconnecting' || state.phase === 'resuming') && (
        <p className="banner banner--warn" data-testid="reconnecting">
          <LoaderCircle className="spin" size={18} aria-hidden />
          {t(`banner.${state.phase}`)}
        </p>
      )}
      {!state.canPlaySound && (
        <p className="banner">
          <VolumeX size={18} aria-hidden />
          <span>{t('banner.sound')}</span>
          <button type="button" className="button button--small" data-testid="enable-sound" onClick={() => void call.playSound()}>
            {t('banner.enableSound')}
          </button>
        </p>
      )}
      {state.silentMicrophone && (
        <p className="banner banner--warn">
          <MicOff size={18} aria-hidden />
          {t('banner.silent')}
        </p>
      )}
      {own?.quality === 'poor' && state.phase === 'connected' && (
        <p className="banner">
          <Bars lit={1} />
          {t('banner.weak')}
        </p>
      )}
      {state.sending.share && (
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
