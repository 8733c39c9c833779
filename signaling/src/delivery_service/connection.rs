//! One connection.

use std::time::Instant;

use e2ee::messages::Hello;
use protocol::{ParticipantIdentity, budget::Budget};

/// What a client may cause, in units of about a tenth of a millisecond: each second, and at once.
const UNITS_PER_SECOND: u32 = 200;
const UNIT_BURST: u32 = 4_000;

/// One connection.
pub(super) struct Connection {
    pub(super) identity: ParticipantIdentity,
    /// What it said first.
    pub(super) hello: Option<Hello>,
    /// It has the state of the group, and gets the entries.
    pub(super) reads: bool,
    /// It is closed when its identity is not in the meeting by then.
    pub(super) arrive_until: Option<Instant>,
    /// Nothing that it sends counts any more.
    pub(super) is_closing: bool,
    pub(super) budget: Budget,
}

impl Connection {
    /// A connection that has said nothing yet.
    pub(super) fn new(
        identity: ParticipantIdentity,
        arrive_until: Option<Instant>,
        now: Instant,
    ) -> Self {
        Self {
            identity,
            hello: None,
            reads: false,
            arrive_until,
            is_closing: false,
            budget: Budget::new(UNITS_PER_SECOND, UNIT_BURST, now),
        }
    }

    /// It has said how far it has come, and hears how things stand.
    pub(super) fn is_heard(&self) -> bool {
        self.hello.is_some() && self.arrive_until.is_none() && !self.is_closing
    }
}
