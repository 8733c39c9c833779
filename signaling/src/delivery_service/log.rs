//! The log of a group: what all members read, in one order.

use std::collections::VecDeque;

use bytes::Bytes;

/// The most entries that are kept. Who is further behind comes in anew.
const MAX_ENTRIES: usize = 1024;

/// The most bytes of entries that are kept.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its number: one more than that of the entry before.
    pub number: u64,
    /// The message of MLS.
    pub message: Bytes,
    /// With a commit: the group information of the next epoch. Empty otherwise.
    pub group_info: Bytes,
}

/// Entries, numbered from 0 on, of which the oldest are forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    entries: VecDeque<LogEntry>,
    next: u64,
    bytes: usize,
}

impl Log {
    /// A log whose entries up to this one are forgotten.
    pub fn starting_at(next: u64) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }

    /// Adds an entry.
    pub fn append(&mut self, message: Bytes, group_info: Bytes) -> &LogEntry {
        self.bytes += message.len() + group_info.len();
        while self.entries.len() >= MAX_ENTRIES || self.bytes > MAX_BYTES {
            let Some(forgotten) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= forgotten.message.len() + forgotten.group_info.len();
        }
        let place = self.entries.len();
        self.entries.push_back(LogEntry {
            number: self.next,
            message,
            group_info,
        });
        self.next += 1;
        &self.entries[place]
    }

    /// The number of the next entry.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The number of the oldest entry that is kept.
    pub fn first(&self) -> u64 {
        self.next - self.entries.len() as u64
    }

    /// The entries from this number on. `None`: some of them are forgotten, or there has never been such a number.
    pub fn since(&self, number: u64) -> Option<impl Iterator<Item = &LogEntry>> {
        let skipped = number.checked_sub(self.first())?;
        let skipped = usize::try_from(skipped).ok()?;
        (number <= self.next).then(|| self.entries.iter().skip(skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(log: &Log, since: u64) -> Option<Vec<u64>> {
        Some(log.since(since)?.map(|entry| entry.number).collect())
    }

    #[test]
    fn who_is_behind_reads_what_is_missing_and_who_is_too_far_behind_hears_so() {
        let mut log = Log::starting_at(7);
        for size in [1, 2, 3] {
            log.append(vec![0; size].into(), Bytes::new());
        }
        assert_eq!(numbers(&log, 7), Some(vec![7, 8, 9]));
        assert_eq!(numbers(&log, 9), Some(vec![9]));
        assert_eq!(numbers(&log, 10), Some(vec![]));
        assert_eq!((numbers(&log, 6), numbers(&log, 11)), (None, None));
        for _ in 0..MAX_ENTRIES {
            log.append(vec![0; 1].into(), Bytes::new());
        }
        assert_eq!((numbers(&log, 9), log.first()), (None, 10));
    }

    #[test]
    fn long_entries_push_out_others_and_one_that_is_too_long_is_there_alone() {
        let mut log = Log::default();
        log.append(vec![0; MAX_BYTES / 2].into(), Bytes::new());
        log.append(vec![0; MAX_BYTES / 2].into(), Bytes::new());
        assert_eq!(log.first(), 0);
        log.append(Bytes::new(), vec![0; 1].into());
        assert_eq!(log.first(), 1);
        log.append(vec![0; MAX_BYTES + 1].into(), Bytes::new());
        assert_eq!((log.first(), log.next()), (3, 4));
    }
}
