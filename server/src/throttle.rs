//! A limit of log lines that strangers can cause.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const WINDOW: Duration = Duration::from_secs(1);

/// A throttle: it lets a number of lines through in each second, and counts the others.
#[derive(Debug)]
pub struct Throttle {
    per_second: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    passed: u32,
    held_back: u64,
}

impl Throttle {
    /// A throttle of at most `per_second`.
    pub fn new(per_second: u32) -> Self {
        Self {
            per_second,
            state: Mutex::default(),
        }
    }

    /// Whether this line passes. If so, returns the number of lines that did not pass since the last one.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        // Every change is complete before anything can panic.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .since
            .is_none_or(|since| now.duration_since(since) >= WINDOW)
        {
            (state.since, state.passed) = (Some(now), 0);
        }
        if state.passed == self.per_second {
            state.held_back += 1;
            return None;
        }
        state.passed += 1;
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_pass_in_a_second_and_the_others_are_counted() {
        let (throttle, start) = (Throttle::new(2), Instant::now());
        let at = |millis| throttle.pass(start + Duration::from_millis(millis));
        assert_eq!(
            [at(0), at(500), at(600), at(999)],
            [Some(0), Some(0), None, None]
        );
        assert_eq!([at(1000), at(1001), at(1002)], [Some(2), Some(0), None]);
        assert_eq!(at(5000), Some(1));
    }
}
