//! Charges of messages to the person behind them; messages wait where the person has spent everything.

use std::time::Instant;

use protocol::{
    ParticipantSid,
    livekit::{DisconnectReason, leave_request::Action, signal_request},
};

use crate::{deadlines::Deadline, farewell::Farewell, room::Room};

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
        let key = (sid, Deadline::Request);
        let until = owes_until.or(self.deadlines.get(&key)).unwrap_or(now);
        self.deadlines.set(key, until);
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

    /// Carries out the messages of a participant that waited, as far as its principal's balance goes.
    pub(crate) fn resume_waiting(&mut self, sid: ParticipantSid, now: Instant) {
        while let Some(participant) = self.participants.get_mut(&sid) {
            if let Some(until) = self.ledger.owes_until(&participant.principal(), now) {
                return self.deadlines.set((sid, Deadline::Request), until);
            }
            let Some(request) = participant.waiting.pop() else {
                return;
            };
            self.carry_out(sid, request, now);
        }
    }
}
