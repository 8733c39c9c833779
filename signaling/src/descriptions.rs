//! Descriptions of clients: read here and not where media waits for it, and no more often than a meeting needs.

use std::time::{Duration, Instant};

use protocol::{
    ParticipantSid,
    budget::Budget,
    livekit::{ClientInfo, SessionDescription, client_info::Sdk},
};
use sfu::Command;

use crate::{clock::earliest, participant::Participant, room::Room};

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
const HASTE: Duration = Duration::from_millis(250);

/// LiveKit's Go SDK reads our answer beside the place where it makes its own offer of the join valid, and never connects when
/// the answer is first (2.19, `OnJoinResponse`). It tells its candidates once the offer is valid.
fn is_hasty(client: &ClientInfo) -> bool {
    client.sdk() == Sdk::Go
}

/// What a participant has sent and is not read yet. The newest counts: one that waits is given up for it, as clients give
/// up offers of theirs.
#[derive(Debug, Default)]
pub(crate) struct Descriptions {
    offer: Option<SessionDescription>,
    answer: Option<SessionDescription>,
    /// The offer is not read before.
    hold_offer: Option<Instant>,
}

/// How many may still be read. They are the person's; coming in brings some, and is charged.
#[derive(Debug, Clone)]
pub(crate) struct DescriptionBudgets {
    offers: Budget,
    answers: Budget,
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

impl Room {
    /// The offer that came with the join.
    pub(crate) fn offer_of_join(
        &mut self,
        sid: ParticipantSid,
        offer: SessionDescription,
        now: Instant,
    ) {
        if let Some(participant) = self.participants.get_mut(&sid) {
            let hold = is_hasty(&participant.client).then(|| now + HASTE);
            participant.descriptions.hold_offer = hold;
        }
        self.take_offer(sid, offer, now);
    }

    /// The client has made the offer of its join valid: nothing waits for that any more.
    pub(crate) fn join_is_settled(&mut self, sid: ParticipantSid, now: Instant) {
        if let Some(participant) = self.participants.get_mut(&sid)
            && participant.descriptions.hold_offer.take().is_some()
        {
            self.read_descriptions(sid, now);
        }
    }

    /// The client offers its only PeerConnection, or the one on which it publishes.
    pub(crate) fn offer(&mut self, sid: ParticipantSid, offer: SessionDescription, now: Instant) {
        self.join_is_settled(sid, now);
        self.take_offer(sid, offer, now);
    }

    fn take_offer(&mut self, sid: ParticipantSid, offer: SessionDescription, now: Instant) {
        if offer.r#type != "offer" {
            return tracing::debug!(participant = %sid, "an offer that is none was ignored");
        }
        if let Some(participant) = self.participants.get_mut(&sid) {
            participant.descriptions.offer = Some(offer);
            self.read_descriptions(sid, now);
        }
    }

    /// The client answers our offer.
    pub(crate) fn client_answers(
        &mut self,
        sid: ParticipantSid,
        answer: SessionDescription,
        now: Instant,
    ) {
        if answer.r#type != "answer" {
            return tracing::debug!(participant = %sid, "an answer that is none was ignored");
        }
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        let awaited = participant.awaited_answer.map(|(awaited, _)| awaited);
        if !awaited.is_some_and(|awaited| answer.id == 0 || answer.id == awaited) {
            return tracing::debug!(participant = %sid, "an answer to nothing was ignored");
        }
        participant.awaited_answer = None;
        participant.descriptions.answer = Some(answer);
        self.read_descriptions(sid, now);
    }

    /// When the next of a participant is to be read.
    pub(crate) fn descriptions_due(&self, participant: &Participant) -> Option<Instant> {
        let waiting = &participant.descriptions;
        if waiting.offer.is_none() && waiting.answer.is_none() {
            return None;
        }
        let (offers, answers) = self.ledger.descriptions_ready(&participant.principal());
        let held = waiting.hold_offer.unwrap_or(offers);
        earliest([
            waiting.offer.as_ref().map(|_| offers.max(held)),
            waiting.answer.as_ref().map(|_| answers),
        ])
    }

    /// Those that wait and may be read now.
    pub(crate) fn read_due_descriptions(&mut self, now: Instant) {
        let is_due = |participant: &&Participant| {
            let due = self.descriptions_due(participant);
            due.is_some_and(|at| at <= now)
        };
        let due = self.participants.values().filter(is_due);
        let due: Vec<_> = due.map(|participant| participant.sid).collect();
        for sid in due {
            self.read_descriptions(sid, now);
        }
    }

    fn read_descriptions(&mut self, sid: ParticipantSid, now: Instant) {
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        let budgets = self.ledger.descriptions(&participant.principal(), now);
        let waiting = &mut participant.descriptions;
        let is_held = waiting.hold_offer.is_some_and(|until| now < until);
        let mut may_read = || !is_held && budgets.offers.take(1, now);
        let offer = waiting.offer.take_if(|_| may_read());
        let answer = waiting.answer.take_if(|_| budgets.answers.take(1, now));
        let commands = [
            offer.map(|offer| Command::offer(sid, offer.id, &offer.sdp)),
            answer.map(|answer| Command::answer(sid, answer.id, &answer.sdp)),
        ];
        for command in commands.into_iter().flatten() {
            match command {
                Ok(command) => self.command(command),
                Err(error) => return self.negotiation_failed(sid, &error.to_string(), now),
            }
        }
    }
}
