//! The quality of each participant's connection, measured by losses both ways, round trip time, jitter of its sound,
//! layers that its network or processor does not manage, and pictures that its network does not carry.
//!
//! The quality gets worse at once, and better only when it has been so for two measurements: nobody needs a display
//! that flickers.

use std::time::{Duration, Instant};

use crate::api::Quality;

/// Time between two measurements.
const INTERVAL: Duration = Duration::from_secs(4);

/// A participant that should send is lost when nothing at all came for this long: neither media nor the reports that
/// clients send every few seconds even where they have nothing to send.
pub const LOST_AFTER: Duration = Duration::from_secs(8);

/// The fewest packets that say something of loss.
pub const ENOUGH: u64 = 20;

/// A layer that was asked for may take this long to begin: encoders find out first what the network carries.
pub const RAMP_UP: Duration = Duration::from_secs(15);

/// A layer that sent nothing for this long is not sent.
pub const LAYER_SILENT: Duration = Duration::from_secs(2);

/// The shares of lost packets from which on a connection is not excellent, and not good. Up to the first every loss is
/// repaired without anybody noticing, above the second voices break.
pub const LOSS: [f64; 2] = [0.02, 0.08];

/// The round trip times from which on a connection is not excellent, and not good: from about 300 ms people interrupt
/// each other.
pub const ROUND_TRIP: [Duration; 2] = [Duration::from_millis(350), Duration::from_millis(800)];

/// The jitters of sound from which on a connection is not excellent, and not good: receivers turn jitter into delay.
pub const JITTER: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];

/// The measurements of one peer.
#[derive(Debug, Default)]
pub struct QualityMeter {
    /// When to measure next; `None` until the peer connected.
    next: Option<Instant>,
    told: Option<Quality>,
    /// The last measurement was better than the quality told.
    was_better: bool,
    /// Receiver reports since the last measurement: sum of the shares of lost packets in 1/256, and number of reports.
    reported: (u32, u32),
}

/// The meter's work at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing: it is not time.
    Waits,
    /// The first look, which measures nothing yet.
    Begins,
    /// A measurement.
    Measures,
}

impl QualityMeter {
    /// A report of the peer on a stream came. `fraction_lost` in 1/256.
    pub fn reported(&mut self, fraction_lost: u8) {
        self.reported.0 += u32::from(fraction_lost);
        self.reported.1 += 1;
    }

    /// The share of packets that the peer lost since the last call.
    pub fn take_loss(&mut self) -> f64 {
        let (sum, count) = std::mem::take(&mut self.reported);
        f64::from(sum) / 256.0 / f64::from(count.max(1))
    }

    /// The peer's network changed: a lost connection may come back, and is measured anew. True where the new quality
    /// has to be told.
    pub fn restarted(&mut self, now: Instant) -> bool {
        let was_lost = self.told == Some(Quality::Lost);
        if was_lost {
            self.told = Some(Quality::Poor);
            self.next = Some(now + INTERVAL);
        }
        was_lost
    }

    /// The quality that the participant was told last; `None` before the first time.
    pub fn told(&self) -> Option<Quality> {
        self.told
    }

    /// Whether to measure now. The first measurement is due a while after the peer connected, which [`Turn::Begins`]
    /// tells.
    pub fn turn(&mut self, is_connected: bool, now: Instant) -> Turn {
        let turn = match self.next {
            None if !is_connected => return Turn::Waits,
            None => Turn::Begins,
            Some(next) if now < next => return Turn::Waits,
            Some(_) => Turn::Measures,
        };
        self.next = Some(now + INTERVAL);
        turn
    }

    /// The quality to tell, where it changed. Everybody begins excellent.
    pub fn judge(&mut self, quality: Quality) -> Option<Quality> {
        let told = self.told.unwrap_or(Quality::Excellent);
        let is_better = quality > told;
        let waits = is_better && told != Quality::Lost && !self.was_better;
        self.was_better = is_better;
        if quality == told || waits {
            return None;
        }
        self.was_better = false;
        self.told = Some(quality);
        Some(quality)
    }
}

/// The quality of a figure. `limits`: from where on it is not excellent, and not good.
pub fn rate<T: PartialOrd>(measured: T, limits: [T; 2]) -> Quality {
    match limits {
        [good, _] if measured < good => Quality::Excellent,
        [_, poor] if measured < poor => Quality::Good,
        _ => Quality::Poor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gets_worse_at_once_and_better_after_a_while() {
        let mut meter = QualityMeter::default();
        assert_eq!(meter.judge(Quality::Excellent), None);
        assert_eq!(meter.judge(Quality::Poor), Some(Quality::Poor));
        assert_eq!(meter.judge(Quality::Good), None);
        assert_eq!(meter.judge(Quality::Poor), None);
        assert_eq!(meter.judge(Quality::Excellent), None);
        assert_eq!(meter.judge(Quality::Good), Some(Quality::Good));
        assert_eq!(meter.judge(Quality::Lost), Some(Quality::Lost));
        assert_eq!(meter.judge(Quality::Good), Some(Quality::Good), "at once");
    }

    #[test]
    fn losses_are_rated_by_the_share_of_all_reports() {
        let mut meter = QualityMeter::default();
        assert_eq!(rate(meter.take_loss(), LOSS), Quality::Excellent);
        for (reports, expected) in [
            (vec![0, 0, 12], Quality::Excellent),
            (vec![8, 12, 10], Quality::Good),
            (vec![0, 60, 20], Quality::Poor),
        ] {
            reports.into_iter().for_each(|lost| meter.reported(lost));
            assert_eq!(rate(meter.take_loss(), LOSS), expected);
        }
    }
}
