//! How good each participant's connection is, from what is measured: losses both ways, round trip time, jitter of its
//! sound, layers its network or processor does not manage, pictures that its network does not carry.
//!
//! It gets worse at once and better only when it has been so for two measurements: nobody needs a display that flickers.

use std::time::{Duration, Instant};

use crate::api::Quality;

/// Time between two measurements.
const INTERVAL: Duration = Duration::from_secs(4);

/// Of a participant that should send, nothing at all came for this long: neither media nor the reports that clients send
/// every few seconds even where they have nothing to send.
pub const LOST_AFTER: Duration = Duration::from_secs(8);

/// Fewer packets say nothing of loss.
pub const ENOUGH: u64 = 20;

/// A layer that was asked for may take so long to begin: encoders find out first what the network carries.
pub const RAMP_UP: Duration = Duration::from_secs(15);

/// A layer that sent nothing for this long is not sent.
pub const LAYER_SILENT: Duration = Duration::from_secs(2);

/// Share of lost packets from which on a connection is not excellent, and from which on not good. Up to the first all is
/// repaired without anybody noticing, above the second voices break.
pub const LOSS: [f64; 2] = [0.02, 0.08];

/// The same of the round trip time: from about 300 ms people interrupt each other, …
pub const ROUND_TRIP: [Duration; 2] = [Duration::from_millis(350), Duration::from_millis(800)];

/// … and of the jitter of sound, which receivers turn into delay.
pub const JITTER: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];

/// The measurements of one peer.
#[derive(Debug, Default)]
pub struct QualityMeter {
    /// `None` until it connected.
    next: Option<Instant>,
    told: Option<Quality>,
    /// It was better than told, the last time.
    was_better: bool,
    /// What its receiver reports said since the last measurement: shares of lost packets in 1/256, and how many.
    reported: (u32, u32),
}

/// What a meter does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing yet.
    Waits,
    /// It begins with this.
    Begins,
    /// It measures.
    Measures,
}

impl QualityMeter {
    /// One of its reports on a stream. `fraction_lost` in 1/256.
    pub fn reported(&mut self, fraction_lost: u8) {
        self.reported.0 += u32::from(fraction_lost);
        self.reported.1 += 1;
    }

    /// The share of what it lost since the last call.
    pub fn take_loss(&mut self) -> f64 {
        let (sum, count) = std::mem::take(&mut self.reported);
        f64::from(sum) / 256.0 / f64::from(count.max(1))
    }

    /// Its network changed: what was lost may come back, and is measured anew. True where that has to be told.
    pub fn restarted(&mut self, now: Instant) -> bool {
        let was_lost = self.told == Some(Quality::Lost);
        if was_lost {
            self.told = Some(Quality::Poor);
            self.next = Some(now + INTERVAL);
        }
        was_lost
    }

    /// What its participant was told last; `None` before the first time.
    pub fn told(&self) -> Option<Quality> {
        self.told
    }

    /// Whether to measure now. The first measurement is due a while after it connected, which [`Turn::Begins`] tells.
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

    /// What to tell, where that changed. Everybody begins excellent.
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

/// How good a figure is of which `limits` says where it is not excellent any more, and where not good.
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
