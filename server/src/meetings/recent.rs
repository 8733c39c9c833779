//! Recent things, in little memory: a set that forgets the oldest.

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hash, RandomState},
    time::{Duration, Instant},
};

/// A set that remembers its elements for `keep` at least and twice as long at most, and of more than `max` the newest.
#[derive(Debug)]
pub(super) struct Recent {
    keep: Duration,
    max: usize,
    /// A hasher of elements into short marks, which nobody outside can foresee.
    hasher: RandomState,
    /// Since when marks go into `newer`.
    since: Option<Instant>,
    newer: HashSet<u64>,
    older: HashSet<u64>,
}

impl Recent {
    pub(super) fn new(max: usize, keep: Duration) -> Self {
        Self {
            keep,
            max,
            hasher: RandomState::new(),
            since: None,
            newer: HashSet::new(),
            older: HashSet::new(),
        }
    }

    pub(super) fn insert(&mut self, what: impl Hash, now: Instant) {
        self.turn(now);
        let mark = self.hasher.hash_one(what);
        self.newer.insert(mark);
        if self.newer.len() >= self.max {
            self.older = std::mem::take(&mut self.newer);
            self.since = Some(now);
        }
    }

    pub(super) fn contains(&mut self, what: impl Hash, now: Instant) -> bool {
        self.turn(now);
        let mark = self.hasher.hash_one(what);
        self.newer.contains(&mark) || self.older.contains(&mark)
    }

    fn turn(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let age = now.saturating_duration_since(since);
        if age >= self.keep {
            self.older = std::mem::take(&mut self.newer);
            self.since = Some(now);
        }
        if age >= self.keep * 2 {
            self.older.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(600);

    #[test]
    fn what_happened_lately_is_remembered_and_then_forgotten() {
        let (mut recent, start) = (Recent::new(100, KEEP), Instant::now());
        recent.insert("a", start);
        let mut at = |what, after| recent.contains(what, start + after);
        assert!(at("a", Duration::ZERO) && !at("b", Duration::ZERO));
        assert!(at("a", KEEP));
        assert!(!at("a", KEEP * 2));
        recent.insert("a", start + KEEP * 2);
        assert!(
            !recent.contains("a", start + KEEP * 9),
            "after a long silence"
        );
    }

    #[test]
    fn of_more_than_there_may_be_the_newest_are_remembered() {
        let (mut recent, now) = (Recent::new(100, KEEP), Instant::now());
        for n in 0..1_000 {
            recent.insert(n, now);
        }
        assert!((900..1_000).all(|n| recent.contains(n, now)));
        assert!(!(0..800).any(|n| recent.contains(n, now)));
        assert!(recent.newer.len() + recent.older.len() <= 200);
    }
}
