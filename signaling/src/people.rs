//! The people in a room: counted, and found by the person behind them, without a look at all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use protocol::{ParticipantIdentity, ParticipantSid, livekit::participant_info::State};

use crate::participant::Participant;

/// The people in a room, as of the last [`People::update`] of each.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct People {
    standings: BTreeMap<ParticipantSid, Standing>,
    /// The participants of each principal: itself and its companions.
    participants: BTreeMap<ParticipantIdentity, BTreeSet<ParticipantSid>>,
    /// Number of participants of each principal that take a seat; principals with none are not in it.
    seats: BTreeMap<ParticipantIdentity, usize>,
    /// The participants with a seat that have not connected, by the time since 1970 when they joined.
    expected: BTreeSet<(Duration, ParticipantSid)>,
    counted: usize,
    recorders: usize,
    publishers: usize,
    holders: usize,
}

/// What one participant is to the room as a whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Standing {
    principal: ParticipantIdentity,
    /// It takes a seat, or shares that of its principal.
    is_seated: bool,
    /// It has not connected, and joined at this time since 1970.
    expected_since: Option<Duration>,
    is_counted: bool,
    records: bool,
    publishes: bool,
    holds_room: bool,
}

impl Standing {
    pub fn of(participant: &Participant) -> Self {
        let (is_seated, is_hidden) = (!participant.is_dependent(), participant.is_hidden());
        let is_expected = participant.state != State::Active;
        Self {
            principal: participant.principal(),
            is_seated,
            expected_since: is_expected.then_some(participant.joined_at),
            is_counted: is_seated && !is_hidden,
            records: participant.is_recorder(),
            publishes: participant.is_publisher() && !is_hidden,
            holds_room: participant.holds_room(),
        }
    }
}

impl People {
    /// A participant is here, or has changed; `None`: it is gone.
    pub fn update(&mut self, sid: ParticipantSid, now: Option<Standing>) {
        if self.standings.get(&sid) == now.as_ref() {
            return;
        }
        if let Some(before) = self.standings.remove(&sid) {
            self.remove(sid, &before);
        }
        if let Some(now) = now {
            self.add(sid, &now);
            self.standings.insert(sid, now);
        }
    }

    fn add(&mut self, sid: ParticipantSid, standing: &Standing) {
        let principal = &standing.principal;
        let same = self.participants.entry(principal.clone());
        same.or_default().insert(sid);
        if standing.is_seated {
            *self.seats.entry(principal.clone()).or_default() += 1;
            self.expected
                .extend(standing.expected_since.map(|at| (at, sid)));
        }
        self.counted += usize::from(standing.is_counted);
        self.recorders += usize::from(standing.records);
        self.publishers += usize::from(standing.publishes);
        self.holders += usize::from(standing.holds_room);
    }

    fn remove(&mut self, sid: ParticipantSid, standing: &Standing) {
        let principal = &standing.principal;
        if let Some(same) = self.participants.get_mut(principal) {
            same.remove(&sid);
            if same.is_empty() {
                self.participants.remove(principal);
            }
        }
        if standing.is_seated {
            if let Some(at) = standing.expected_since {
                self.expected.remove(&(at, sid));
            }
            if let Some(seats) = self.seats.get_mut(principal) {
                *seats -= 1;
                if *seats == 0 {
                    self.seats.remove(principal);
                }
            }
        }
        self.counted -= usize::from(standing.is_counted);
        self.recorders -= usize::from(standing.records);
        self.publishers -= usize::from(standing.publishes);
        self.holders -= usize::from(standing.holds_room);
    }

    /// The participants of a person: itself and its companions.
    pub fn of(&self, principal: &ParticipantIdentity) -> impl Iterator<Item = ParticipantSid> {
        let participants = self.participants.get(principal);
        participants.into_iter().flatten().copied()
    }

    /// Number of persons with a seat, this one left out.
    pub fn seats_of_others(&self, own: &ParticipantIdentity) -> usize {
        self.seats.len() - usize::from(self.seats.contains_key(own))
    }

    /// The participants with a seat that joined at this time since 1970 or before and have not connected, the first to
    /// join first.
    pub fn expected(&self, since: Duration) -> impl Iterator<Item = ParticipantSid> {
        let all = self.expected.iter();
        all.take_while(move |(at, _)| *at <= since)
            .map(|(_, sid)| *sid)
    }

    /// Number of participants that are not hidden, and not here for others only.
    pub fn count(&self) -> usize {
        self.counted
    }

    /// Number of participants that publish and are not hidden.
    pub fn publishers(&self) -> usize {
        self.publishers
    }

    /// Whether somebody who records is here, hidden or not.
    pub fn is_recorded(&self) -> bool {
        self.recorders > 0
    }

    /// Whether anybody is here for whom the room stays open.
    pub fn hold_room(&self) -> bool {
        self.holders > 0
    }
}
