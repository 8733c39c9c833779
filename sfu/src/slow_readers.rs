//! Slow readers: participants that read reliable data more slowly than others send it.
//!
//! Where too much waits for a reader, its senders wait too: their packets stay in their SCTP, whose window closes. So a
//! file arrives whole at a slow reader, and no more than [`FULL`] of it is ever kept here. But a reader holds nobody up
//! for long: one that takes less than [`LEAST`] within [`PATIENCE`] is too slow. It is told to connect anew, since its
//! channel has a hole from then on, and for a while ([`GRUDGE`]) nobody waits for it again: packets that it does not
//! read in time are lost to it, and counted. Nobody waits for companions, which are there to publish: one person could
//! bring any number of them, one after the other.

use std::time::{Duration, Instant};

use protocol::ParticipantIdentity;
use rustc_hash::FxHashMap;

use crate::{api::DataChannel, keys::ConnectionKey};

/// The number of unread bytes from which on a reader's senders wait. More than is under way on a path of 200 ms at the
/// rate that one sender may have.
pub const FULL: usize = 512 * 1024;

/// The number of unread bytes at which the senders go on: not for each packet anew.
const DRAINED: usize = 256 * 1024;

/// The bytes that a reader must take within [`PATIENCE`].
const LEAST: u64 = 80 * 1024;

/// The time in which a reader must take [`LEAST`], while others wait for it: 64 kbit/s, twice what a voice needs.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time for which nobody waits for a reader again that was too slow: it would hold up a meeting a little at a time.
const GRUDGE: Duration = Duration::from_secs(600);

/// The most readers that are remembered as too slow; the first ones are forgiven first. Each needed a token of its own.
const MAX_KNOWN: usize = 256;

/// A sender that waits looks again after this time at the latest: a reader may have left.
const RETRY: Duration = Duration::from_secs(1);

/// One participant's channel as others wait for it: how much it has taken.
#[derive(Debug, Default)]
pub struct Reader {
    /// Number of reliable bytes written to the channel so far.
    written: u64,
    /// Set while others wait: since when, and how much the reader had read by then.
    awaited: Option<(Instant, u64)>,
}

/// The judgement on a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The reader reads, or nobody waits.
    Reads,
    /// The reader has read enough that others may go on.
    Drained,
    /// The reader read less than it must.
    TooSlow,
}

impl Reader {
    /// `len` bytes were written to the channel.
    pub fn wrote(&mut self, len: usize) {
        self.written += len as u64;
    }

    /// When the reader is looked at again.
    pub fn deadline(&self) -> Option<Instant> {
        self.awaited.map(|(since, _)| since + PATIENCE)
    }

    /// Others wait for the reader from now on; `unread` of its bytes are not read.
    pub fn await_it(&mut self, unread: usize, now: Instant) {
        let read = self.read(unread);
        self.awaited.get_or_insert((now, read));
    }

    /// Judges the reader; `unread` of its bytes are not read.
    pub fn review(&mut self, unread: usize, now: Instant) -> Verdict {
        let Some((since, read_then)) = self.awaited else {
            return Verdict::Reads;
        };
        if unread <= DRAINED {
            self.awaited = None;
            return Verdict::Drained;
        }
        if now < since + PATIENCE {
            return Verdict::Reads;
        }
        let read = self.read(unread);
        if read.saturating_sub(read_then) < LEAST {
            self.awaited = None;
            return Verdict::TooSlow;
        }
        self.awaited = Some((now, read));
        Verdict::Reads
    }

    /// Whether others wait for the reader.
    pub fn is_awaited(&self) -> bool {
        self.awaited.is_some()
    }

    fn read(&self, unread: usize) -> u64 {
        self.written.saturating_sub(unread as u64)
    }
}

/// A packet whose receivers are not all ready. The sender's later packets wait behind it.
#[derive(Debug)]
pub struct Held {
    /// The channel on which the packet came; `None`: one with a label of its own.
    pub channel: Option<DataChannel>,
    /// The packet.
    pub message: Vec<u8>,
    /// A receiver that is not ready.
    awaits: ConnectionKey,
    /// When the packet is tried again.
    retry_at: Instant,
}

impl Held {
    /// A packet that waits for one of its receivers.
    pub fn new(
        channel: Option<DataChannel>,
        message: &[u8],
        awaits: ConnectionKey,
        now: Instant,
    ) -> Self {
        Self {
            channel,
            message: message.to_vec(),
            awaits,
            retry_at: now + RETRY,
        }
    }

