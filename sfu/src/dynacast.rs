//! Dynacast: publishers need not send layers of pictures that no subscriber wants.
//!
//! The wish for a track is the highest layer that any subscription asks for, by what clients say they want and not by
//! what their networks carry: those flap. Layers below it are wanted too: they are what a network that gets worse falls
//! back to, and cost little.

use std::time::{Duration, Instant};

use crate::api::SpatialLayer;

/// A layer goes on for this long after the last wish for it: somebody who scrolls, or changes the layout back, finds it
/// there, and a subscriber that leaves a layer gets it until the other one has begun.
const DEBOUNCE: Duration = Duration::from_secs(5);

/// The wish for one track, and what its publisher knows of it.
#[derive(Debug)]
pub struct Dynacast {
    /// The wish that the publisher was told last. Clients begin with all layers.
    told: Option<SpatialLayer>,
    /// Since when fewer layers would do.
    less_since: Option<Instant>,
    /// Wishes may have become fewer.
    stale: bool,
    changed_at: Option<Instant>,
}

impl Default for Dynacast {
    fn default() -> Self {
        Self {
            told: Some(SpatialLayer::High),
            less_since: None,
            stale: true,
            changed_at: None,
        }
    }
}

impl Dynacast {
    /// The wish for a backup, which no client sends unasked.
    pub fn of_backup() -> Self {
        Self {
            told: None,
            ..Self::default()
        }
    }

    /// The highest layer the publisher should send; `None`: nothing.
    pub fn wanted(&self) -> Option<SpatialLayer> {
        self.told
    }

    /// When the publisher was told last; `None`: never.
    pub fn changed_at(&self) -> Option<Instant> {
        self.changed_at
    }

    /// Wishes changed such that fewer layers may do.
    pub fn touch(&mut self) {
        self.stale = true;
    }

    /// Whether it is time to count the wishes.
    pub fn is_due(&self, now: Instant) -> bool {
        self.stale || self.less_since.is_some_and(|since| now >= since + DEBOUNCE)
    }

    /// Takes note of the highest wish. True when the publisher must be told: of a higher wish at once, of a lower one
    /// when it has lasted for a while.
    pub fn decide(&mut self, wish: Option<SpatialLayer>, now: Instant) -> bool {
        self.stale = false;
        if wish == self.told {
            self.less_since = None;
            return false;
        }
        let since = *self.less_since.get_or_insert(now);
        if wish < self.told && now < since + DEBOUNCE {
            return false;
        }
        self.less_since = None;
        self.told = wish;
        self.changed_at = Some(now);
        true
    }

    /// A wanted track does not come. True when it is time to ask again: clients lose what comes while they are still
    /// busy publishing.
    pub fn must_repeat(&mut self, now: Instant) -> bool {
        let is_due = self.changed_at.is_some_and(|at| now >= at + DEBOUNCE);
        let repeats = is_due && self.told.is_some();
        if repeats {
            self.changed_at = Some(now);
        }
        repeats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_asked_for_at_once_and_less_after_a_while() {
        let (mut dynacast, now) = (Dynacast::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(dynacast.is_due(now));
        assert!(!dynacast.decide(Some(SpatialLayer::Low), now));
        assert!(!dynacast.is_due(after(4)) && dynacast.is_due(after(5)));
        assert!(dynacast.decide(Some(SpatialLayer::Low), after(5)));
        assert!(!dynacast.decide(None, after(6)));
        assert!(dynacast.decide(Some(SpatialLayer::High), after(7)));
        assert!(!dynacast.is_due(after(60)));
    }

    #[test]
    fn a_wish_that_comes_back_was_never_gone() {
        let (mut dynacast, now) = (Dynacast::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(!dynacast.decide(None, now));
        assert!(!dynacast.decide(Some(SpatialLayer::High), after(4)));
        assert!(!dynacast.decide(None, after(6)));
        assert!(!dynacast.decide(None, after(10)), "it counts from anew");
        assert!(dynacast.decide(None, after(11)));
        assert_eq!(dynacast.wanted(), None);
    }
}
