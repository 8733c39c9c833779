//! Descriptions of clients: read here, not where media waits for it, and no more often than a meeting needs.

use std::time::Instant;

use protocol::{ParticipantSid, livekit::SessionDescription};
use sfu::DescriptionCommand;

use crate::{
    clock::earliest,
    deadlines::Deadline,
    descriptions::{HASTE, is_hasty},
    room::Room,
};

impl Room {
    /// Takes the offer that came with the join.
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

    /// Takes an offer of the client's only PeerConnection, or of the one on which it publishes.
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

    /// Takes the client's answer to our offer.
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
        let awaited = participant.awaited_answer;
        if !awaited.is_some_and(|awaited| answer.id == 0 || answer.id == awaited) {
            return tracing::debug!(participant = %sid, "an answer to nothing was ignored");
        }
        participant.awaited_answer = None;
        participant.descriptions.answer = Some(answer);
        self.deadlines.cancel(&(sid, Deadline::Answer));
        self.read_descriptions(sid, now);
    }

    /// Sets the time at which the next description of a participant is to be read, if one waits: when it came, or when
    /// the budget of its person changed.
    pub(crate) fn schedule_description(&mut self, sid: ParticipantSid) {
        let key = (sid, Deadline::Description);
        match self.description_due(sid) {
            Some(at) => self.deadlines.set(key, at),
            None => _ = self.deadlines.cancel(&key),
        }
    }

    fn description_due(&self, sid: ParticipantSid) -> Option<Instant> {
        let participant = self.participants.get(&sid)?;
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

    /// Reads the descriptions that wait and may be read now.
    pub(crate) fn read_descriptions(&mut self, sid: ParticipantSid, now: Instant) {
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
            offer.map(|offer| DescriptionCommand::offer(sid, offer.id, &offer.sdp)),
            answer.map(|answer| DescriptionCommand::answer(sid, answer.id, &answer.sdp)),
        ];
        self.schedule_description(sid);
        for command in commands.into_iter().flatten() {
            match command {
                Ok(command) => self.command(command),
                Err(error) => return self.negotiation_failed(sid, &error.to_string(), now),
            }
        }
    }
}
