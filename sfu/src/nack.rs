//! Lost packets: those to ask a publisher for ([`NackTracker`]), and the subscribers' requests to ignore
//! ([`NackThrottle`]). Generic NACK is RFC 4585, section 6.2.1.

use std::time::{Duration, Instant};

use crate::rtp::SeqNo;

/// A gap longer than this is a new start rather than loss: asking for all of it would only add to the jam.
const MAX_GAP: u64 = 300;

/// The most packets that are asked for at the same time.
const MAX_MISSING: usize = 512;

/// Number of times that a packet is asked for.
const MAX_TRIES: u8 = 10;

/// The age at which nobody can use a packet any more.
const MAX_AGE: Duration = Duration::from_millis(1000);

/// A packet is asked for again after a round trip, and at the earliest after this.
const MIN_RETRY: Duration = Duration::from_millis(20);

/// Slack above the round trip: the publisher's own delay until it answers.
const RETRY_SLACK: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy)]
struct Missing {
    index: u64,
    since: Instant,
    asked: Option<Instant>,
    tries: u8,
}

/// The packets of one incoming stream that are missing.
#[derive(Debug, Default)]
pub struct NackTracker {
    highest: Option<u64>,
    /// The missing packets by index, ascending.
    missing: Vec<Missing>,
    due: Vec<SeqNo>,
    gave_up: bool,
}

impl NackTracker {
    /// A tracker of a stream of which nothing has arrived.
    pub fn new() -> Self {
        Self::default()
    }

    /// A packet arrived in its own right.
    pub fn received(&mut self, index: u64, now: Instant) {
        let Some(highest) = self.highest else {
            self.highest = Some(index);
            return;
        };
        if index <= highest {
            self.remove(index);
            return;
        }
        let gap = index - highest - 1;
        if gap > MAX_GAP || self.missing.len() + gap as usize > MAX_MISSING {
            self.missing.clear();
            self.gave_up = true;
        } else {
            let missing = |index| Missing {
                index,
                since: now,
                asked: None,
                tries: 0,
            };
            self.missing.extend((highest + 1..index).map(missing));
        }
        self.highest = Some(index);
    }

    /// A packet arrived as a retransmission. False when it was not missing (any more).
    pub fn recovered(&mut self, index: u64) -> bool {
        self.remove(index)
    }

    /// The packets to ask for now, ascending; they count as asked for.
    pub fn poll(&mut self, rtt: Duration, now: Instant) -> &[SeqNo] {
        self.due.clear();
        let retry = (rtt + RETRY_SLACK).max(MIN_RETRY);
        let (due, gave_up) = (&mut self.due, &mut self.gave_up);
        self.missing.retain_mut(|missing| {
            if missing.tries >= MAX_TRIES || now >= missing.since + MAX_AGE {
                *gave_up = true;
                return false;
            }
            if missing.asked.is_none_or(|asked| now >= asked + retry) {
                missing.asked = Some(now);
                missing.tries += 1;
                due.push(SeqNo(missing.index as u16));
            }
            true
        });
        &self.due
    }

    /// Packets that are missing until now were left out on purpose: the next packet counts as the first one.
    pub fn skip(&mut self) {
        self.missing.clear();
        self.highest = None;
    }

    /// Whether packets were given up since the last call: a video cannot be repaired without a key frame.
    pub fn take_gave_up(&mut self) -> bool {
        std::mem::take(&mut self.gave_up)
    }

    fn remove(&mut self, index: u64) -> bool {
        let found = self
            .missing
            .binary_search_by_key(&index, |missing| missing.index);
        found.map(|position| self.missing.remove(position)).is_ok()
    }
}

/// Repairs of one stream may be as large as what was sent of it, and this many bytes more: half of all packets may be
/// lost for long, or the whole of a second at once, and still a subscriber that asks for everything again and again
/// gets twice the stream at the most.
const REPAIR_CREDIT: u32 = 512 * 1024;

/// Packets sent again lately, so that a NACK repeated within a round trip costs nothing. Empty until the first NACK.
#[derive(Debug)]
pub struct NackThrottle {
    recent: Vec<(SeqNo, Instant)>,
    /// Bytes of repairs that may still be sent.
    credit: u32,
    /// Bytes of the stream sent when the credit was last counted.
    counted: u32,
}

impl Default for NackThrottle {
    fn default() -> Self {
        Self {
            recent: Vec::new(),
            credit: REPAIR_CREDIT,
            counted: 0,
        }
    }
}

impl NackThrottle {
    /// Number of entries, found by the low bits of the sequence number.
    const SLOTS: usize = 64;

