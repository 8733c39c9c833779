import { EllipsisVertical, Keyboard, LayoutGrid, Maximize, Minimize, PanelTop, Settings } from 'lucide-react';
import { useSyncExternalStore } from 'react';
import type { View } from '../../layout/types';
import { Popover } from '../parts/popover';
import { useT } from '../prefs';

interface Props {
  view: View;
  onView: (view: View) => void;
  onDialog: (dialog: 'settings' | 'shortcuts') => void;
}

/** What is needed rarely. */
export function MoreMenu({ view, onView, onDialog }: Props) {
  const t = useT();
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
            {view === 'grid' ? item(PanelTop, t('control.speakerView'), () => onView('speaker')) : item(LayoutGrid, t('control.gridView'), () => onView('grid'))}
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
