import { useEffect, useState, type ComponentProps } from 'react';
import { followDevices } from '../../call/devices';
import { nameInToken, roomInToken } from '../../call/jwt';
import { ROOM_NAME } from '../../call/room-code';
import { Session } from '../../call/session';
import type { Ticket } from '../../call/tickets';
import { prefs, setPref } from '../../prefs';
import { useT } from '../prefs';
import { correct } from '../route';
import { CallScreen } from './call-screen';
import { Door } from './door';
import { loadLater, useLater, type Later } from './later';
import { useStore } from '../use-store';
import '../../styles/shared.css';

followDevices();
void loadLater().catch(() => undefined);

interface Props {
  ticket: Ticket;
  name: string | undefined;
  autojoin: boolean;
}

/** Everything behind a meeting's link: the door, the meeting, the way out. */
export function Visit({ ticket, name, autojoin }: Props) {
  const t = useT();
  const [session] = useState(() => new Session(ticket));
  const { room, tokens } = ticket;
  const [token] = tokens;
  // Where the token leads may have a name that cannot stand in an address; and one can be moved to another room.
  const [known, setKnown] = useState(() => (token === undefined ? undefined : roomInToken(token)) ?? room);
  const [named] = useState(() => (token === undefined ? undefined : nameInToken(token)));
  const state = useStore(session);

  useEffect(() => {
    document.title = `${t('meeting.title', { code: known })} · Conclave`;
  }, [t, known]);

  useEffect(() => {
    // A link for machines need not have typed a name before.
    const chosen = named ?? name ?? prefs.getSnapshot().name;
    void session.arrive({ autojoin, name: chosen === '' ? room : chosen });
    return () => session.close();
    // One arrives once. The address may be set right later.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [session]);

  const again = () => void session.rejoin();
  const entered = (actual: string): void => {
    setKnown(actual);
    if (ROOM_NAME.test(actual)) correct(`/m/${actual}`);
  };
  switch (state.at) {
    case 'arriving':
      return <div className="page" aria-busy="true" />;
    case 'call':
      return <CallScreen call={state.call} room={known} onRoom={entered} onRejoin={again} />;
    case 'returning':
      return <Returning way={state.way} room={known} onLeave={() => session.giveUp()} />;
    case 'out':
      return <Out left={state.left} room={known} onRejoin={again} />;
    case 'door':
      return (
        <Door
          preview={state.preview}
          lookout={state.lookout}
          inside={state.inside}
          room={known}
          fixedName={named}
          suggestedName={name}
          onJoin={(as) => {
            if (named === undefined) setPref('name', as);
            void session.join(as);
          }}
        />
      );
  }
}

function Returning(props: ComponentProps<Later['ReturningScreen']>) {
  const later = useLater();
  return later ? <later.ReturningScreen {...props} /> : <div className="page" aria-busy="true" />;
}

function Out(props: ComponentProps<Later['LeftScreen']>) {
  const later = useLater();
  return later ? <later.LeftScreen {...props} /> : <div className="page" aria-busy="true" />;
}
