import { Dialog } from '../parts/dialog';
import { useT } from '../prefs';
import { SHORTCUTS } from './use-shortcuts';

/** The keys and what they do. */
export function ShortcutsDialog({ onClose }: { onClose: () => void }) {
  const t = useT();
  return (
    <Dialog title={t('shortcuts.title')} onClose={onClose}>
      <dl className="shortcuts">
        {SHORTCUTS.map(({ action, key, ctrl }) => (
          <div key={action}>
            <dt>{t(`shortcuts.${action}`)}</dt>
            <dd>
              {ctrl && <kbd>{t('shortcuts.ctrl')}</kbd>}
              <kbd>{key.toUpperCase()}</kbd>
            </dd>
          </div>
        ))}
      </dl>
      <p className="door-note">{t('shortcuts.note')}</p>
    </Dialog>
  );
}
