//! Whether queues grow: the slope of the one-way delay over groups of packets, against a threshold that adapts
//! (draft-ietf-rmcat-gcc-02 sections 5.2 to 5.4, with a least-squares line in the place of the Kalman filter as today's
//! browsers have it).

use std::collections::VecDeque;

use super::sent::Acked;

/// Packets sent within this time form a group, microseconds: they left as one burst.
const GROUP: i64 = 5_000;

/// The longest group, microseconds on the receiver's side.
const LONGEST_GROUP: i64 = 100_000;

/// Groups in the line.
const POINTS: usize = 20;

/// Weight of the past in the smoothed delay.
const SMOOTHING: f64 = 0.9;

/// Factor that brings the slope into the range of the threshold.
const GAIN: f64 = 4.0;

/// Groups after which the slope counts in full.
const FULL_WEIGHT: u32 = 60;

/// Delay must have grown for this long, microseconds, and over more than one group.
const OVERUSE_TIME: f64 = 10_000.0;

/// The speed at which the threshold follows a slope above it, and one below it, per millisecond.
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;

/// A jump over the threshold by more than this (a route that changed) does not move it.
const THRESHOLD_JUMP: f64 = 15.0;

/// The length of a queue is the least delay of this span, microseconds. A receiver that is short of processor time
/// reads late and then all at once, so that between two long delays there is always a short one.
const STANDING_SPAN: i64 = 150_000;

/// The shortest queue, ms, with which a slope means anything; below it a slope is noise.
const NOISE: f64 = 25.0;

/// A queue of this length, ms, must drain before more is sent: the slope alone does not see a queue that stands still.
const STANDING: f64 = 80.0;

/// A queue of this length, ms, must become shorter at once, whatever the slope is.
const TOO_LONG: f64 = 250.0;

/// The delay of an empty queue is the shortest one of so many microseconds, of this span or the one before.
const BASE_SPAN: i64 = 15_000_000;

/// A route counts as longer, and its present delay as that of an empty queue, when the queue was too long for so many
/// microseconds and did not become shorter by a tenth, though less is sent.
const HOPE: i64 = 3_000_000;

/// After a gap of this length on either side, microseconds, the line begins anew.
const GAP: i64 = 2_000_000;

/// The verdict on the queues of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Usage {
    /// Queues neither grow nor shrink.
    #[default]
    Normal,
    /// Queues grow.
    Over,
    /// Queues drain: the rate waits until they are empty.
    Under,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    first_sent: i64,
    last_sent: i64,
    first_arrived: i64,
    last_arrived: i64,
}

/// The delay-based detector of one network.
#[derive(Debug)]
pub struct DelayDetector {
    current: Option<Group>,
    previous: Option<Group>,
    /// Arrival in ms since the first group, and smoothed delay in ms.
    line: VecDeque<(f64, f64)>,
    origin: i64,
    delay: f64,
    smoothed: f64,
    deltas: u32,
    threshold: f64,
    updated: Option<i64>,
    over_for: f64,
    over_count: u32,
    last_trend: f64,
    usage: Usage,
    /// The shortest one-way delay (with the offset of the clocks), microseconds: of the span before, of the present
    /// span, and the arrival at which the present span began.
    base: Option<(i64, i64, i64)>,
    /// Delays above the shortest, ms, and their arrival, of [`STANDING_SPAN`]: only those that are below all later
    /// ones.
    recent: VecDeque<(i64, f64)>,
    /// When the queue became too long, or was shorter by a tenth for the last time, and how long it was then.
    too_long: Option<(i64, f64)>,
}

impl Default for DelayDetector {
    fn default() -> Self {
        Self {
            current: None,
            previous: None,
            line: VecDeque::new(),
            origin: 0,
            delay: 0.0,
            smoothed: 0.0,
            deltas: 0,
            threshold: 12.5,
            updated: None,
            over_for: 0.0,
            over_count: 0,
            last_trend: 0.0,
            usage: Usage::Normal,
            base: None,
            recent: VecDeque::new(),
            too_long: None,
        }
    }
}

impl DelayDetector {
    /// A packet arrived. Called in the order of sending.
    pub fn arrived(&mut self, packet: &Acked) {
        let (sent, arrived) = (packet.sent_us, packet.arrived_us);
        let alone = Group {
            first_sent: sent,
            last_sent: sent,
            first_arrived: arrived,
            last_arrived: arrived,
        };
        let Some(group) = &mut self.current else {
            self.current = Some(alone);
            return;
        };
        if sent - group.last_sent > GAP || (arrived - group.last_arrived).abs() > GAP {
            *self = Self {
                current: Some(alone),
                threshold: self.threshold,
                ..Self::default()
            };
            return;
        }
        if sent < group.first_sent {
            return;
        }
        // Packets that arrive faster than they were sent were held up together, and are one group as well.
        let burst = arrived - group.last_arrived <= GROUP
            && arrived - group.last_arrived < sent - group.last_sent
            && arrived - group.first_arrived < LONGEST_GROUP;
        if sent - group.first_sent <= GROUP || burst {
            group.last_sent = group.last_sent.max(sent);
            group.last_arrived = group.last_arrived.max(arrived);
            return;
        }
        let done = std::mem::replace(group, alone);
        if let Some(before) = self.previous.replace(done) {
            let sent = done.last_sent - before.last_sent;
            let arrived = done.last_arrived - before.last_arrived;
            self.measure_queue(done.last_arrived - done.last_sent, done.last_arrived);
            // Reordered groups say nothing.
            if arrived >= 0 {
                self.add(arrived - sent, sent, done.last_arrived);
            }
        }
    }

