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

use crate::{
    api::{DataChannel, Event, SendBatch},
    shard::{PeerKey, RouterKey, Shard},
};

/// Bytes that wait for one reader, from which on its senders wait. More than is under way on a path of 200 ms at the rate
/// that one sender may have.
const FULL: usize = 512 * 1024;

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
enum Verdict {
    Reads,
    Drained,
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
    fn await_it(&mut self, unread: usize, now: Instant) {
        let read = self.read(unread);
        self.awaited.get_or_insert((now, read));
    }

    fn review(&mut self, unread: usize, now: Instant) -> Verdict {
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
    fn add(&mut self, identity: ParticipantIdentity, now: Instant) {
        self.too_slow.retain(|_, since| now < *since + GRUDGE);
        if self.too_slow.len() >= MAX_KNOWN {
            let first = self.too_slow.iter().min_by_key(|(_, since)| **since);
            let first = first.map(|(identity, _)| identity.clone());
            first.and_then(|identity| self.too_slow.remove(&identity));
        }
        self.too_slow.insert(identity, now);
    }

    fn knows(&self, identity: &ParticipantIdentity, now: Instant) -> bool {
        let since = self.too_slow.get(identity);
        since.is_some_and(|since| now < *since + GRUDGE)
    }
}

impl Shard {
    /// For whom of these members a reliable packet must wait, if for any.
    pub(crate) fn not_ready(&mut self, members: &[PeerKey], now: Instant) -> Option<PeerKey> {
        let mut first = None;
        for member in members {
            let reader = self.receiving(*member);
            if !self.is_full(reader) || !self.is_waited_for(reader, now) {
                continue;
            }
            let Some(p) = self.peers.get_mut(reader) else {
                continue;
            };
            let unread = p.transport.unread(DataChannel::Reliable);
            p.reader.await_it(unread, now);
            self.reschedule(reader, now);
            first.get_or_insert(reader);
        }
        first
    }

    /// Keeps the packet, and reads no more of its sender's until it could be sent.
    pub(crate) fn hold(
        &mut self,
        connection: PeerKey,
        channel: Option<DataChannel>,
        message: &[u8],
        awaits: PeerKey,
        now: Instant,
    ) {
        let Some(p) = self.peers.get_mut(connection) else {
            return;
        };
        p.held = Some(Held {
            channel,
            message: message.to_vec(),
            awaits,
            retry_at: now + RETRY,
        });
        p.transport.hold_reliable(true);
        let router = p.router;
        if let Some(router) = self.routers.get_mut(router)
            && !router.slow_readers.held.contains(&connection)
        {
            router.slow_readers.held.push(connection);
        }
        self.stats.data_held += 1;
    }

    /// A sender leaves: what it had to wait with goes to those who are ready for it, and to nobody else.
    pub(crate) fn send_held(&mut self, sender: PeerKey, now: Instant, out: &mut impl SendBatch) {
        let held = self.peers.get_mut(sender).and_then(|p| p.held.take());
        let Some(mut held) = held else {
            return;
        };
        self.guard(sender, now, |shard| {
            shard.handle_data(sender, held.channel, &mut held.message, now, out);
            if let Some(p) = shard.peers.get_mut(sender) {
                p.transport.hold_reliable(false);
            }
            shard.drain_transport(sender, now, out);
        });
    }

    /// The peer may have read, or been too slow; and what it sent may go on.
    pub(crate) fn review_data(&mut self, peer: PeerKey, now: Instant, out: &mut impl SendBatch) {
        let Some(p) = self.peers.get_mut(peer) else {
            return;
        };
        let router = p.router;
        let due = p.held.as_ref().filter(|held| now >= held.retry_at);
        if let Some(awaits) = due.map(|held| held.awaits) {
            // With all who wait for the same reader: who looks first would take what room there is, each time.
            self.go_on(router, awaits, now, out);
        }
        let Some(p) = self.peers.get_mut(peer) else {
            return;
        };
        if p.reader.awaited.is_none() {
            return;
        }
        let unread = p.transport.unread(DataChannel::Reliable);
        let verdict = p.reader.review(unread, now);
        if verdict == Verdict::TooSlow {
            self.cut_off(peer, now);
        }
        if verdict != Verdict::Reads {
            self.go_on(router, peer, now, out);
        }
        self.reschedule(peer, now);
    }

