//! A call of a participant's method that waits for its answer.

use std::time::Instant;

use protocol::ParticipantSid;

/// A call that waits for its answer.
#[derive(Debug)]
pub(crate) struct Call {
    /// The API's.
    pub id: u64,
    pub callee: ParticipantSid,
    /// `None`: acknowledged.
    pub acknowledge_by: Option<Instant>,
    pub respond_by: Instant,
}

impl Call {
    pub fn due(&self) -> Instant {
        let ack = self.acknowledge_by.unwrap_or(self.respond_by);
        ack.min(self.respond_by)
    }
}