    /// The last verdict.
    pub fn usage(&self) -> Usage {
        match self.usage {
            Usage::Over if self.queue() < NOISE => Usage::Normal,
            Usage::Normal if self.is_too_long() => Usage::Over,
            Usage::Normal if self.must_drain() => Usage::Under,
            usage => usage,
        }
    }

    /// The time that packets wait on the way, milliseconds.
    pub fn queue(&self) -> f64 {
        self.recent.front().map_or(0.0, |(_, queue)| *queue)
    }

    /// Whether packets wait so long that nothing may be added.
    pub fn must_drain(&self) -> bool {
        self.queue() > STANDING
    }

    /// Whether packets wait so long that a talk becomes a walkie-talkie.
    pub fn is_too_long(&self) -> bool {
        self.queue() > TOO_LONG
    }

    fn measure_queue(&mut self, delay: i64, arrived: i64) {
        let (before, now, since) = self.base.unwrap_or((delay, delay, arrived));
        self.base = Some(if arrived - since > BASE_SPAN {
            (now, delay, arrived)
        } else {
            (before, now.min(delay), since)
        });
        let shortest = before.min(now).min(delay);
        let queue = (delay - shortest) as f64 / 1000.0;
        while self.recent.back().is_some_and(|(_, later)| *later >= queue) {
            self.recent.pop_back();
        }
        self.recent.push_back((arrived, queue));
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| arrived - at > STANDING_SPAN)
        {
            self.recent.pop_front();
        }
        if !self.is_too_long() {
            self.too_long = None;
            return;
        }
        let (since, then) = *self.too_long.get_or_insert((arrived, self.queue()));
        if self.queue() < then * 0.9 {
            self.too_long = Some((arrived, self.queue()));
        } else if arrived - since > HOPE {
            self.base = None;
            self.recent.clear();
            self.too_long = None;
        }
    }

    fn add(&mut self, delta_us: i64, sent_us: i64, arrived_us: i64) {
        if self.deltas == 0 {
            self.origin = arrived_us;
        }
        self.deltas = (self.deltas + 1).min(1000);
        self.delay += delta_us as f64 / 1000.0;
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.delay;
        self.line
            .push_back(((arrived_us - self.origin) as f64 / 1000.0, self.smoothed));
        if self.line.len() > POINTS {
            self.line.pop_front();
        }
        let trend = if self.line.len() == POINTS {
            slope(&self.line)
        } else {
            0.0
        };
        self.detect(trend, sent_us, arrived_us);
    }

    fn detect(&mut self, trend: f64, sent_us: i64, arrived_us: i64) {
        let weighted = f64::from(self.deltas.min(FULL_WEIGHT)) * trend * GAIN;
        if weighted > self.threshold {
            self.over_for += if self.over_count == 0 {
                sent_us as f64 / 2.0
            } else {
                sent_us as f64
            };
            self.over_count += 1;
            if self.over_for > OVERUSE_TIME && self.over_count > 1 && trend >= self.last_trend {
                self.over_for = 0.0;
                self.over_count = 0;
                self.usage = Usage::Over;
            }
        } else {
            self.over_for = 0.0;
            self.over_count = 0;
            self.usage = if weighted < -self.threshold {
                Usage::Under
            } else {
                Usage::Normal
            };
        }
        self.last_trend = trend;
        self.adapt(weighted.abs(), arrived_us);
    }

    fn adapt(&mut self, trend: f64, arrived_us: i64) {
        let last = self.updated.replace(arrived_us).unwrap_or(arrived_us);
        if trend > self.threshold + THRESHOLD_JUMP {
            return;
        }
        let gain = if trend < self.threshold {
            THRESHOLD_DOWN
        } else {
            THRESHOLD_UP
        };
        let elapsed = ((arrived_us - last) as f64 / 1000.0).clamp(0.0, 100.0);
        self.threshold =
            (self.threshold + gain * (trend - self.threshold) * elapsed).clamp(6.0, 600.0);
    }
}

/// Slope of the least-squares line; 0 where all points are at one instant.
fn slope(points: &VecDeque<(f64, f64)>) -> f64 {
    let count = points.len() as f64;
    let (x, y) = points
        .iter()
        .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (x, y) = (x / count, y / count);
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), point| {
        let distance = point.0 - x;
        (
            above + distance * (point.1 - y),
            below + distance * distance,
        )
    });
    if below == 0.0 { 0.0 } else { above / below }
}
