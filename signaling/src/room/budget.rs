//! Charges of messages to the person behind them; messages wait where the person has spent everything.

use std::time::Instant;

use protocol::{
    ParticipantSid,
    livekit::{DisconnectReason, leave_request::Action, signal_request},
};

use crate::{clock::earliest, farewell::Farewell, participant::Participant, room::Room};

impl Room {
    /// Takes a client's message: carries it out now, or when its principal has something to spend.
    pub(crate) fn take_request(
        &mut self,
        sid: ParticipantSid,
        request: signal_request::Message,
        now: Instant,
    ) {
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        let leaves = matches!(request, signal_request::Message::Leave(_));
        let principal = participant.principal();
        if !leaves && !self.ledger.count(&principal, request.encoded_len(), now) {
            tracing::info!(participant = %sid, "session ended: more messages than allowed");
            return self.end_flood(sid, now);
        }
        let owes_until = self.ledger.owes_until(&principal, now);
        let waiting = &mut participant.waiting;
        if leaves || (owes_until.is_none() && waiting.messages.is_empty()) {
            return self.carry_out(sid, request, now);
        }
        waiting.until = owes_until.or(waiting.until).or(Some(now));
        if !waiting.push(request) {
            tracing::info!(participant = %sid, "session ended: more messages than can be waited for");
            self.end_flood(sid, now);
        }
    }

    fn end_flood(&mut self, sid: ParticipantSid, now: Instant) {
        let reason = DisconnectReason::StateMismatch;
        self.remove(sid, reason, Farewell::Leave(Action::Disconnect), now);
    }

    fn carry_out(&mut self, sid: ParticipantSid, request: signal_request::Message, now: Instant) {
        let cost = self.cost(sid, &request);
        self.charge(sid, cost, now);
        self.request(sid, request, now);
    }

    /// Charges the person behind a participant.
    pub(crate) fn charge(&mut self, sid: ParticipantSid, units: u64, now: Instant) {
        if let Some(participant) = self.participants.get(&sid) {
            self.ledger.charge(&participant.principal(), units, now);
        }
    }

    /// When the next message that waits is due.
    pub(crate) fn waiting_until(&self) -> Option<Instant> {
        let until = |participant: &Participant| participant.waiting.until;
        earliest([self.participants.values().filter_map(until).min()])
    }

    /// Carries out the messages that have waited long enough.
    pub(crate) fn resume_waiting(&mut self, now: Instant) {
        let due =
            |participant: &&Participant| participant.waiting.until.is_some_and(|at| at <= now);
        let due: Vec<_> = self
            .participants
            .values()
            .filter(due)
            .map(|p| p.sid)
            .collect();
        for sid in due {
            while let Some(participant) = self.participants.get_mut(&sid) {
                let owes_until = self.ledger.owes_until(&participant.principal(), now);
                participant.waiting.until = owes_until;
                if owes_until.is_some() {
                    break;
                }
                let Some(request) = participant.waiting.pop() else {
                    break;
                };
                self.carry_out(sid, request, now);
            }
        }
    }
}
