//! The cap that loss puts on the estimate: a link that drops what it cannot carry (a policer, a short queue) shows no
//! delay before it drops.
//!
//! A radio link loses packets whatever is sent. The two are told apart by trying: when sending less does not lower the
//! loss, the loss is the link's nature, and only what exceeds it counts from then on.

use std::time::{Duration, Instant};

use super::bitrate::Bitrate;

/// Loss is measured over at least this time.
const WINDOW: Duration = Duration::from_millis(500);

/// Loss is measured over at least this many packets.
const PACKETS: u32 = 20;

/// Loss up to this, above the link's nature, is repaired by retransmissions and does not lower the rate.
const TOLERATED: f64 = 0.13;

/// Loss above this, beyond the link's nature, forbids growth without a probe.
const SUSPICIOUS: f64 = 0.06;

/// Loss up to this many standard deviations above [`TOLERATED`] may be chance.
const CHANCE: f64 = 2.5;

/// The time between two decreases, which is how long a decrease has to show.
const PATIENCE: Duration = Duration::from_millis(400);

/// The loss that is a link's nature is believed for this long.
const MEMORY: Duration = Duration::from_secs(20);

/// The loss-based cap of one network.
#[derive(Debug, Default)]
pub struct LossControl {
    window: Option<Instant>,
    received: u32,
    lost: u32,
    fraction: f64,
    /// Number of packets that `fraction` is a share of.
    packets: u32,
    fresh: bool,
    decreased: Option<Instant>,
    /// Rate and loss before the present run of decreases.
    before: Option<(Bitrate, f64)>,
    /// The link's nature: loss that does not depend on the rate, and since when it is known.
    inherent: Option<(f64, Instant)>,
}

impl LossControl {
    /// Packets were reported for the first time: `received` as arrived, `lost` as missing.
    pub fn reported(&mut self, received: u32, lost: u32, now: Instant) {
        let began = *self.window.get_or_insert(now);
        self.received += received;
        self.lost += lost;
        let total = self.received + self.lost;
        if now < began + WINDOW || total < PACKETS {
            return;
        }
        self.fraction = f64::from(self.lost) / f64::from(total);
        self.packets = total;
        self.fresh = true;
        self.window = Some(now);
        (self.received, self.lost) = (0, 0);
    }

    /// Share of packets lost in the last window, 0 to 1.
    pub fn fraction(&self) -> f64 {
        self.fraction
    }

    /// Whether so much is lost that a probe must show first that more gets through.
    pub fn forbids_growth(&self) -> bool {
        let natural = self.inherent.map_or(0.0, |(loss, _)| loss);
        self.fraction > natural + SUSPICIOUS
    }

    /// A probe got through: the present run of decreases is over.
    pub fn probed(&mut self) {
        self.before = None;
    }

    /// The most that loss allows, given a rate of `bitrate` of which `acked` arrives.
    pub fn update(&mut self, bitrate: Bitrate, acked: Option<Bitrate>, now: Instant) -> Bitrate {
        if !std::mem::take(&mut self.fresh) {
            return bitrate;
        }
        if self
            .inherent
            .is_some_and(|(_, since)| now >= since + MEMORY)
        {
            self.inherent = None;
        }
        let natural = self.inherent.map_or(0.0, |(loss, _)| loss);
        let expected = (natural + TOLERATED).min(1.0);
        let deviation = (expected * (1.0 - expected) / f64::from(self.packets.max(1))).sqrt();
        if self.fraction <= expected + CHANCE * deviation {
            self.before = None;
            return bitrate;
        }
        if self.decreased.is_some_and(|at| now < at + PATIENCE) {
            return bitrate;
        }
        let (first_rate, first_loss) = *self.before.get_or_insert((bitrate, self.fraction));
        if bitrate * 10 < first_rate * 7 && self.fraction > first_loss * 0.7 {
            // Much less was sent, and as much of it was lost.
            self.inherent = Some((self.fraction, now));
            self.before = None;
            return bitrate;
        }
        self.decreased = Some(now);
        // What arrives is carried: there is no reason to go far below.
        let lower = match acked {
            Some(acked) => acked as f64 * 0.95,
            None => bitrate as f64 * (1.0 - 0.5 * self.fraction),
        };
        bitrate.min(lower as Bitrate)
    }
}
