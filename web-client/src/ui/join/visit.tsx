import { useEffect, useState, useSyncExternalStore } from 'react';
import { followDevices } from '../../call/devices';
import { nameInToken } from '../../call/jwt';
import { Session } from '../../call/session';
import { prefs, setPref, useT } from '../prefs';
import { CallScreen } from './call-screen';
import { Door } from './door';
import '../../styles/shared.css';

followDevices();

interface Props {
  room: string;
  token: string | undefined;
  name: string | undefined;
  autojoin: boolean;
}

/** Everything behind a meeting's link: the door, the meeting, the way out. */
export function Visit({ room, token, name, autojoin }: Props) {
  const t = useT();
  const [session] = useState(() => new Session({ room, token }));
  const state = useSyncExternalStore(session.subscribe, session.getSnapshot);
  const named = token === undefined ? undefined : nameInToken(token);

  useEffect(() => {
    document.title = `${t('meeting.title', { code: room })} · Conclave`;
  }, [t, room]);

  useEffect(() => {
    // A link for machines need not have typed a name before.
    const known = named ?? name ?? prefs.getSnapshot().name;
    if (autojoin) void session.joinDirectly(known === '' ? room : known);
    else void session.start();
    return () => session.close();
  }, [session, autojoin, name, named, room]);

  if (state.at === 'call') return <CallScreen call={state.call} room={room} onRejoin={() => void session.rejoin()} />;
  return (
    <Door
      preview={state.preview}
      room={room}
      fixedName={named}
      suggestedName={name}
      onJoin={(chosen) => {
        if (named === undefined) setPref('name', chosen);
        void session.join(chosen);
      }}
    />
  );
}
