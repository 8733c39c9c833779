//! The door: coming in, anew or back, is charged. Somebody who owes something waits until the debt is paid, as do the
//! messages of those inside.

use std::time::Instant;

use protocol::livekit::{DisconnectReason, leave_request::Action};

use crate::{
    api::{Join, Response, SessionId, SessionMessage},
    farewell::leave,
    room::Room,
    room::cost::REJOIN,
};

impl Room {
    /// Takes the wish to join or to resume. Of each person only the newest waits.
    pub(crate) fn arrive(&mut self, join: Box<Join>, now: Instant) {
        let principal = join.grant.principal();
        self.door_opens.cancel(&principal);
        if let Some(older) = self.door.remove(&principal) {
            self.send_away(older.session);
        }
        match self.ledger.owes_until(&principal, now) {
            Some(until) => {
                self.door_opens.set(principal.clone(), until);
                self.door.insert(principal, join);
            }
            None => self.let_in(*join, now),
        }
    }

    fn let_in(&mut self, join: Join, now: Instant) {
        let principal = join.grant.principal();
        let offer = join.request.publisher_offer.as_ref();
        let bytes = offer.map_or(0, |offer| offer.sdp.len());
        self.ledger
            .charge(&principal, (REJOIN + bytes / 1024) as u64, now);
        let budgets = self.ledger.descriptions(&principal, now);
        budgets.welcome(join.request.reconnect, now);
        let participants: Vec<_> = self.people.of(&principal).collect();
        for sid in participants {
            self.schedule_description(sid);
        }
        match join.request.reconnect {
            true => self.resume(join, now),
            false => self.join(join, now),
        }
    }

    /// Lets in those who have waited long enough.
    pub(crate) fn open_door(&mut self, now: Instant) {
        for principal in self.door_opens.due(now) {
            if let Some(join) = self.door.remove(&principal) {
                self.arrive(join, now);
            }
        }
    }

    /// A session that is not in the room is gone: it does not wait at the door either.
    pub(crate) fn leave_door(&mut self, session: SessionId) {
        let mut waiting = self.door.iter();
        let gone = waiting.find(|(_, join)| join.session == session);
        if let Some(principal) = gone.map(|(principal, _)| principal.clone()) {
            self.door.remove(&principal);
            self.door_opens.cancel(&principal);
        }
    }

    /// When the room ends, unless somebody comes: those who wait at the door will.
    pub(crate) fn ends_at(&self) -> Option<Instant> {
        self.close_at.filter(|_| self.door.is_empty())
    }

    /// Sends a client away that cannot come in as it wanted to. It may try anew.
    pub(crate) fn send_away(&mut self, session: SessionId) {
        let leave = leave(DisconnectReason::StateMismatch, Action::Reconnect);
        self.tell(session, SessionMessage::Response(leave.into()));
        self.tell(session, SessionMessage::Close);
    }

    /// The cost of telling somebody who comes in what the room is like.
    pub(crate) fn welcome_cost(&self, response: &Response) -> u64 {
        let tracks = self.tracks.len() + self.data_tracks.len();
        (tracks + response.binary().len() / 1024) as u64
    }
}
