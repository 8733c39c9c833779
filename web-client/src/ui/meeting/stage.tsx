import type { CallView } from '../../call/types';
import type { StageModel } from '../../layout/stage-model';
import { useT } from '../prefs';
import { useStore } from '../use-store';
import { Tile } from './tile';

/** The pictures. Where they go is decided elsewhere; here they are only put there. */
export function Stage({ call, model }: { call: CallView; model: StageModel }) {
  const t = useT();
  const tiles = useStore(model, (stage) => stage.tiles);
  return (
    <ul className="stage-tiles" aria-label={t('meeting.stage')}>
      {tiles.map((at) => (
        <Tile key={at.id} at={at} call={call} model={model} />
      ))}
    </ul>
  );
}
