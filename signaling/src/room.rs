//! One meeting.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{RoomName, RoomSid, livekit};

use crate::api::{Config, RoomInput, RoomOutput};

/// One meeting: who is in it, what they publish, and who receives what.
pub struct Room {
    sid: RoomSid,
}

impl Room {
    /// An empty room. `settings` are those of the token or API call that opens it (they win over `config`); `seed` is
    /// the seed of its random ids; `unix_now` (time since 1970) and `now` name the same moment.
    pub fn new(
        _name: RoomName,
        _settings: Option<&livekit::RoomConfiguration>,
        _config: Arc<Config>,
        seed: [u8; 32],
        _unix_now: Duration,
        _now: Instant,
    ) -> Self {
        use rand::SeedableRng;
        Self {
            sid: RoomSid::random(&mut rand::rngs::StdRng::from_seed(seed)),
        }
    }

    /// Its sid.
    pub fn sid(&self) -> RoomSid {
        self.sid
    }

    /// Takes one input.
    pub fn handle(&mut self, _input: RoomInput, _now: Instant) {}

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// When [`Room::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<RoomOutput> {
        None
    }
}
