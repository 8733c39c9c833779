import { MicOff, MonitorUp, Pin, PinOff } from 'lucide-react';
import { memo } from 'react';
import type { CallView, Person } from '../../call/types';
import type { StageModel } from '../../layout/stage-model';
import type { Placed } from '../../layout/types';
import { Avatar } from '../parts/avatar';
import { Bars } from '../parts/bars';
import { Video } from '../parts/video';
import { useT } from '../prefs';
import { useStore } from '../use-store';
import './tile.css';

interface Props {
  at: Placed;
  call: CallView;
  model: StageModel;
}

/** One picture with its name. It follows its person and nobody else. */
export const Tile = memo(function Tile({ at, call, model }: Props) {
  const person = useStore(call.people, ({ list }) => list.find(({ identity }) => identity === at.identity));
  const several = useStore(call.people, ({ list }) => list.length > 1);
  const pinned = useStore(model, ({ pins }) => pins.includes(at.id));
  // Gone, and the stage does not know it yet.
  if (!person) return null;
  return <Shown at={at} person={person} pinned={pinned} canPin={several && person.can.pin} onPin={model.togglePin} />;
});

interface ShownProps {
  at: Placed;
  person: Person;
  pinned: boolean;
  canPin: boolean;
  onPin: (id: string) => void;
}

function Shown({ at, person, pinned, canPin, onPin }: ShownProps) {
  const t = useT();
  const isShare = at.source === 'screen_share';
  const picture = isShare ? person.share : person.camera;
  const speaking = person.speaking && !isShare;
  const shown = isShare ? t('tile.share', { name: person.name }) : person.isLocal ? t('tile.you', { name: person.name }) : person.name;
  const pinLabel = t(pinned ? 'tile.unpin' : 'tile.pin', { name: shown });

  return (
    <li
      className={`tile tile--${at.role}`}
      data-testid="tile"
      data-identity={person.identity}
      data-source={at.source}
      data-speaking={speaking}
      data-muted={person.muted}
      style={{ width: at.width, height: at.height, transform: `translate(${String(at.x)}px, ${String(at.y)}px)` }}
    >
      {picture ? (
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
}
