//! The descriptions of a client that wait to be read, and the budget for reading them.

use std::time::{Duration, Instant};

use protocol::{
    budget::Budget,
    livekit::{ClientInfo, SessionDescription, client_info::Sdk},
};

/// The descriptions of one kind that a participant may send at once. Clients send a second offer right after the first
/// answer, and one more for each track they publish.
const BURST: u32 = 5;

/// The descriptions of one kind that a participant may send per second in the long run.
const PER_SECOND: u32 = 1;

/// The descriptions of each kind that a resume adds to the budget: ICE is restarted, and changes are caught up with.
/// Their cost is charged at the door, and by their bytes.
const WITH_RESUME: u32 = 2;

/// The time for which the offer of a join waits for a sign that its client has taken that offer in itself
/// ([`is_hasty`]). The sign comes within some milliseconds, except where the client has no candidate to tell.
pub(crate) const HASTE: Duration = Duration::from_millis(250);

/// Whether the client must not be answered too soon. LiveKit's Go SDK reads our answer beside the place where it makes
/// its own offer of the join valid, and never connects when the answer is first (2.19, `OnJoinResponse`). It tells its
/// candidates once the offer is valid.
pub(crate) fn is_hasty(client: &ClientInfo) -> bool {
    client.sdk() == Sdk::Go
}

/// The descriptions of a participant that are not read yet. The newest counts: it replaces one that waits, as clients
/// give up offers of theirs.
#[derive(Debug, Default)]
pub(crate) struct Descriptions {
    pub offer: Option<SessionDescription>,
    pub answer: Option<SessionDescription>,
    /// The offer is not read before this time.
    pub hold_offer: Option<Instant>,
}

/// The number of descriptions that may still be read. The budgets are the person's; coming in adds to them, and is
/// charged.
#[derive(Debug, Clone)]
pub(crate) struct DescriptionBudgets {
    pub offers: Budget,
    pub answers: Budget,
}

impl DescriptionBudgets {
    pub fn new(now: Instant) -> Self {
        let all = Budget::new(PER_SECOND, BURST, now);
        Self {
            offers: all.clone(),
            answers: all,
        }
    }

    /// The person comes in once more: anew, which adds as many as the first time, or back.
    pub fn welcome(&mut self, resumes: bool, now: Instant) {
        let units = if resumes { WITH_RESUME } else { BURST };
        self.offers.grant(units, now);
        self.answers.grant(units, now);
    }

    /// The instants at which one more offer may be read, and one more answer.
    pub fn ready(&self) -> (Instant, Instant) {
        (self.offers.ready_for(1), self.answers.ready_for(1))
    }

    /// Whether both budgets are as if they were new.
    pub fn are_full(&self, now: Instant) -> bool {
        let mut all = self.clone();
        all.offers.take(BURST, now) && all.answers.take(BURST, now)
    }
}

impl Descriptions {
    /// Drops all descriptions: they came over a signal connection that is gone, and the client has given them up with
    /// it.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}
