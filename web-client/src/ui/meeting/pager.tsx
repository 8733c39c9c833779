import { ChevronLeft, ChevronRight } from 'lucide-react';
import type { StageModel } from '../../layout/stage-model';
import { useT } from '../prefs';
import { useStore } from '../use-store';

/** Turns the pages of the stage. */
export function Pager({ model }: { model: StageModel }) {
  const t = useT();
  const page = useStore(model, (stage) => stage.page);
  const pages = useStore(model, (stage) => stage.pages);
  if (pages < 2) return null;
  return (
    <nav className="pager" aria-label={t('page.position', { page: page + 1, pages })}>
      <button type="button" aria-label={t('page.previous')} aria-disabled={page === 0} onClick={() => page > 0 && model.setPage(page - 1)}>
        <ChevronLeft size={20} aria-hidden />
      </button>
      <span aria-hidden="true">
        {page + 1} / {pages}
      </span>
      <button type="button" aria-label={t('page.next')} aria-disabled={page === pages - 1} onClick={() => page < pages - 1 && model.setPage(page + 1)}>
        <ChevronRight size={20} aria-hidden />
      </button>
    </nav>
  );
}
