import { EllipsisVertical, Keyboard, LayoutGrid, Maximize, Minimize, PanelTop, Settings } from 'lucide-react';
import { useSyncExternalStore } from 'react';
import type { StageModel } from '../../layout/stage-model';
import { Popover } from '../parts/popover';
import { useT } from '../prefs';
import { useStore } from '../use-store';

interface Props {
  model: StageModel;
  onDialog: (dialog: 'settings' | 'shortcuts') => void;
}

/** What is needed rarely. */
export function MoreMenu({ model, onDialog }: Props) {
  const t = useT();
  const view = useStore(model, (stage) => stage.view);
  const full = useSyncExternalStore(followFullscreen, () => document.fullscreenElement !== null);
  return (
    <Popover className="round" label={t('control.more')} icon={<EllipsisVertical size={22} aria-hidden />} align="end">
      {(close) => {
        const item = (icon: typeof Settings, label: string, act: () => void) => {
          const Icon = icon;
          return (
            <button
              type="button"
              className="menu-item"
              onClick={() => {
                close();
                act();
              }}
            >
              <Icon size={20} aria-hidden />
              {label}
            </button>
          );
        };
        return (
          <div>
            {view === 'grid' ? item(PanelTop, t('control.speakerView'), () => model.setView('speaker')) : item(LayoutGrid, t('control.gridView'), () => model.setView('grid'))}
            {document.fullscreenEnabled &&
              (full
                ? item(Minimize, t('control.exitFullscreen'), () => void document.exitFullscreen())
                : item(Maximize, t('control.fullscreen'), () => void document.documentElement.requestFullscreen()))}
            {item(Settings, t('control.settings'), () => onDialog('settings'))}
            {item(Keyboard, t('control.shortcuts'), () => onDialog('shortcuts'))}
          </div>
        );
      }}
    </Popover>
  );
}

function followFullscreen(listener: () => void): () => void {
  document.addEventListener('fullscreenchange', listener);
  return () => document.removeEventListener('fullscreenchange', listener);
}
