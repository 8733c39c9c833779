//! The shard: owns every peer and room of one thread, and routes what comes in.

use std::time::Instant;

use crate::api::{Command, Config, Datagram, Event, Reason, SendBatch};

/// One thread's worth of media: peers, rooms and the packets between them. `!Send` by use, never shared.
pub struct Shard {
    _config: Config,
}

impl Shard {
    /// A shard without peers. `now` and `unix_now` (time since 1970) name the same moment.
    pub fn new(config: Config, _unix_now: std::time::Duration, _now: Instant) -> Self {
        Self { _config: config }
    }

    /// Takes one datagram of a receive batch. Media is forwarded by the next [`Shard::flush`].
    pub fn handle_datagram(&mut self, _datagram: Datagram<'_>, _now: Instant, _out: &mut impl SendBatch) {}

    /// Ends a receive batch: forwards what it brought.
    pub fn flush(&mut self, _now: Instant, _out: &mut impl SendBatch) {}

    /// Carries out a command.
    pub fn handle_command(&mut self, _command: Command, _now: Instant, _out: &mut impl SendBatch) {}

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, _now: Instant, _out: &mut impl SendBatch) {}

    /// When [`Shard::handle_timeout`] must be called next, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }
}