    /// Whether to answer this NACK. True counts as answered.
    pub fn allow(&mut self, seq: SeqNo, rtt: Duration, now: Instant) -> bool {
        if self.recent.is_empty() {
            // An empty entry: a sequence number that maps to another slot.
            let empty = |slot: usize| (SeqNo(slot as u16 ^ 1), now);
            self.recent = (0..Self::SLOTS).map(empty).collect();
        }
        let slot = &mut self.recent[usize::from(seq.0) % Self::SLOTS];
        // Half a round trip: a client asks again only when it had no answer for a whole one.
        if slot.0 == seq && now < slot.1 + (rtt / 2).max(Duration::from_millis(5)) {
            return false;
        }
        *slot = (seq, now);
        true
    }

    /// Whether a repair is in proportion to the stream, of which `sent` bytes went out until now (a count that wraps).
    pub fn has_credit(&mut self, sent: u32) -> bool {
        let earned = sent.wrapping_sub(std::mem::replace(&mut self.counted, sent));
        self.credit = self.credit.saturating_add(earned).min(REPAIR_CREDIT);
        self.credit > 0
    }

    /// A repair of `bytes` bytes went out.
    pub fn spend(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.credit = self.credit.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_gap_is_asked_for_and_asked_for_again_after_a_round_trip() {
        let (mut tracker, now) = (NackTracker::new(), Instant::now());
        tracker.received(65_534, now);
        tracker.received(65_538, now);
        assert_eq!(
            tracker.poll(ms(50), now),
            [SeqNo(65_535), SeqNo(0), SeqNo(1)]
        );
        assert!(tracker.poll(ms(50), now + ms(40)).is_empty());
        assert!(tracker.recovered(65_536));
        assert!(!tracker.recovered(65_536));
        assert_eq!(
            tracker.poll(ms(50), now + ms(60)),
            [SeqNo(65_535), SeqNo(1)]
        );
    }

    #[test]
    fn a_late_packet_is_not_asked_for() {
        let (mut tracker, now) = (NackTracker::new(), Instant::now());
        tracker.received(1, now);
        tracker.received(3, now);
        tracker.received(2, now);
        assert!(tracker.poll(ms(50), now).is_empty());
    }

    #[test]
    fn what_is_too_old_is_given_up_once() {
        let (mut tracker, now) = (NackTracker::new(), Instant::now());
        tracker.received(1, now);
        tracker.received(3, now);
        assert!(!tracker.take_gave_up());
        assert!(tracker.poll(ms(0), now + MAX_AGE).is_empty());
        assert!(tracker.take_gave_up());
        assert!(!tracker.take_gave_up());
    }

    #[test]
    fn a_jump_is_a_new_start() {
        let (mut tracker, now) = (NackTracker::new(), Instant::now());
        tracker.received(1, now);
        tracker.received(10_000, now);
        assert!(tracker.poll(ms(0), now).is_empty());
        assert!(tracker.take_gave_up());
        tracker.received(10_002, now);
        assert_eq!(tracker.poll(ms(0), now), [SeqNo(10_001)]);
    }

    #[test]
    fn an_impatient_subscriber_is_answered_once_per_round_trip() {
        let (mut throttle, now) = (NackThrottle::default(), Instant::now());
        assert!((0..64).all(|seq| throttle.allow(SeqNo(seq), ms(100), now)));
        assert!(!throttle.allow(SeqNo(7), ms(100), now + ms(20)));
        assert!(throttle.allow(SeqNo(7), ms(100), now + ms(50)));
        assert!(throttle.allow(SeqNo(71), ms(100), now + ms(50)));
    }

    #[test]
    fn repairs_never_outweigh_the_stream_and_their_credit_survives_a_wrap_of_its_count() {
        let mut throttle = NackThrottle::default();
        let mut repaired = 0;
        let storm = |throttle: &mut NackThrottle, sent: u32| {
            let mut bytes = 0;
            while throttle.has_credit(sent) {
                throttle.spend(1000);
                bytes += 1000;
            }
            bytes
        };
        repaired += storm(&mut throttle, 0);
        assert!((REPAIR_CREDIT..REPAIR_CREDIT + 1000).contains(&repaired));
        assert_eq!(storm(&mut throttle, 0), 0);
        assert_eq!(storm(&mut throttle, 10_000), 10_000);
        throttle.counted = u32::MAX - 4_999;
        assert_eq!(storm(&mut throttle, 5_000), 10_000);
        // A long time without loss does not allow for a flood later.
        throttle.counted = 0;
        assert!(storm(&mut throttle, 1 << 31) < REPAIR_CREDIT + 1000);
    }
}
