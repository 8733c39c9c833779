//! Bursts that find out whether the network carries more than is sent.

use std::time::{Duration, Instant};

use super::{bitrate::Bitrate, sent::Acked};

/// A probe lasts at least this long on the sending side: several bursts, so that a rate can be seen.
const SHORTEST_PROBE: Duration = Duration::from_millis(80);
const LONGEST_PROBE: Duration = Duration::from_millis(200);

/// A probe lasts until this many bytes are sent, at most [`LONGEST_PROBE`]: on a slow link a rate cannot be read off
/// three packets.
const BYTES: f64 = 8_000.0;

/// The feedback of a probe is awaited for a round trip and this long.
const AWAIT: Duration = Duration::from_millis(250);

/// The time between probes while they succeed. After failures it grows up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(4);

/// The shortest time between probes where the network was too slow lately.
const CAREFUL: Duration = Duration::from_millis(600);

/// A probe asks for this multiple of the known rate.
const STEP: f64 = 2.5;

/// A probe asks for this multiple of the known rate where the network was too slow lately: a probe fills its queue too.
const CAREFUL_STEP: f64 = 1.7;

/// A probe asks for at most this multiple of the wanted rate: it brings a little less than it asks for.
const ENOUGH: f64 = 1.15;

/// One end of a probe: bytes and times of its bursts.
#[derive(Debug, Clone, Copy, Default)]
struct Side {
    first: Option<i64>,
    last: i64,
    bytes: u64,
    /// Bytes of the first burst, which started the clock.
    first_bytes: u64,
}

impl Side {
    fn add(&mut self, at: i64, len: u32) {
        let first = *self.first.get_or_insert(at);
        self.bytes += u64::from(len);
        if at - first < 2_000 {
            self.first_bytes += u64::from(len);
        }
        self.last = self.last.max(at);
    }

    /// Bits per second between the first burst and the last.
    fn bitrate(&self) -> Option<Bitrate> {
        let span = self.last - self.first?;
        (span >= 10_000).then(|| (self.bytes - self.first_bytes) * 8_000_000 / span as u64)
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// No probe; the next may begin at `next`.
    Idle { next: Option<Instant> },
    /// Bursts go out.
    Sending {
        since: Instant,
        last: Instant,
        target: Bitrate,
    },
    /// The rest of the feedback is awaited.
    Awaiting { until: Instant },
}

/// Whether a probe may begin. One that has begun is finished: half a probe says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// No probe now: queues have to drain.
    Not,
    /// A probe in small steps.
    Careful,
    /// A probe in large steps.
    Free,
}

/// The probes of one network, one at a time.
#[derive(Debug)]
pub struct Prober {
    state: State,
    interval: Duration,
    /// Number of the present probe; 0 is no probe.
    number: u8,
    sent: Side,
    arrived: Side,
    known: Bitrate,
    result: Option<Bitrate>,
    concluded: Option<Instant>,
    /// Bytes that went out since the last burst, less the padding that the burst asked for: media, which counts as part
    /// of the probe.
    credit: i64,
}

impl Default for Prober {
    fn default() -> Self {
        Self {
            state: State::Idle { next: None },
            interval: SHORTEST,
            number: 0,
            sent: Side::default(),
            arrived: Side::default(),
            known: 0,
            result: None,
            concluded: None,
            credit: 0,
        }
    }
}

impl Prober {
    /// A packet of `len` bytes goes out. Returns the probe that it is part of, 0 for none.
    pub fn sent(&mut self, len: usize) -> u8 {
        match self.state {
            State::Sending { .. } => {
                self.credit += len as i64;
                self.number
            }
            _ => 0,
        }
    }

    /// A packet arrived, according to feedback.
    pub fn arrived(&mut self, packet: &Acked) {
        if packet.probe == 0 || packet.probe != self.number {
            return;
        }
        self.sent.add(packet.sent_us, packet.len);
        self.arrived.add(packet.arrived_us, packet.len);
    }

    /// Ends the probe: queues grow.
    pub fn abort(&mut self) {
        self.result = None;
        let (State::Sending { last: at, .. } | State::Awaiting { until: at }) = self.state else {
            return;
        };
        self.interval = (self.interval * 2).min(LONGEST);
        self.state = State::Idle {
            next: Some(at + self.interval),
        };
    }

    /// The rate that the last probe found, once.
    pub fn take_result(&mut self) -> Option<Bitrate> {
        self.result.take()
    }

    /// Bytes of padding to send now, see [`super::BandwidthEstimator::probe_bytes`].
    pub fn poll(
        &mut self,
        known: Bitrate,
        wanted: Bitrate,
        begin: Begin,
        rtt: Duration,
        now: Instant,
    ) -> usize {
        match self.state {
            State::Idle { next } => {
                if wanted <= known || begin == Begin::Not {
                    return 0;
                }
                let careful = begin == Begin::Careful;
                let next = next.unwrap_or(now);
                let recent = self.concluded.is_some_and(|at| now < at + CAREFUL);
                if now < next || (careful && recent) {
                    self.state = State::Idle { next: Some(next) };
                    return 0;
                }
                self.number = self.number.checked_add(1).unwrap_or(1);
                (self.sent, self.arrived) = (Side::default(), Side::default());
                self.known = known;
                // A little more than wanted, since a probe brings a little less than it asks for.
                let step = if careful { CAREFUL_STEP } else { STEP };
                let target = (known as f64 * step).min(wanted as f64 * ENOUGH) as Bitrate;
                self.state = State::Sending {
                    since: now,
                    last: now,
                    target,
                };
                // The first burst sets the clock; its bytes are not counted.
                self.ask((target / 8 / 50) as i64)
            }
            State::Sending {
                since,
                last,
                target,
            } => {
                let elapsed = now.saturating_duration_since(last);
                let enough = Duration::from_secs_f64(BYTES * 8.0 / target.max(1) as f64);
                if now >= since + enough.clamp(SHORTEST_PROBE, LONGEST_PROBE) {
                    self.state = State::Awaiting {
                        until: now + rtt + AWAIT,
                    };
                }
                let due = (target as f64 / 8.0 * elapsed.as_secs_f64()) as i64;
                if let State::Sending { last, .. } = &mut self.state {
                    *last = now;
                }
                let media = self.credit;
                self.ask(due - media)
            }
            State::Awaiting { until } => {
                if now >= until {
                    self.conclude(now);
                }
                0
            }
        }
    }

    fn ask(&mut self, bytes: i64) -> usize {
        let bytes = bytes.max(0);
        self.credit = -bytes;
        bytes as usize
    }

    fn conclude(&mut self, now: Instant) {
        let found = match (self.sent.bitrate(), self.arrived.bitrate()) {
            // What arrives slower than it was sent filled a queue: the link carries a little less than that.
            (Some(sent), Some(arrived)) if arrived * 10 < sent * 9 => {
                Some((arrived as f64 * 0.9) as Bitrate)
            }
            (Some(sent), Some(arrived)) => Some(sent.min(arrived)),
            _ => None,
        };
        // Where little more was found than was known, the limit is near.
        let far = found.is_some_and(|found| found * 5 > self.known * 6);
        self.interval = if far {
            SHORTEST
        } else {
            (self.interval * 2).min(LONGEST)
        };
        self.concluded = Some(now);
        self.result = found.filter(|found| *found > self.known);
        self.state = State::Idle {
            next: Some(now + self.interval),
        };
    }
}
