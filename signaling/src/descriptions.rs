//! How many descriptions of a client are read, and when.

use std::time::{Duration, Instant};

use protocol::{
    budget::Budget,
    livekit::{ClientInfo, SessionDescription, client_info::Sdk},
};

/// Descriptions of one kind that a participant may send at once. Clients send a second offer right after the first
/// answer, and one more for each track they publish.
const BURST: u32 = 5;

/// And how many a second in the long run.
const PER_SECOND: u32 = 1;

/// Descriptions of each kind that come with a resume: ICE is restarted, and what happened meanwhile is taken in. What they
/// cost is charged at the door, and by their bytes.
const WITH_RESUME: u32 = 2;

/// How long the offer of a join waits for a sign that its client has taken that offer in itself ([`is_hasty`]). The sign is
/// there within some milliseconds, except where there is no candidate to be told.
pub(crate) const HASTE: Duration = Duration::from_millis(250);

/// LiveKit's Go SDK reads our answer beside the place where it makes its own offer of the join valid, and never connects when
/// the answer is first (2.19, `OnJoinResponse`). It tells its candidates once the offer is valid.
pub(crate) fn is_hasty(client: &ClientInfo) -> bool {
    client.sdk() == Sdk::Go
}

/// What a participant has sent and is not read yet. The newest counts: one that waits is given up for it, as clients give
/// up offers of theirs.
#[derive(Debug, Default)]
pub(crate) struct Descriptions {
    pub offer: Option<SessionDescription>,
    pub answer: Option<SessionDescription>,
    /// The offer is not read before.
    pub hold_offer: Option<Instant>,
}

/// How many may still be read. They are the person's; coming in brings some, and is charged.
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

    /// The person comes in once more: anew, which takes as many as the first time, or back.
    pub fn welcome(&mut self, resumes: bool, now: Instant) {
        let units = if resumes { WITH_RESUME } else { BURST };
        self.offers.grant(units, now);
        self.answers.grant(units, now);
    }

    /// When one more offer may be read, and one more answer.
    pub fn ready(&self) -> (Instant, Instant) {
        (self.offers.ready_for(1), self.answers.ready_for(1))
    }

    pub fn are_full(&self, now: Instant) -> bool {
        let mut all = self.clone();
        all.offers.take(BURST, now) && all.answers.take(BURST, now)
    }
}

impl Descriptions {
    /// They came over a signal connection that is gone, by which their client has given them up.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}
