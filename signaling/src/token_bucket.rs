//! A limit of so many per second, with a burst.

use std::time::Instant;

/// A limit of so many per second, with a burst.
pub(crate) struct TokenBucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self {
            per_second: per_second.into(),
            burst: burst.into(),
            tokens: burst.into(),
            at: now,
        }
    }

    pub fn take(&mut self, tokens: f64, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.at = now.max(self.at);
        self.tokens = (self.tokens + gained).min(self.burst);
        if self.tokens < tokens {
            return false;
        }
        self.tokens -= tokens;
        true
    }
}