    /// So much waits for this reader that what comes must wait too.
    pub(crate) fn is_full(&mut self, reader: PeerKey) -> bool {
        let p = self.peers.get_mut(reader);
        p.is_some_and(|p| p.transport.unread(DataChannel::Reliable) >= FULL)
    }

    /// Nobody waits for this reader, and too much waits for it already: what comes is lost to it.
    pub(crate) fn is_given_up(&mut self, reader: PeerKey, now: Instant) -> bool {
        self.is_full(reader) && !self.is_waited_for(reader, now)
    }

    /// It is no companion, and was not too slow lately.
    fn is_waited_for(&self, reader: PeerKey, now: Instant) -> bool {
        let Some(p) = self.peers.get(reader) else {
            return false;
        };
        let (Some(member), Some(router)) = (self.sids.get(&p.sid), self.routers.get(p.router))
        else {
            return false;
        };
        let mut principals = router.principals.iter();
        let is_itself = principals.any(|(key, name)| key == member && *name == p.identity);
        is_itself && !router.slow_readers.knows(&p.identity, now)
    }

    /// Nobody waits for this reader any more.
    pub(crate) fn cut_off(&mut self, peer: PeerKey, now: Instant) {
        let Some(p) = self.peers.get(peer) else {
            return;
        };
        tracing::info!(participant = %p.sid, "reads data too slowly");
        self.stats.slow_readers += 1;
        let (sid, identity) = (p.sid, p.identity.clone());
        if let Some(router) = self.routers.get_mut(p.router) {
            router.slow_readers.add(identity, now);
        }
        self.events.push_back(Event::Unreachable { peer: sid });
    }

    /// Sends what the senders hold who wait for this reader, as far as its receivers are ready: first of each the one
    /// packet, so that none is always too late, then what came behind it.
    fn go_on(&mut self, room: RouterKey, awaited: PeerKey, now: Instant, out: &mut impl SendBatch) {
        let Self { routers, peers, .. } = self;
        let Some(readers) = routers.get_mut(room).map(|router| &mut router.slow_readers) else {
            return;
        };
        let held = |sender: PeerKey| peers.get(sender).and_then(|p| p.held.as_ref());
        readers.held.retain(|sender| held(*sender).is_some());
        let awaits = |sender: &PeerKey| held(*sender).is_some_and(|held| held.awaits == awaited);
        let senders: Vec<_> = readers.held.iter().copied().filter(awaits).collect();
        let Some(first) = senders.first().copied() else {
            return;
        };
        for sender in &senders {
            self.guard(*sender, now, |shard| {
                let held = shard.peers.get_mut(*sender).and_then(|p| p.held.take());
                if let Some(mut held) = held {
                    shard.handle_data(*sender, held.channel, &mut held.message, now, out);
                }
            });
        }
        let went = self.peers.get(first).is_some_and(|p| p.held.is_none());
        for sender in senders {
            self.guard(sender, now, |shard| {
                let Some(p) = shard.peers.get_mut(sender).filter(|p| p.held.is_none()) else {
                    return;
                };
                p.transport.hold_reliable(false);
                shard.drain_transport(sender, now, out);
            });
        }
        // Who went first, and filled what there was room for, goes last next time.
        if let Some(router) = self.routers.get_mut(room).filter(|_| went) {
            let held = &mut router.slow_readers.held;
            if let Some(at) = held.iter().position(|sender| *sender == first) {
                held[at..].rotate_left(1);
            }
        }
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
