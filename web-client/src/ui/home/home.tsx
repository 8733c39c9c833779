import { ArrowRight, ShieldCheck, Video } from 'lucide-react';
import { useEffect, useId, useState, type SyntheticEvent } from 'react';
import { newCode, parseEntered } from '../../call/room-code';
import { PageHead } from '../parts/page-head';
import { useT } from '../prefs';
import { go } from '../route';
import { Illustration } from './illustration';
import './home.css';

/** The start page: begin a meeting, or join one. */
export function Home({ badLink }: { badLink: boolean }) {
  const t = useT();
  const [entered, setEntered] = useState('');
  const [error, setError] = useState<string>();
  const field = useId();
  const problem = error ?? (badLink ? t('home.badLink') : undefined);

  useEffect(() => {
    document.title = 'Conclave';
  }, []);

  const join = (event: SyntheticEvent) => {
    event.preventDefault();
    const result = parseEntered(entered, location.origin);
    if (result.kind === 'room') go(result.path);
    else if (result.kind === 'elsewhere') setError(t('home.elsewhere', { host: result.host }));
    else setError(t(result.kind === 'empty' ? 'home.empty' : 'home.badCode'));
  };

  return (
    <div className="page home">
      <PageHead />
      <main className="home-main">
        <section className="home-text">
          <h1>{t('home.title')}</h1>
          <p className="home-lead">{t('home.lead')}</p>
          <div className="home-actions">
            <button type="button" className="button button--large" data-testid="start-meeting" onClick={() => go(`/m/${newCode()}`)}>
              <Video size={20} aria-hidden />
              {t('home.start')}
            </button>
            <div className="home-or" aria-hidden="true">
              <span>{t('home.or')}</span>
            </div>
            <form className="home-join" onSubmit={join} noValidate>
              <label className="field-label" htmlFor={field}>
                {t('home.code')}
              </label>
              <div className="home-join-row">
                <input
                  id={field}
                  className="input"
                  data-testid="join-code"
                  value={entered}
                  placeholder={t('home.codeHint')}
                  autoComplete="off"
                  autoCapitalize="none"
                  spellCheck={false}
                  aria-invalid={problem !== undefined}
                  aria-describedby={problem === undefined ? undefined : `${field}-error`}
                  onChange={(event) => {
                    setEntered(event.target.value);
                    setError(undefined);
                  }}
                />
                <button type="submit" className="button button--quiet" data-testid="join-submit">
                  {t('home.join')}
                  <ArrowRight size={18} aria-hidden />
                </button>
              </div>
              <p className="field-error" id={`${field}-error`} role="alert" hidden={problem === undefined}>
                {problem}
              </p>
            </form>
          </div>
          <p className="home-private">
            <ShieldCheck size={18} aria-hidden />
            {t('home.private')}
          </p>
        </section>
        <Illustration />
      </main>
    </div>
  );
}
