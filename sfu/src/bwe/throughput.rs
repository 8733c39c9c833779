//! The rate at which packets arrive: bytes over the receiver's clock.

use std::collections::VecDeque;

use super::{bitrate::Bitrate, sent::Acked};

/// The span that is averaged over, microseconds: short enough to follow a link that gets worse, long enough for a few
/// frames of the slowest picture.
const WINDOW: i64 = 500_000;

/// The shortest span that gives a figure, microseconds.
const FIRST: i64 = 150_000;

/// The arrival rate of one receiver.
#[derive(Debug, Default)]
pub struct Throughput {
    /// The packets of the window.
    arrivals: VecDeque<Acked>,
    bytes: u64,
    began: Option<i64>,
    newest: i64,
}

impl Throughput {
    /// A packet arrived.
    pub fn arrived(&mut self, packet: &Acked) {
        let at = packet.arrived_us;
        let began = *self.began.get_or_insert(at);
        self.newest = self.newest.max(at).max(began);
        self.arrivals.push_back(*packet);
        self.bytes += u64::from(packet.len);
        while let Some(oldest) = self.arrivals.front().copied()
            && oldest.arrived_us <= self.newest - WINDOW
        {
            self.arrivals.pop_front();
            self.bytes -= u64::from(oldest.len);
        }
    }

    /// Whether packets arrive about as fast as they are sent: then a delay that grew was a moment's, not a queue's.
    pub fn keeps_up(&self) -> bool {
        let (Some(first), Some(last)) = (self.arrivals.front(), self.arrivals.back()) else {
            return false;
        };
        let (sent, arrived) = (
            last.sent_us - first.sent_us,
            last.arrived_us - first.arrived_us,
        );
        sent >= FIRST && arrived * 10 <= sent * 11
    }

    /// The arrival rate, bits per second; `None` while too little is known.
    pub fn bitrate(&self) -> Option<Bitrate> {
        let span = (self.newest - self.began?).min(WINDOW);
        (span >= FIRST).then(|| self.bytes * 8_000_000 / span as u64)
    }
}
