import { canChooseSpeaker } from '../../call/devices';
import type { CallView } from '../../call/types';
import { DeviceSelect, SpeakerTest } from '../parts/device-select';
import { Dialog } from '../parts/dialog';
import { LevelMeter } from '../parts/level-meter';
import { LanguagePicker, ThemePicker } from '../parts/page-head';
import { useT } from '../prefs';

/** Devices, language and appearance in one place; on a telephone the only one. */
export function SettingsDialog({ call, onClose }: { call: CallView; onClose: () => void }) {
  const t = useT();
  return (
    <Dialog title={t('settings.title')} onClose={onClose}>
      <div className="menu-group">
        <span className="field-label">{t('device.microphone')}</span>
        <DeviceSelect kind="audioinput" chooser={call} />
        <LevelMeter track={call.microphoneTrack()} />
      </div>
      <div className="menu-group">
        <span className="field-label">{t('device.camera')}</span>
        <DeviceSelect kind="videoinput" chooser={call} />
      </div>
      <div className="menu-group">
        <span className="field-label">{t('device.speaker')}</span>
        {canChooseSpeaker() && <DeviceSelect kind="audiooutput" chooser={call} />}
        <SpeakerTest chooser={call} />
      </div>
      <div className="menu-pair">
        <div className="menu-group">
          <span className="field-label">{t('language.label')}</span>
          <LanguagePicker />
        </div>
        <div className="menu-group">
          <span className="field-label">{t('theme.label')}</span>
          <ThemePicker />
        </div>
      </div>
    </Dialog>
  );
}
