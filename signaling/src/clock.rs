//! Instants and the time of day: the owner's `now`, related once to the time since 1970.

use std::time::{Duration, Instant};

/// A translation of `now` to the time since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
    unix_start: Duration,
}

impl Clock {
    pub fn new(unix_now: Duration, now: Instant) -> Self {
        Self {
            start: now,
            unix_start: unix_now,
        }
    }

    /// The instant that was related to the time since 1970: earlier than any that is to come.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Time since 1970.
    pub fn unix(&self, now: Instant) -> Duration {
        self.unix_start + now.saturating_duration_since(self.start)
    }

    /// Seconds since 1970.
    pub fn unix_seconds(&self, now: Instant) -> u64 {
        self.unix(now).as_secs()
    }

    /// Milliseconds since 1970.
    pub fn unix_millis(&self, now: Instant) -> i64 {
        i64::try_from(self.unix(now).as_millis()).unwrap_or(i64::MAX)
    }
}

/// A setting in seconds as a duration.
pub(crate) fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

/// The first of several deadlines.
pub(crate) fn earliest<const N: usize>(deadlines: [Option<Instant>; N]) -> Option<Instant> {
    deadlines.into_iter().flatten().min()
}
