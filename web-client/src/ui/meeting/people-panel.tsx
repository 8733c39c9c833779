import { Mic, MicOff, MonitorUp, Pin, PinOff, VideoOff } from 'lucide-react';
import { memo, useRef } from 'react';
import type { CallView, Person } from '../../call/types';
import type { StageModel } from '../../layout/stage-model';
import { Avatar } from '../parts/avatar';
import { Bars } from '../parts/bars';
import { usePlural, useT } from '../prefs';
import { useStore } from '../use-store';
import { Sheet } from './sheet';
import type { Kept } from './use-sheets';
import { useSpeaking } from './use-speaking';

/** Who is here, and what they send. */
export function PeoplePanel({ call, model, kept, onClose }: { call: CallView; model: StageModel; kept: Kept; onClose: () => void }) {
  const t = useT();
  const people = useStore(call.people, ({ list }) => list);
  const pins = useStore(model, (stage) => stage.pins);
  const plural = usePlural();
  return (
    <Sheet title={t('people.title')} note={t(`people.count.${plural(people.length)}`, { count: people.length })} kept={kept} onClose={onClose}>
      <ul className="people" data-scrolls aria-label={t('people.list')}>
        {people.map((person) => (
          <PersonRow key={person.identity} call={call} person={person} pinned={pins.includes(cameraOf(person))} model={model} />
        ))}
      </ul>
    </Sheet>
  );
}

const cameraOf = ({ identity }: Person) => `${identity}/camera`;

const PersonRow = memo(function PersonRow({ call, person, pinned, model }: { call: CallView; person: Person; pinned: boolean; model: StageModel }) {
  const t = useT();
  const row = useRef<HTMLLIElement>(null);
  const pinLabel = t(pinned ? 'tile.unpin' : 'tile.pin', { name: person.name });
  useSpeaking(row, call, person.identity, person.muted);
  return (
    <li ref={row} className="people-row" data-identity={person.identity}>
      <Avatar identity={person.identity} name={person.name} size="small" />
      <span className="people-name">{person.isLocal ? t('tile.you', { name: person.name }) : person.name}</span>
      {person.role !== 'participant' && <span className="people-role">{t(`people.${person.role}`)}</span>}
      {(person.quality === 'poor' || person.quality === 'lost') && (
        <span className="people-weak" role="img" aria-label={t('tile.weak')}>
          <Bars lit={1} />
        </span>
      )}
      {person.share && <MonitorUp size={18} role="img" aria-label={t('tile.share', { name: person.name })} />}
      {!person.camera && <VideoOff size={18} role="img" aria-label={t('people.cameraOff')} />}
      {person.muted ? <MicOff size={18} role="img" aria-label={t('tile.muted')} /> : <Mic size={18} className="people-on" aria-hidden />}
      {person.can.pin && (
        <button type="button" className="icon-button" aria-pressed={pinned} aria-label={pinLabel} title={pinLabel} onClick={() => model.togglePin(cameraOf(person))}>
          {pinned ? <PinOff size={18} aria-hidden /> : <Pin size={18} aria-hidden />}
        </button>
      )}
    </li>
  );
});
