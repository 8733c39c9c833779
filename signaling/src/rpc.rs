//! A call of a participant's method that waits for its answer.

use std::time::Instant;

/// A call that waits for its answer.
#[derive(Debug)]
pub(crate) struct Call {
    /// Id of the API call.
    pub id: u64,
    /// When the participant must have acknowledged the call; `None`: it has.
    pub acknowledge_by: Option<Instant>,
    /// When the participant must have answered.
    pub respond_by: Instant,
}

impl Call {
    /// When the call has waited long enough.
    pub fn due(&self) -> Instant {
        let ack = self.acknowledge_by.unwrap_or(self.respond_by);
        ack.min(self.respond_by)
    }
}
