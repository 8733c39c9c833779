//! Descriptions of clients: read here and not where media waits for it, and no more often than a meeting needs.

use std::time::Instant;

use protocol::{ParticipantSid, livekit::SessionDescription};
use sfu::{Command, budget::Budget};

use crate::{clock::earliest, participant::Participant, room::Room};

/// Descriptions of one kind that a participant may send at once. Clients send a second offer right after the first
/// answer, and one more for each track they publish.
const BURST: u32 = 5;

/// And how many a second in the long run.
const PER_SECOND: u32 = 1;

/// What a participant has sent and is not read yet.
#[derive(Debug)]
pub(crate) struct Descriptions {
    offers: Queue,
    answers: Queue,
}

/// The newest counts: one that waits is given up for it, as clients give up offers of theirs.
#[derive(Debug)]
struct Queue {
    budget: Budget,
    waiting: Option<SessionDescription>,
}

impl Queue {
    fn new(now: Instant) -> Self {
        Self {
            budget: Budget::new(PER_SECOND, BURST, now),
            waiting: None,
        }
    }

    fn due(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|_| self.budget.ready_for(1))
    }

    fn take(&mut self, now: Instant) -> Option<SessionDescription> {
        self.waiting.take_if(|_| self.budget.take(1, now))
    }
}

impl Descriptions {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            offers: Queue::new(now),
            answers: Queue::new(now),
        }
    }

    /// When the next is to be read.
    pub(crate) fn due(&self) -> Option<Instant> {
        earliest([self.offers.due(), self.answers.due()])
    }

    /// They came over a signal connection that is gone, by which their client has given them up.
    pub(crate) fn forget(&mut self) {
        self.offers.waiting = None;
        self.answers.waiting = None;
    }
}

impl Room {
    /// The client offers its only PeerConnection, or the one on which it publishes.
    pub(crate) fn offer(&mut self, sid: ParticipantSid, offer: SessionDescription, now: Instant) {
        if offer.r#type != "offer" {
            return tracing::debug!(participant = %sid, "an offer that is none was ignored");
        }
        if let Some(participant) = self.participants.get_mut(&sid) {
            participant.descriptions.offers.waiting = Some(offer);
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
        participant.descriptions.answers.waiting = Some(answer);
        self.read_descriptions(sid, now);
    }

    /// Those that wait and may be read now.
    pub(crate) fn read_due_descriptions(&mut self, now: Instant) {
        let is_due = |participant: &&Participant| {
            let due = participant.descriptions.due();
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
        let offer = participant.descriptions.offers.take(now);
        let answer = participant.descriptions.answers.take(now);
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
