import { MicOff, MonitorUp, Pin, PinOff } from 'lucide-react';
import { memo } from 'react';
import type { Person } from '../../call/types';
import type { Placed } from '../../layout/types';
import { Avatar } from '../parts/avatar';
import { Bars } from '../parts/bars';
import { Video } from '../parts/video';
import { useT } from '../prefs';
import './tile.css';

interface Props {
  at: Placed;
  person: Person;
  source: 'camera' | 'screen_share';
  pinned: boolean;
  canPin: boolean;
  onPin: (id: string) => void;
  onStopShare: () => void;
}

/** One picture with its name. */
export const Tile = memo(function Tile({ at, person, source, pinned, canPin, onPin, onStopShare }: Props) {
  const t = useT();
  const isShare = source === 'screen_share';
  const picture = isShare ? person.share : person.camera;
  const speaking = person.speaking && !isShare;
  const shown = isShare ? t('tile.share', { name: person.name }) : person.isLocal ? t('tile.you', { name: person.name }) : person.name;
  const pinLabel = t(pinned ? 'tile.unpin' : 'tile.pin', { name: shown });

  return (
    <li
      className={`tile tile--${at.role}`}
      data-testid="tile"
      data-identity={person.identity}
      data-source={source}
      data-speaking={speaking}
      data-muted={person.muted}
      style={{ width: at.width, height: at.height, transform: `translate(${String(at.x)}px, ${String(at.y)}px)` }}
    >
      {isShare && person.isLocal ? (
        <OwnShare onStop={onStopShare} />
      ) : picture ? (
        <Video key={picture.key} picture={picture} label={shown} whole={isShare} />
      ) : (
        <Avatar identity={person.identity} name={person.name} size="tile" />
      )}
      {picture?.paused && <p className="tile-paused">{t('tile.paused')}</p>}
      <div className="tile-label">
        {isShare ? <MonitorUp size={15} aria-hidden /> : person.muted && <MicOff size={15} className="tile-muted" role="img" aria-label={t('tile.muted')} />}
        <span>{shown}</span>
        {speaking && <span className="sr-only">{t('tile.speaking')}</span>}
      </div>
      {!isShare && (person.quality === 'poor' || person.quality === 'lost') && (
        <span className="tile-quality" data-quality={person.quality} role="img" aria-label={t(person.quality === 'poor' ? 'tile.weak' : 'tile.gone')} title={t(person.quality === 'poor' ? 'tile.weak' : 'tile.gone')}>
          <Bars lit={person.quality === 'poor' ? 1 : 0} size={16} />
        </span>
      )}
      {canPin && (
        <button type="button" className="tile-pin" aria-pressed={pinned} aria-label={pinLabel} title={pinLabel} onClick={() => onPin(at.id)}>
          {pinned ? <PinOff size={16} aria-hidden /> : <Pin size={16} aria-hidden />}
        </button>
      )}
      <span className="tile-ring" aria-hidden="true" />
    </li>
  );
});

/** One's own screen shown to oneself would be a mirror in a mirror. */
function OwnShare({ onStop }: { onStop: () => void }) {
  const t = useT();
  return (
    <div className="tile-own-share">
      <MonitorUp size={28} aria-hidden />
      <p>{t('tile.ownShare')}</p>
      <button type="button" className="button button--small" onClick={onStop}>
        {t('control.stopShare')}
      </button>
    </div>
  );
}
