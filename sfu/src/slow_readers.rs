//! Who reads reliable data more slowly than others send it.
//!
//! Where too much waits for a reader, those who send to it wait too: what they sent stays in their SCTP, whose window
//! closes. So a file arrives whole at whoever is slow, and no more than [`FULL`] of it is ever kept here. But a reader
//! holds nobody up for long: one that takes less than [`LEAST`] within [`PATIENCE`] is too slow. It is told to connect
//! anew, since its channel has a hole from then on, and for a while ([`GRUDGE`]) nobody waits for it again: what it does
//! not read in time, it misses, and that is counted. For companions, which are there to publish, nobody waits at all: one
//! person could bring any number of them, one after the other.

use std::time::{Duration, Instant};

use protocol::ParticipantIdentity;
use rustc_hash::FxHashMap;

use crate::{api::DataChannel, keys::PeerKey};

/// Bytes that wait for one reader, from which on its senders wait. More than is under way on a path of 200 ms at the rate
/// that one sender may have.
pub const FULL: usize = 512 * 1024;

/// Its senders go on when no more than this is left: not for each packet anew.
const DRAINED: usize = 256 * 1024;

/// So much a reader must take …
const LEAST: u64 = 80 * 1024;

/// … within this time, while others wait for it: 64 kbit/s, twice what a voice needs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nobody waits so soon again for who was too slow: it would hold up a meeting a little at a time.
const GRUDGE: Duration = Duration::from_secs(600);

/// Who was too slow lately, at most; the first ones are forgiven first. Each needed a token of its own.
const MAX_KNOWN: usize = 256;

/// Who waits looks again after this time at the latest: a reader may have left.
const RETRY: Duration = Duration::from_secs(1);

/// What one participant's channel has taken while others waited for it.
#[derive(Debug, Default)]
pub struct Reader {
    /// Reliable bytes that were written to it so far.
    written: u64,
    /// Others wait for it: since when, and what it had read then.
    awaited: Option<(Instant, u64)>,
}

/// What became of a reader for which others wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It reads, or nobody waits.
    Reads,
    /// It has read enough that others may go on.
    Drained,
    /// It read less than it must.
    TooSlow,
}

impl Reader {
    /// Something was written to it.
    pub fn wrote(&mut self, len: usize) {
        self.written += len as u64;
    }

    /// When it is looked at again.
    pub fn deadline(&self) -> Option<Instant> {
        self.awaited.map(|(since, _)| since + PATIENCE)
    }

    /// Somebody waits for it, of whose bytes so many are not read.
    pub fn await_it(&mut self, unread: usize, now: Instant) {
        let read = self.read(unread);
        self.awaited.get_or_insert((now, read));
    }

    /// Judges it, of whose bytes so many are not read.
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

    /// Others wait for it.
    pub fn is_awaited(&self) -> bool {
        self.awaited.is_some()
    }

    fn read(&self, unread: usize) -> u64 {
        self.written.saturating_sub(unread as u64)
    }
}

/// A packet whose receivers are not all ready, and behind which its sender's others wait.
#[derive(Debug)]
pub struct Held {
    /// On which channel it came; `None`: on one of another name.
    pub channel: Option<DataChannel>,
    /// The packet.
    pub message: Vec<u8>,
    /// One that is not ready.
    awaits: PeerKey,
    /// When it is tried again.
    retry_at: Instant,
}

impl Held {
    /// A packet that waits for one of its receivers.
    pub fn new(
        channel: Option<DataChannel>,
        message: &[u8],
        awaits: PeerKey,
        now: Instant,
    ) -> Self {
        Self {
            channel,
            message: message.to_vec(),
            awaits,
            retry_at: now + RETRY,
        }
    }

    /// The receiver that it waits for.
    pub fn awaits(&self) -> PeerKey {
        self.awaits
    }

    /// When it is tried again at the latest.
    pub fn retry_at(&self) -> Instant {
        self.retry_at
    }
}

/// The senders of one room that wait, and the readers for whom nobody does any more.
#[derive(Debug, Default)]
pub struct SlowReaders {
    /// In the order in which they go on.
    held: Vec<PeerKey>,
    too_slow: FxHashMap<ParticipantIdentity, Instant>,
}

impl SlowReaders {
    /// A sender waits.
    pub fn hold(&mut self, sender: PeerKey) {
        if !self.held.contains(&sender) {
            self.held.push(sender);
        }
    }

    /// The senders that wait, in the order in which they go on.
    pub fn held(&self) -> &[PeerKey] {
        &self.held
    }

    /// Those of whom this is not true wait no longer.
    pub fn keep(&mut self, waits: impl FnMut(&PeerKey) -> bool) {
        self.held.retain(waits);
    }

    /// This sender goes last next time.
    pub fn went(&mut self, sender: PeerKey) {
        if let Some(at) = self.held.iter().position(|held| *held == sender) {
            self.held[at..].rotate_left(1);
        }
    }

    /// Nobody waits any more for who reads so slowly.
    pub fn add(&mut self, identity: ParticipantIdentity, now: Instant) {
        self.too_slow.retain(|_, since| now < *since + GRUDGE);
        if self.too_slow.len() >= MAX_KNOWN {
            let first = self.too_slow.iter().min_by_key(|(_, since)| **since);
            let first = first.map(|(identity, _)| identity.clone());
            first.and_then(|identity| self.too_slow.remove(&identity));
        }
        self.too_slow.insert(identity, now);
    }

    /// Somebody who was too slow lately.
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
