//! Wake-ups of many connections: a heap with lazy deletion, so that moving a timer costs one push.

use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

use crate::keys::ConnectionKey;

/// The next wake-up of each connection.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Instant, ConnectionKey)>>,
}

/// One connection's timer: the instant for which the heap holds a valid entry.
#[derive(Debug, Default, Clone, Copy)]
pub struct Timer(Option<Instant>);

impl Timers {
    /// Makes sure that `connection` is woken at `at`, or earlier, in which case the connection asks again.
    pub fn schedule(&mut self, connection: ConnectionKey, timer: &mut Timer, at: Option<Instant>) {
        let Some(at) = at else { return };
        if timer.0.is_none_or(|scheduled| at < scheduled) {
            timer.0 = Some(at);
            self.heap.push(Reverse((at, connection)));
        }
    }

    /// The earliest wake-up.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the next connection that is due at `now`. The caller clears its [`Timer`] with [`Timer::fire`], which says
    /// whether the entry still meant something.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, ConnectionKey)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

impl Timer {
    /// The entry for `at` came up: true if it is the valid one.
    pub fn fire(&mut self, at: Instant) -> bool {
        let valid = self.0 == Some(at);
        if valid {
            self.0 = None;
        }
        valid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;
    use std::time::Duration;

    #[test]
    fn an_earlier_wish_wins_and_the_later_entry_is_void() {
        let mut keys = SlotMap::<ConnectionKey, ()>::with_key();
        let connection = keys.insert(());
        let start = Instant::now();
        let (early, late) = (
            start + Duration::from_secs(1),
            start + Duration::from_secs(2),
        );
        let mut timers = Timers::default();
        let mut timer = Timer::default();
        timers.schedule(connection, &mut timer, Some(late));
        timers.schedule(connection, &mut timer, Some(early));
        timers.schedule(connection, &mut timer, Some(late));
        assert_eq!(timers.next(), Some(early));
        assert_eq!(timers.pop_due(start), None);
        assert_eq!(timers.pop_due(late), Some((early, connection)));
        assert!(timer.fire(early));
        assert_eq!(timers.pop_due(late), Some((late, connection)));
        assert!(!timer.fire(late));
    }
}
