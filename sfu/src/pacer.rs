//! The queue of packets for a network that was too slow lately and therefore gets no bursts. For a network that keeps
//! up, the queue is always empty.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{bwe::Bitrate, keys::DownTrackKey, rewrite::StreamId};

/// Time between two looks at the packets that wait.
pub const PACE: Duration = Duration::from_millis(5);

/// Pictures leave at this multiple of the estimate. The estimate stays a little below what the network carries, and a
/// key frame that exceeds it would fill the queue and look like the next jam.
const SPEED: f64 = 1.15;

/// The most that may leave at once after a pause, as time at full speed.
const BURST: Duration = Duration::from_millis(40);

/// The most bytes that may be owed.
const MAX_DEBT: f64 = 3000.0;

/// The most packets that wait: with more, the picture would be older than a new one.
const MAX_PACKETS: usize = 400;
const MAX_WAIT: Duration = Duration::from_millis(700);

/// A packet that waits. Its bytes are still in the history of its layer.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    /// The subscription.
    pub down: DownTrackKey,
    /// The packet's layer.
    pub layer: u8,
    /// The layer's stream when the packet came.
    pub stream: StreamId,
    /// RTP index of the packet within the layer.
    pub index: u64,
    /// A decoder can start here.
    pub starts_key_frame: bool,
    /// When the packet arrived from its publisher.
    pub since: Instant,
}

/// The packets that wait for one subscriber.
#[derive(Debug, Default)]
pub struct Pacer {
    queue: VecDeque<Waiting>,
    /// Bytes that may leave; negative after a packet that could not wait.
    credit: f64,
    refilled: Option<Instant>,
}

impl Pacer {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Earns credit for the time since the last call, at an estimate of `bitrate`.
    pub fn refill(&mut self, bitrate: Bitrate, now: Instant) {
        let speed = bitrate as f64 * SPEED / 8.0;
        let full = speed * BURST.as_secs_f64();
        let elapsed = self
            .refilled
            .replace(now)
            .map_or(BURST, |last| now.saturating_duration_since(last));
        self.credit = if elapsed < BURST {
            (self.credit + speed * elapsed.as_secs_f64()).min(full)
        } else {
            // Nobody asked for a while: bytes spent meanwhile were not held against anyone.
            full
        };
    }

    /// A packet of `len` bytes left. Packets that could not wait are held against the rest by no more than
    /// [`MAX_DEBT`].
    pub fn spend(&mut self, len: usize) {
        self.credit = (self.credit - len as f64).max(-MAX_DEBT);
    }

    /// Whether a packet may leave now.
    pub fn has_credit(&self) -> bool {
        self.credit > 0.0
    }

    /// A packet must wait. Where a key frame begins, older packets of the same subscription are of no use any more and
    /// are dropped. False, and nothing is kept, when too much waits already.
    pub fn push(&mut self, packet: Waiting) -> bool {
        if packet.starts_key_frame {
            self.forget(packet.down);
        }
        let late = |first: &Waiting| packet.since.saturating_duration_since(first.since) > MAX_WAIT;
        if self.queue.len() >= MAX_PACKETS || self.queue.front().is_some_and(late) {
            return false;
        }
        self.queue.push_back(packet);
        true
    }

    /// Takes the next packet to leave.
    pub fn pop(&mut self) -> Option<Waiting> {
        self.queue.pop_front()
    }

    /// Drops all packets of this subscription.
    pub fn forget(&mut self, down: DownTrackKey) {
        self.queue.retain(|waiting| waiting.down != down);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    fn waiting(down: DownTrackKey, index: u64, since: Instant) -> Waiting {
        Waiting {
            down,
            layer: 0,
            stream: StreamId::default(),
            index,
            starts_key_frame: false,
            since,
        }
    }

    #[test]
    fn what_leaves_is_bounded_by_the_rate_and_a_short_burst() {
        let (mut pacer, mut now) = (Pacer::default(), Instant::now());
        let mut left = 0;
        for _ in 0..200 {
            pacer.refill(800_000, now);
            while pacer.has_credit() {
                pacer.spend(1000);
                left += 1000;
            }
            now += PACE;
        }
        // A second at a little more than 100 kB/s, and the burst.
        assert!((115_000..=121_000).contains(&left), "{left}");
    }

    #[test]
    fn a_key_frame_takes_the_place_of_what_waits() {
        let mut keys = SlotMap::<DownTrackKey, ()>::with_key();
        let (one, other) = (keys.insert(()), keys.insert(()));
        let (mut pacer, now) = (Pacer::default(), Instant::now());
        assert!(pacer.push(waiting(one, 1, now)));
        assert!(pacer.push(waiting(other, 7, now)));
        let key = Waiting {
            starts_key_frame: true,
            ..waiting(one, 2, now)
        };
        assert!(pacer.push(key));
        let left: Vec<_> = std::iter::from_fn(|| pacer.pop())
            .map(|w| w.index)
            .collect();
        assert_eq!(left, [7, 2]);
    }

    #[test]
    fn what_would_be_too_old_is_not_taken() {
        let mut keys = SlotMap::<DownTrackKey, ()>::with_key();
        let (down, mut pacer, now) = (keys.insert(()), Pacer::default(), Instant::now());
        assert!(pacer.push(waiting(down, 1, now)));
        assert!(pacer.push(waiting(down, 2, now + MAX_WAIT)));
        assert!(!pacer.push(waiting(down, 3, now + MAX_WAIT + PACE)));
        let mut pacer = Pacer::default();
        let taken = (0..1000)
            .filter(|i| pacer.push(waiting(down, *i, now)))
            .count();
        assert_eq!(taken, MAX_PACKETS);
    }
}
