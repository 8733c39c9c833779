//! A limit of so much per second, with a burst.

use std::time::{Duration, Instant};

/// One millionth of a unit: rates far below one per microsecond stay exact.
const PART: i64 = 1_000_000;

/// A token bucket. Units are the owner's: bytes, messages, sequence numbers.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Units per second.
    rate: u32,
    /// The most that there can be, in parts; see [`PART`].
    burst: i64,
    level: i64,
    at: Instant,
}

impl Budget {
    /// A full budget: `rate` units a second in the long run, `burst` at once.
    pub fn new(rate: u32, burst: u32, now: Instant) -> Self {
        let burst = i64::from(burst) * PART;
        Self {
            rate,
            burst,
            level: burst,
            at: now,
        }
    }

    /// Spends `units` if they are there; false if they are not, and then nothing is spent.
    pub fn take(&mut self, units: u32, now: Instant) -> bool {
        self.refill(now);
        let cost = i64::from(units) * PART;
        let enough = self.level >= cost;
        if enough {
            self.level -= cost;
        }
        enough
    }

    /// Spends `units` whether they are there or not: for what is known only when it has happened.
    pub fn spend(&mut self, units: u32, now: Instant) {
        self.refill(now);
        self.level = self.level.saturating_sub(i64::from(units) * PART);
    }

    /// Adds `units`, up to the burst.
    pub fn grant(&mut self, units: u32, now: Instant) {
        self.refill(now);
        let granted = self.level.saturating_add(i64::from(units) * PART);
        self.level = granted.min(self.burst);
    }

    /// Whether nothing is left.
    pub fn is_spent(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.level <= 0
    }

    /// The instant at which something is there again, as of the last look.
    pub fn ready_at(&self) -> Instant {
        let owed = 1 - self.level.min(1);
        let micros = owed.div_euclid(i64::from(self.rate.max(1))) + 1;
        self.at + Duration::from_micros(micros.unsigned_abs())
    }

    /// The instant at which `units` are there, as of the last look.
    pub fn ready_for(&self, units: u32) -> Instant {
        let owed = i64::from(units) * PART - self.level;
        let micros = owed.max(0).unsigned_abs();
        self.at + Duration::from_micros(micros.div_ceil(u64::from(self.rate.max(1))))
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_micros();
        let elapsed = u32::try_from(elapsed).unwrap_or(u32::MAX);
        // By whole microseconds, so that frequent looks lose nothing.
        self.at += Duration::from_micros(elapsed.into());
        let gained = i64::from(elapsed) * i64::from(self.rate);
        self.level = self.level.saturating_add(gained).min(self.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_granted_comes_on_top_as_far_as_the_burst_goes() {
        let now = Instant::now();
        let mut budget = Budget::new(1, 5, now);
        budget.grant(2, now);
        assert!(budget.take(5, now) && !budget.take(1, now));
        budget.grant(2, now);
        assert!(budget.take(2, now) && !budget.take(1, now));
    }

    #[test]
    fn the_burst_passes_at_once_one_more_does_not_and_the_rate_brings_it_back() {
        let now = Instant::now();
        let mut budget = Budget::new(10, 25, now);
        assert!((0..25).all(|_| budget.take(1, now)));
        assert!(!budget.take(1, now));
        assert!(!budget.take(1, now + SECOND / 11));
        assert!(budget.take(1, now + SECOND / 10));
        assert!(!budget.take(1, now + SECOND / 10));
        assert!(budget.take(25, now + 100 * SECOND));
        assert!(!budget.take(1, now + 100 * SECOND));
    }

    #[test]
    fn a_debt_is_paid_before_anything_is_there_again() {
        let now = Instant::now();
        let mut budget = Budget::new(100, 100, now);
        budget.spend(300, now);
        assert!(budget.is_spent(now + SECOND));
        assert!(budget.is_spent(now + 2 * SECOND));
        let ready = budget.ready_at();
        assert!(ready > now + 2 * SECOND && ready <= now + 2 * SECOND + SECOND / 100);
        assert!(!budget.is_spent(ready));
    }

    #[test]
    fn units_are_there_when_it_says() {
        let now = Instant::now();
        for (rate, burst) in [(1, 5), (3, 7), (1000, 1)] {
            let mut budget = Budget::new(rate, burst, now);
            assert_eq!(budget.ready_for(1), now);
            assert!(budget.take(burst, now));
            let ready = budget.ready_for(1);
            assert!(!budget.take(1, ready - Duration::from_micros(1)));
            assert!(budget.take(1, ready));
        }
    }

    proptest! {
        #[test]
        fn never_more_than_rate_and_burst_passes(
            rate in 1u32..1000, burst in 1u32..1000,
            steps in proptest::collection::vec((0u64..50_000, 1u32..50), 1..300),
        ) {
            let start = Instant::now();
            let (mut budget, mut now, mut passed) = (Budget::new(rate, burst, start), start, 0u64);
            for (micros, units) in steps {
                now += Duration::from_micros(micros);
                passed += u64::from(units) * u64::from(budget.take(units, now));
                let allowed = (now - start).as_secs_f64() * f64::from(rate) + f64::from(burst);
                prop_assert!(passed as f64 <= allowed + 1e-6);
            }
        }
    }
}
