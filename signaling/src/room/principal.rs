//! The person behind participants: one who joins as itself, and as companions from other devices. Seats and
//! budgets are the person's.

use std::time::{Duration, Instant};

use protocol::{
    ParticipantIdentity, ParticipantSid,
    error::Error,
    livekit::{DisconnectReason, leave_request::Action, participant_info::State},
    token::Grant,
};

use crate::{
    farewell::Farewell,
    participant::{Participant, is_dependent},
    room::Room,
};

/// The time for which a participant that has not connected keeps its seat: after it, the seat goes to one who comes.
const SEAT_HELD: Duration = Duration::from_secs(10);

impl Room {
    /// Checks whether this participant may be here beside the others. A companion takes nobody's place, and their
    /// number is limited.
    pub(crate) fn admit_principal(&self, grant: &Grant) -> Result<(), Error> {
        let (identity, principal) = (grant.identity(), grant.principal());
        let same = self.identities.get(&identity);
        let same = same.and_then(|sid| self.participants.get(sid));
        if principal != identity && same.is_some_and(|it| it.principal() != principal) {
            return Err(Error::AlreadyExists(
                "the identity is another participant's",
            ));
        }
        let companions = self.companions(&principal);
        let others = companions.filter(|companion| companion.identity != identity);
        if principal != identity && others.count() >= self.config.max_companions {
            return Err(Error::TooManyCompanions);
        }
        Ok(())
    }

    /// The companions of a person: the further devices as which it publishes.
    pub(crate) fn companions(
        &self,
        principal: &ParticipantIdentity,
    ) -> impl Iterator<Item = &Participant> {
        let participants = self.people.of(principal);
        let participants = participants.filter_map(|sid| self.participants.get(&sid));
        participants.filter(move |participant| participant.identity != *principal)
    }

    /// The participant with this identity, and its companions.
    pub(crate) fn find_all(&self, identity: &ParticipantIdentity) -> Vec<ParticipantSid> {
        let own = self.identities.get(identity).copied();
        let companions = self.companions(identity).map(|companion| companion.sid);
        own.into_iter().chain(companions).collect()
    }

    /// Whether no seat is left for this participant. Agents and recorders need none, a person counts once, and a
    /// duplicate gives up its seat first.
    pub(crate) fn is_full(&self, grant: &Grant) -> bool {
        if self.max_participants == 0 || is_dependent(grant) {
            return false;
        }
        self.people.seats_of_others(&grant.principal()) >= self.max_participants as usize
    }

    /// Finds a seat: of the participants that have not connected in time, the one that is expected for longest makes
    /// way.
    pub(crate) fn take_seat(&mut self, grant: &Grant, now: Instant) -> Result<(), Error> {
        while self.is_full(grant) {
            let expected_since = self.clock.unix(now).saturating_sub(SEAT_HELD);
            // The leaving of a companion frees no seat while its person is here, whatever device that is on.
            let is_here = |sid| {
                let participant = self.participants.get(&sid);
                participant.is_some_and(|participant| participant.state == State::Active)
            };
            let is_absent = |sid: &ParticipantSid| {
                let participant = self.participants.get(sid);
                let principal = participant.map(Participant::principal);
                principal.is_some_and(|principal| !self.people.of(&principal).any(is_here))
            };
            let Some(absent) = self.people.expected(expected_since).find(is_absent) else {
                return Err(Error::RoomFull);
            };
            let farewell = Farewell::Leave(Action::Disconnect);
            self.remove(absent, DisconnectReason::JoinFailure, farewell, now);
        }
        Ok(())
    }
}
