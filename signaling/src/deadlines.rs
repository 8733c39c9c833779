//! Deadlines, of which the next one and those that are due are found without a look at all others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// One deadline for each key.
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    by_key: BTreeMap<K, Instant>,
    by_time: BTreeSet<(Instant, K)>,
}

/// What a participant has a deadline for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    /// It is removed at this time if it has not resumed.
    Resume,
    /// It is removed at this time if its media has not connected.
    Connect,
    /// It is told to reconnect at this time if its media transport has not come back.
    Media,
    /// It is told to reconnect at this time if it has not answered our offer.
    Answer,
    /// The next description of its client is read.
    Description,
    /// The next message of its client that waits for its budget is carried out.
    Request,
}

impl Deadline {
    pub const ALL: [Self; 6] = [
        Self::Resume,
        Self::Connect,
        Self::Media,
        Self::Answer,
        Self::Description,
        Self::Request,
    ];
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_time: BTreeSet::new(),
        }
    }
}

impl<K: Ord + Clone> Deadlines<K> {
    /// Sets the deadline of a key, in the place of the one it had.
    pub fn set(&mut self, key: K, at: Instant) {
        if let Some(before) = self.by_key.insert(key.clone(), at) {
            self.by_time.remove(&(before, key.clone()));
        }
        self.by_time.insert((at, key));
    }

    /// Removes the deadline of a key. True: it had one.
    pub fn cancel(&mut self, key: &K) -> bool {
        let Some(at) = self.by_key.remove(key) else {
            return false;
        };
        self.by_time.remove(&(at, key.clone()))
    }

    /// The deadline of a key.
    pub fn get(&self, key: &K) -> Option<Instant> {
        self.by_key.get(key).copied()
    }

    /// All keys that have a deadline, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.by_key.keys()
    }

    /// Number of keys that have a deadline.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The first deadline.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The keys whose deadlines have come, the oldest first. Their deadlines stay.
    pub fn due(&self, now: Instant) -> Vec<K> {
        let due = self.by_time.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, key)| key.clone()).collect()
    }

    /// Removes the deadline of a key if it has come. True: it had.
    pub fn expire(&mut self, key: &K, now: Instant) -> bool {
        self.get(key).is_some_and(|at| at <= now) && self.cancel(key)
    }

    /// Removes all deadlines.
    pub fn clear(&mut self) {
        self.by_key.clear();
        self.by_time.clear();
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // The start of the virtual clock is a real instant.
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_newest_deadline_of_a_key_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::default();
        for (key, seconds) in [("a", 1), ("b", 2), ("c", 3), ("a", 4)] {
            deadlines.set(key, at(seconds));
        }
        assert_eq!(deadlines.next(), Some(at(2)));
        assert_eq!(deadlines.due(at(3)), ["b", "c"]);
        assert!(deadlines.cancel(&"b") && !deadlines.cancel(&"b"));
        assert!(!deadlines.expire(&"a", at(3)) && deadlines.expire(&"c", at(3)));
        assert_eq!((deadlines.next(), deadlines.get(&"c")), (Some(at(4)), None));
    }
}