    /// The receiver that the packet waits for.
    pub fn awaits(&self) -> ConnectionKey {
        self.awaits
    }

    /// When the packet is tried again at the latest.
    pub fn retry_at(&self) -> Instant {
        self.retry_at
    }
}

/// The senders of one room that wait, and the readers that nobody waits for any more.
#[derive(Debug, Default)]
pub struct SlowReaders {
    /// The senders, in the order in which they go on.
    held: Vec<ConnectionKey>,
    too_slow: FxHashMap<ParticipantIdentity, Instant>,
}

impl SlowReaders {
    /// Adds a sender that waits.
    pub fn hold(&mut self, sender: ConnectionKey) {
        if !self.held.contains(&sender) {
            self.held.push(sender);
        }
    }

    /// The senders that wait, in the order in which they go on.
    pub fn held(&self) -> &[ConnectionKey] {
        &self.held
    }

    /// Removes the senders of which `waits` is not true.
    pub fn keep(&mut self, waits: impl FnMut(&ConnectionKey) -> bool) {
        self.held.retain(waits);
    }

    /// Makes this sender the last one next time.
    pub fn went(&mut self, sender: ConnectionKey) {
        if let Some(at) = self.held.iter().position(|held| *held == sender) {
            self.held[at..].rotate_left(1);
        }
    }

    /// Notes a reader that was too slow: nobody waits for it any more.
    pub fn add(&mut self, identity: ParticipantIdentity, now: Instant) {
        self.too_slow.retain(|_, since| now < *since + GRUDGE);
        if self.too_slow.len() >= MAX_KNOWN {
            let first = self.too_slow.iter().min_by_key(|(_, since)| **since);
            let first = first.map(|(identity, _)| identity.clone());
            first.and_then(|identity| self.too_slow.remove(&identity));
        }
        self.too_slow.insert(identity, now);
    }

    /// Whether this participant was too slow lately.
    pub fn knows(&self, identity: &ParticipantIdentity, now: Instant) -> bool {
        let since = self.too_slow.get(identity);
        since.is_some_and(|since| now < *since + GRUDGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_too_slow_when_it_takes_less_than_it_must_while_others_wait() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let reads = |bytes_a_second: usize, mut rounds: u32| {
            let (mut reader, mut unread) = (Reader::default(), FULL);
            reader.wrote(FULL);
            reader.await_it(unread, start);
            let mut now = start;
            while rounds > 0 {
                rounds -= 1;
                now += second;
                let taken = bytes_a_second.min(unread);
                // As much comes as it takes.
                reader.wrote(taken);
                match reader.review(unread, now) {
                    Verdict::Reads => {}
                    verdict => return (verdict, now - start),
                }
                unread = unread - taken + taken;
            }
            (Verdict::Reads, now - start)
        };
        assert_eq!(reads(0, 100), (Verdict::TooSlow, PATIENCE));
        assert_eq!(reads(1, 100), (Verdict::TooSlow, PATIENCE));
        assert_eq!(reads(8 * 1024 - 1, 100), (Verdict::TooSlow, PATIENCE));
        assert_eq!(reads(8 * 1024, 100), (Verdict::Reads, 100 * second));
        let mut reader = Reader::default();
        reader.wrote(FULL);
        assert_eq!(
            reader.review(FULL, start + 100 * second),
            Verdict::Reads,
            "nobody waits"
        );
        reader.await_it(FULL, start);
        assert_eq!(reader.deadline(), Some(start + PATIENCE));
        assert_eq!(reader.review(DRAINED, start), Verdict::Drained);
        assert_eq!(reader.deadline(), None);
    }

    #[test]
    fn who_was_too_slow_is_known_for_a_while_and_not_without_end() {
        let (mut readers, start) = (SlowReaders::default(), Instant::now());
        for i in 0..2 * MAX_KNOWN as u64 {
            readers.add(
                format!("reader {i}").into(),
                start + Duration::from_millis(i),
            );
        }
        assert_eq!(readers.too_slow.len(), MAX_KNOWN);
        assert!(!readers.knows(&"reader 0".into(), start));
        assert!(readers.knows(&"reader 511".into(), start + GRUDGE));
        assert!(!readers.knows(
            &"reader 511".into(),
            start + GRUDGE + Duration::from_secs(1)
        ));
    }
}
