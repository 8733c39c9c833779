//! From one epoch to the next without a gap: who receives has the new keys before anybody sends with them, and keeps the old
//! ones as long as frames of them may be under way.

use std::{collections::BTreeMap, time::Duration};

/// The time in which those who are awake say that they have the new keys. Senders wait no longer.
pub const READY: Duration = Duration::from_millis(500);

/// The time for which the keys of an epoch stay once there is a later one.
pub const KEEP: Duration = Duration::from_secs(10);

/// The same where somebody was removed: whoever that is can send with them.
pub const KEEP_REMOVED: Duration = Duration::from_secs(3);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send with the keys of this epoch from now on.
    Send(u64),
    /// Forget the keys of this epoch.
    Forget(u64),
}

/// The epochs whose keys a member has. Times are those of any clock that only goes forward.
#[derive(Debug, Default)]
pub struct Epochs {
    sending: Option<u64>,
    newest: Option<u64>,
    /// When senders go over to the newest at the latest.
    switch_at: Option<Duration>,
    /// When each earlier one is forgotten.
    ends: BTreeMap<u64, Duration>,
}

impl Epochs {
    /// The member has none yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The keys of a new epoch are here. `removes`: somebody is no member any more; what is sent now must not be for them.
    pub fn install(&mut self, epoch: u64, removes: bool, now: Duration) {
        if self.newest.is_some_and(|newest| epoch <= newest) {
            return;
        }
        let keep = if removes { KEEP_REMOVED } else { KEEP };
        if let Some(before) = self.newest.replace(epoch) {
            self.ends.insert(before, now + keep);
        }
        if removes {
            for end in self.ends.values_mut() {
                *end = (*end).min(now + keep);
            }
        }
        let wait = if removes || self.sending.is_none() {
            Duration::ZERO
        } else {
            READY
        };
        // Where a switch was due already, it does not wait longer for this.
        let at = now + wait;
        self.switch_at = Some(self.switch_at.map_or(at, |due| due.min(at)));
    }

    /// All who are awake have the keys of this epoch.
    pub fn ready(&mut self, epoch: u64, now: Duration) {
        if self.newest == Some(epoch) && self.switch_at.is_some() {
            self.switch_at = Some(now);
        }
    }

    /// The next step that is due.
    pub fn poll(&mut self, now: Duration) -> Option<Step> {
        if self.switch_at.is_some_and(|at| at <= now) {
            self.switch_at = None;
            self.sending = self.newest;
            return self.sending.map(Step::Send);
        }
        let (&epoch, _) = self.ends.iter().find(|(_, end)| **end <= now)?;
        self.ends.remove(&epoch);
        Some(Step::Forget(epoch))
    }

    /// When the next step is due.
    pub fn due(&self) -> Option<Duration> {
        self.ends.values().copied().chain(self.switch_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn steps(epochs: &mut Epochs, now: u64) -> Vec<Step> {
        std::iter::from_fn(|| epochs.poll(at(now))).collect()
    }

    #[test]
    fn senders_wait_for_those_who_are_awake_but_not_for_long() {
        let mut epochs = Epochs::new();
        epochs.install(1, false, at(0));
        assert_eq!(
            steps(&mut epochs, 0),
            [Step::Send(1)],
            "there is nobody to wait for"
        );
        epochs.install(2, false, at(1000));
        assert_eq!(
            (steps(&mut epochs, 1499), epochs.due()),
            (vec![], Some(at(1500)))
        );
        assert_eq!(steps(&mut epochs, 1500), [Step::Send(2)]);
        epochs.install(3, false, at(2000));
        epochs.ready(2, at(2001));
        assert_eq!(steps(&mut epochs, 2001), []);
        epochs.ready(3, at(2100));
        assert_eq!(steps(&mut epochs, 2100), [Step::Send(3)]);
        assert_eq!(steps(&mut epochs, 11_000), [Step::Forget(1)]);
        assert_eq!(
            (steps(&mut epochs, 12_000), epochs.due()),
            (vec![Step::Forget(2)], None)
        );
    }

    #[test]
    fn a_removal_waits_for_nobody_and_old_keys_go_sooner() {
        let mut epochs = Epochs::new();
        epochs.install(1, false, at(0));
        epochs.install(2, false, at(100));
        assert_eq!(steps(&mut epochs, 100), [Step::Send(2)]);
        epochs.install(3, true, at(200));
        assert_eq!(steps(&mut epochs, 200), [Step::Send(3)]);
        assert_eq!(steps(&mut epochs, 3200), [Step::Forget(1), Step::Forget(2)]);
    }

    #[test]
    fn a_storm_of_epochs_does_not_put_the_switch_off() {
        let mut epochs = Epochs::new();
        epochs.install(1, false, at(0));
        assert_eq!(steps(&mut epochs, 0), [Step::Send(1)]);
        for epoch in 2..8 {
            epochs.install(epoch, false, at(1000 + 100 * epoch));
        }
        assert_eq!(steps(&mut epochs, 1700), [Step::Send(7)]);
    }

    #[test]
    fn an_epoch_that_was_there_changes_nothing() {
        let mut epochs = Epochs::new();
        epochs.install(5, false, at(0));
        assert_eq!(steps(&mut epochs, 0), [Step::Send(5)]);
        epochs.install(5, true, at(1));
        epochs.install(4, true, at(1));
        assert_eq!((steps(&mut epochs, 1), epochs.due()), (vec![], None));
    }
}
