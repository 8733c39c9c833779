import { ArrowRight, LoaderCircle, RotateCw, ShieldCheck, Video } from 'lucide-react';
import { useEffect, useId, useState, type SyntheticEvent } from 'react';
import { refused, unreachable } from '../../call/left';
import { parseEntered } from '../../call/room-code';
import { loadSettings, mayStart, settings } from '../../call/server';
import { startMeeting } from '../../call/token';
import { textOf, titleOf } from '../left/words';
import { Heading } from '../parts/heading';
import { PageHead } from '../parts/page-head';
import { useT } from '../prefs';
import { go } from '../route';
import { Illustration } from './illustration';
import { useStore } from '../use-store';
import './home.css';

/** The start page: begin a meeting, or join one; as far as this server lets people do either. */
export function Home({ first, wrong }: { first: boolean; wrong: 'link' | 'page' | undefined }) {
  const t = useT();
  const server = useStore(settings);
  const known = typeof server === 'object' ? server : undefined;
  const starts = known !== undefined && mayStart(known);
  const joins = known !== undefined && (known.join === 'link' || known.development);
  const [retrying, setRetrying] = useState(false);
  const [found, setFound] = useState(0);

  const retry = async (): Promise<void> => {
    setRetrying(true);
    const answer = await loadSettings();
    setRetrying(false);
    // The button goes away with what it was there for.
    if (answer !== 'unreachable') setFound((before) => before + 1);
  };

  useEffect(() => {
    document.title = 'Conclave';
  }, []);

  return (
    <div className="page home">
      <PageHead />
      <main className="home-main">
        <section className="home-text">
          <Heading key={found} focus={!first || found > 0}>{t('home.title')}</Heading>
          <p className="home-lead">{t(known === undefined || starts ? 'home.lead' : 'home.leadClosed')}</p>
          <div className="home-actions" aria-busy={server === 'loading'}>
            {(server === 'unreachable' || retrying) && <Unreachable retrying={retrying} onRetry={() => void retry()} />}
            {wrong === 'page' && (
              <p className="field-error" role="alert" data-testid="no-page">
                {t('home.noPage')}
              </p>
            )}
            {wrong === 'link' && !joins && known !== undefined && (
              <p className="field-error" role="alert">
                {t('home.badLinkClosed')}
              </p>
            )}
            {known !== undefined && !starts && (
              <p className="home-closed" data-testid="start-closed">
                {t(joins ? 'home.startElsewhere' : 'home.closed')}
              </p>
            )}
            {/* Its place is kept while the server is asked. */}
            {(starts || (server === 'loading' && !retrying)) && <Start waiting={server === 'loading'} />}
            {starts && joins && (
              <div className="home-or" aria-hidden="true">
                <span>{t('home.or')}</span>
              </div>
            )}
            {joins && <Join badLink={wrong === 'link' ? t(starts ? 'home.badLink' : 'home.badLinkClosed') : undefined} />}
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

/** The button stays where it is while the server is asked, or whoever uses the keyboard would lose their place. */
export function Unreachable({ retrying, onRetry }: { retrying: boolean; onRetry: () => void }) {
  const t = useT();
  const left = unreachable(navigator);
  return (
    <div className="home-closed" role="alert" data-testid="server-unreachable">
      <h2>{titleOf(left, t)}</h2>
      <p>{textOf(left, t)}</p>
      <button type="button" className="button button--quiet" aria-disabled={retrying} onClick={retrying ? undefined : onRetry}>
        <RotateCw className={retrying ? 'spin' : undefined} size={18} aria-hidden />
        {t('left.retry')}
      </button>
      {retrying && <p className="sr-only">{t('returning.trying')}</p>}
    </div>
  );
}

function Start({ waiting }: { waiting: boolean }) {
  const t = useT();
  const [starting, setStarting] = useState(false);
  const [error, setError] = useState<string>();

  const start = async (): Promise<void> => {
    setStarting(true);
    setError(undefined);
    const answer = await startMeeting();
    if (answer.state === 'started') {
      go(`/m/${answer.slug}`);
      return;
    }
    setError(textOf(answer.state === 'unreachable' ? unreachable(navigator) : refused(answer.cause), t));
    setStarting(false);
    // The settings may have changed since this page was opened.
    if (answer.state === 'refused' && answer.cause === 'start-not-allowed') void loadSettings();
  };

  return (
    <>
      <button type="button" className="button button--large" data-testid="start-meeting" disabled={waiting} aria-busy={starting} onClick={() => void (starting ? undefined : start())}>
        {starting ? <LoaderCircle className="spin" size={20} aria-hidden /> : <Video size={20} aria-hidden />}
        {t('home.start')}
      </button>
      <p className="field-error" role="alert" hidden={error === undefined}>
        {error}
      </p>
    </>
  );
}

function Join({ badLink }: { badLink: string | undefined }) {
  const t = useT();
  const [entered, setEntered] = useState('');
  const [error, setError] = useState<string>();
  const field = useId();
  const problem = error ?? badLink;

  const join = (event: SyntheticEvent) => {
    event.preventDefault();
    const result = parseEntered(entered, location.origin);
    if (result.kind === 'room') go(result.path);
    else if (result.kind === 'elsewhere') setError(t('home.elsewhere', { host: result.host }));
    else setError(t(result.kind === 'empty' ? 'home.empty' : 'home.badCode'));
  };

  return (
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
  );
}
