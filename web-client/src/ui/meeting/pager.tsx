import { ChevronLeft, ChevronRight } from 'lucide-react';
import { useT } from '../prefs';

/** Turns the pages of the stage. */
export function Pager({ page, pages, onPage }: { page: number; pages: number; onPage: (page: number) => void }) {
  const t = useT();
  return (
    <nav className="pager" aria-label={t('page.position', { page: page + 1, pages })}>
      <button type="button" aria-label={t('page.previous')} aria-disabled={page === 0} onClick={() => page > 0 && onPage(page - 1)}>
        <ChevronLeft size={20} aria-hidden />
      </button>
      <span aria-hidden="true">
        {page + 1} / {pages}
      </span>
      <button type="button" aria-label={t('page.next')} aria-disabled={page === pages - 1} onClick={() => page < pages - 1 && onPage(page + 1)}>
        <ChevronRight size={20} aria-hidden />
      </button>
    </nav>
  );
}
