import { LoaderCircle, Maximize, MicOff, MonitorUp, Pin, PinOff } from 'lucide-react';
import { memo, useRef, type ReactNode } from 'react';
import type { CallView, Person } from '../../call/types';
import type { StageModel } from '../../layout/stage-model';
import type { Placed } from '../../layout/types';
import { Avatar } from '../parts/avatar';
import { Bars } from '../parts/bars';
import { useStill } from '../parts/use-still';
import { Video } from '../parts/video';
import { useT } from '../prefs';
import { useStore } from '../use-store';
import { useMove } from './use-move';
import { useSpeaking } from './use-speaking';
import { useZoom } from './use-zoom';
import './tile.css';

/** Tiles of more people than this change places without a movement: it would be a flicker. */
const MAX_MOVING = 9;

interface Props {
  at: Placed;
  call: CallView;
  model: StageModel;
}

/** One picture with its name. It follows its person and nobody else. */
export const Tile = memo(function Tile({ at, call, model }: Props) {
  const t = useT();
  const person = useStore(call.people, ({ list }) => list.find(({ identity }) => identity === at.identity));
  const several = useStore(call.people, ({ list }) => list.length > 1);
  const pinned = useStore(model, ({ pins }) => pins.includes(at.id));
  const calm = useStore(call.people, ({ list }) => list.length <= MAX_MOVING);
  // Gone, and the stage does not know it yet.
  if (!person) return null;
  const pin = several && person.can.pin ? <PinButton id={at.id} name={nameOf(at, person, t)} pinned={pinned} model={model} /> : undefined;
  const shown = { at, person, call, calm, pin };
  return at.source === 'screen_share' ? <ShareTile {...shown} /> : <CameraTile {...shown} />;
});

interface ShownProps {
  at: Placed;
  person: Person;
  call: CallView;
  calm: boolean;
  pin: ReactNode;
}

function CameraTile({ at, person, call, calm, pin }: ShownProps) {
  const t = useT();
  const tile = useRef<HTMLLIElement>(null);
  const { camera, muted, quality } = person;
  const name = nameOf(at, person, t);
  // A picture that the server pauses says so itself; one's own needs no server.
  const still = useStill(tile, camera && !camera.paused && !person.isLocal ? camera.key : undefined);
  useMove(tile, at, calm);
  useSpeaking(tile, call, person.identity, muted);

  return (
    <li ref={tile} className={`tile tile--${at.role}`} data-testid="tile" data-identity={person.identity} data-source="camera" data-muted={muted} data-still={still} style={placed(at)}>
      {camera ? <Video key={camera.key} picture={camera} label={name} /> : <Avatar identity={person.identity} name={person.name} size="tile" />}
      {camera?.paused && <p className="tile-paused">{t('tile.paused')}</p>}
      {still && (
        <div className="tile-still" role="img" aria-label={t('tile.still')}>
          <LoaderCircle className="spin" size={28} aria-hidden />
        </div>
      )}
      <div className="tile-label">
        {muted && <MicOff size={15} className="tile-muted" role="img" aria-label={t('tile.muted')} />}
        <span>{name}</span>
      </div>
      {(quality === 'poor' || quality === 'lost') && (
        <span className="tile-quality" data-quality={quality} role="img" aria-label={t(quality === 'poor' ? 'tile.weak' : 'tile.gone')} title={t(quality === 'poor' ? 'tile.weak' : 'tile.gone')}>
          <Bars lit={quality === 'poor' ? 1 : 0} size={16} />
        </span>
      )}
      {pin}
      <span className="tile-ring" role="img" aria-label={t('tile.speaking')} aria-hidden="true" />
    </li>
  );
}

/** Somebody's screen. It can be looked at more closely, and by itself. */
function ShareTile({ at, person, calm, pin }: ShownProps) {
  const t = useT();
  const tile = useRef<HTMLLIElement>(null);
  const [zoom, hands] = useZoom(tile);
  const name = nameOf(at, person, t);
  const full = t('tile.full', { name });
  useMove(tile, at, calm);

  return (
    <li ref={tile} className={`tile tile--${at.role}`} data-testid="tile" data-identity={person.identity} data-source="screen_share" data-speaking="false" data-muted={person.muted} data-zoomed={zoom.scale > 1} style={placed(at)} {...hands}>
      {person.share && <Video key={person.share.key} picture={person.share} label={name} whole zoom={zoom} />}
      {person.share?.paused && <p className="tile-paused">{t('tile.paused')}</p>}
      <div className="tile-label">
        <MonitorUp size={15} aria-hidden />
        <span>{name}</span>
      </div>
      {document.fullscreenEnabled && (
        <button
          type="button"
          className="tile-pin tile-full"
          aria-label={full}
          title={full}
          onClick={() => void (document.fullscreenElement === tile.current ? document.exitFullscreen() : tile.current?.requestFullscreen())}
        >
          <Maximize size={16} aria-hidden />
        </button>
      )}
      {pin}
      <span className="tile-ring" aria-hidden="true" />
    </li>
  );
}

/** Drawn anew when its words are others, not whenever somebody speaks. */
const PinButton = memo(function PinButton({ id, name, pinned, model }: { id: string; name: string; pinned: boolean; model: StageModel }) {
  const t = useT();
  const label = t(pinned ? 'tile.unpin' : 'tile.pin', { name });
  return (
    <button type="button" className="tile-pin" aria-pressed={pinned} aria-label={label} title={label} onClick={() => model.togglePin(id)}>
      {pinned ? <PinOff size={16} aria-hidden /> : <Pin size={16} aria-hidden />}
    </button>
  );
});

function nameOf({ source }: Placed, { name, isLocal }: Person, t: ReturnType<typeof useT>): string {
  if (source === 'screen_share') return t('tile.share', { name });
  return isLocal ? t('tile.you', { name }) : name;
}

function placed({ x, y, width, height }: Placed) {
  return { width, height, transform: `translate(${String(x)}px, ${String(y)}px)` };
}
