import type { CallSnapshot, CallView } from '../../call/types';
import { itemsOf, type StageModel, type StageSnapshot } from '../../layout/stage-model';
import { useT } from '../prefs';
import { Tile } from './tile';

/** The pictures. Where they go is decided elsewhere; here they are only put there. */
export function Stage({ call, state, model, stage }: { call: CallView; state: CallSnapshot; model: StageModel; stage: StageSnapshot }) {
  const t = useT();
  const places = new Map(stage.layout.tiles.map((tile) => [tile.id, tile]));
  const people = new Map(state.people.map((person) => [person.identity, person]));

  return (
    <ul className="stage-tiles" aria-label={t('meeting.stage')}>
        {/* In the order of arrival, whatever the layout: a video moved in the document would stop. */}
        {itemsOf(state.people).map((item) => {
          const at = places.get(item.id);
          const person = people.get(item.identity);
          if (!at || !person) return null;
          return (
            <Tile
              key={item.id}
              at={at}
              person={person}
              source={item.source}
              pinned={stage.pins.includes(item.id)}
              canPin={state.people.length > 1 && !(item.isLocal && item.source === 'screen_share')}
              onPin={(id) => model.togglePin(id)}
              onStopShare={() => void call.setShare(false)}
            />
          );
        })}
      </ul>
  );
}
