//! The rate that follows the delay: up slowly while queues are empty, down to a share of what arrived when they grow
//! (draft-ietf-rmcat-gcc-02, section 5.5).

use std::time::{Duration, Instant};

use super::{
    bitrate::{Bitrate, LOWEST},
    loss::LossControl,
    throughput::Throughput,
    trendline::{DelayDetector, Usage},
};

/// The share of the arriving rate that is sent after queues grew: the rest drains them.
const BACK_OFF: f64 = 0.85;

/// The share of the arriving rate that is sent where the queue has become long.
const DRAIN: f64 = 0.65;

/// Growth far from the known capacity, per second.
const GROWTH: f64 = 1.08;

/// The rate is at most this multiple of what arrived: growth beyond that is guesswork.
const HEADROOM: f64 = 1.5;

/// Weight of a new sample in the known capacity.
const CAPACITY_WEIGHT: f64 = 0.05;

/// Assumed size of a packet, bits.
const PACKET: f64 = 1200.0 * 8.0;

/// The delay-based rate of one network: it grows by multiples, by packets near the known capacity, and shrinks to a
/// share of what arrives.
#[derive(Debug)]
pub struct RateControl {
    bitrate: Bitrate,
    state: State,
    /// Mean and variance (relative) of the rates at which queues began to grow, in kbit/s.
    capacity: Option<(f64, f64)>,
    updated: Option<Instant>,
    decreased: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Hold,
    Increase,
}

impl RateControl {
    /// A control that begins at `bitrate`.
    pub fn new(bitrate: Bitrate) -> Self {
        Self {
            bitrate,
            state: State::Increase,
            capacity: None,
            updated: None,
            decreased: None,
        }
    }

    /// The present rate.
    pub fn bitrate(&self) -> Bitrate {
        self.bitrate
    }

    /// Updates the rate from what the last feedback says of the delay, of what arrived lately, and of loss.
    pub fn update(
        &mut self,
        delay: &DelayDetector,
        loss: &LossControl,
        throughput: &Throughput,
        rtt: Duration,
        now: Instant,
    ) {
        let acked = throughput.bitrate();
        let usage = delay.usage();
        let elapsed = self
            .updated
            .replace(now)
            .map_or(0.0, |last| {
                now.saturating_duration_since(last).as_secs_f64()
            })
            .min(1.0);
        match usage {
            Usage::Under => self.state = State::Hold,
            Usage::Normal if self.state == State::Hold => self.state = State::Increase,
            Usage::Normal if loss.forbids_growth() => {}
            Usage::Normal => self.increase(acked, rtt, elapsed),
            Usage::Over => {
                let share = if delay.is_too_long() { DRAIN } else { BACK_OFF };
                self.decrease(acked, throughput.keeps_up(), share, rtt, now);
            }
        }
    }

    fn increase(&mut self, acked: Option<Bitrate>, rtt: Duration, elapsed: f64) {
        let Some(acked) = acked else { return };
        let known = |bitrate: f64, (mean, variance): (f64, f64)| {
            bitrate / 1000.0 <= mean + 3.0 * (variance * mean).sqrt()
        };
        if self
            .capacity
            .is_some_and(|capacity| !known(acked as f64, capacity))
        {
            self.capacity = None;
        }
        let bitrate = self.bitrate as f64;
        let grown = if self.capacity.is_some() {
            // Near the capacity: about a packet per response time.
            bitrate + (PACKET / (rtt.as_secs_f64() + 0.1)).max(4000.0) * elapsed
        } else {
            bitrate * GROWTH.powf(elapsed) + 1000.0 * elapsed
        };
        let highest = (acked as f64 * HEADROOM + 10_000.0).max(bitrate);
        self.bitrate = grown.min(highest) as Bitrate;
    }

    fn decrease(
        &mut self,
        acked: Option<Bitrate>,
        keeps_up: bool,
        share: f64,
        rtt: Duration,
        now: Instant,
    ) {
        self.state = State::Hold;
        // A decrease needs a round trip to show; several in a row would only starve the picture.
        let patience = (rtt + Duration::from_millis(50)).min(Duration::from_millis(300));
        let recent = self
            .decreased
            .is_some_and(|at| now.saturating_duration_since(at) < patience);
        let arrived = acked.unwrap_or(self.bitrate / 2);
        // A second decrease comes sooner where what arrives says that the first was by far not enough.
        if recent && arrived * 2 > self.bitrate {
            return;
        }
        // Where everything arrives in time, less was sent than the network carries. What arrives then says nothing
        // about the network, and the step is a careful one.
        let limit = if keeps_up {
            self.bitrate.max(arrived)
        } else {
            arrived
        };
        let lower = (limit as f64 * share) as Bitrate;
        if lower < self.bitrate {
            self.bitrate = lower.max(LOWEST);
        }
        self.decreased = Some(now);
        if let Some(acked) = acked.filter(|_| !keeps_up) {
            self.learn(acked as f64 / 1000.0);
        }
    }

    fn learn(&mut self, sample: f64) {
        let (mean, variance) = self.capacity.unwrap_or((sample, 0.4));
        let far = (sample - mean).abs() > 3.0 * (variance * mean).sqrt();
        let mean = if far {
            sample
        } else {
            (1.0 - CAPACITY_WEIGHT) * mean + CAPACITY_WEIGHT * sample
        };
        let error = mean - sample;
        let variance =
            (1.0 - CAPACITY_WEIGHT) * variance + CAPACITY_WEIGHT * error * error / mean.max(1.0);
        self.capacity = Some((mean, variance.clamp(0.4, 2.5)));
    }

    /// A probe got through at `bitrate`: the rate is at least that.
    pub fn probed(&mut self, bitrate: Bitrate) {
        if bitrate > self.bitrate {
            self.bitrate = bitrate;
            self.capacity = None;
        }
    }

    /// Caps the rate at `bitrate`, which another estimate found.
    pub fn limit(&mut self, bitrate: Bitrate) {
        self.bitrate = self.bitrate.min(bitrate.max(LOWEST));
    }
}
