//! One participant's conversation: frames in, frames out.

use std::time::{Duration, Instant};

use protocol::signal::Frame;

use crate::api::{Config, Join, SessionMessage, SessionOutput};

/// One signal connection.
pub struct Session {}

impl Session {
    /// A connection whose token and join request were read. Its first output is the join for the room of the grant.
    /// `unix_now` (time since 1970) and `now` name the same moment.
    pub fn new(_join: Join, _config: &Config, _unix_now: Duration, _now: Instant) -> Self {
        Self {}
    }

    /// The client sent a frame.
    pub fn handle_frame(&mut self, _frame: Frame, _now: Instant) {}

    /// The room sent a message.
    pub fn handle_message(&mut self, _message: SessionMessage, _now: Instant) {}

    /// The token of [`SessionOutput::SignToken`].
    pub fn handle_token(&mut self, _token: String, _now: Instant) {}

    /// The socket is closed (by the client, by an error, or because the client does not read).
    pub fn handle_closed(&mut self, _now: Instant) {}

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// When [`Session::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<SessionOutput> {
        None
    }
}
