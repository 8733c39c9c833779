//! The packets in flight, and what feedback says of them.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    rtcp::TransportCc,
    rtp::{SeqNo, nearest},
};

/// Packets that are remembered: two seconds at 20 Mbit/s.
const MAX_PACKETS: usize = 4096;

/// Feedback on older packets is of no use.
const MAX_AGE: Duration = Duration::from_secs(2);

/// Wrap of the reference time, ticks of 250 us: 24 bits of 64 ms.
const REFERENCE_WRAP: i64 = 256 << 24;

/// A packet of which the arrival is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// When it went out, microseconds on our clock.
    pub sent_us: i64,
    /// When it arrived, microseconds on the receiver's clock.
    pub arrived_us: i64,
    /// Bytes on the wire.
    pub len: u32,
    /// Number of the probe it was part of; 0: none.
    pub probe: u8,
}

/// How many of the packets of a feedback arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reported {
    /// Reported for the first time, as arrived.
    pub received: u32,
    /// Reported for the first time, as missing.
    pub lost: u32,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    /// Microseconds since `epoch`.
    at: i64,
    len: u16,
    probe: u8,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown,
    Lost,
    Received,
}

/// See the module.
#[derive(Debug)]
pub struct SentPackets {
    epoch: Instant,
    packets: VecDeque<Sent>,
    /// Index of the next packet; its low 16 bits are its number on the wire.
    next: u64,
    /// The last reference time, unwrapped, in ticks.
    reference: Option<i64>,
}

impl SentPackets {
    /// Nothing sent yet.
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            packets: VecDeque::new(),
            next: 1,
            reference: None,
        }
    }

    /// Number of the next packet.
    pub fn next_seq(&self) -> SeqNo {
        SeqNo(self.next as u16)
    }

    /// It went out.
    pub fn record(&mut self, len: usize, probe: u8, now: Instant) {
        let at = now.saturating_duration_since(self.epoch).as_micros() as i64;
        let oldest = at - MAX_AGE.as_micros() as i64;
        // Room is made before it is needed, so that the buffer does not grow for packets nobody asks about.
        while self.packets.len() >= MAX_PACKETS
            || self
                .packets
                .front()
                .is_some_and(|packet| packet.at < oldest)
        {
            self.packets.pop_front();
        }
        self.packets.push_back(Sent {
            at,
            len: len.min(usize::from(u16::MAX)) as u16,
            probe,
            state: State::Unknown,
        });
        self.next += 1;
    }

    /// Adds the packets that a feedback reports as arrived to `acked`, in the order of sending.
    pub fn handle_feedback(
        &mut self,
        feedback: &TransportCc<'_>,
        now: Instant,
        acked: &mut Vec<Acked>,
    ) -> Reported {
        let shift = self.unwrap_reference(i64::from(feedback.reference_time) * 256);
        let mut reported = Reported::default();
        let first = self.next - self.packets.len() as u64;
        let oldest = now.saturating_duration_since(self.epoch).as_micros() as i64
            - MAX_AGE.as_micros() as i64;
        for (seq, arrival) in feedback.statuses() {
            let index = nearest(self.next, seq);
            let Some(packet) = index
                .checked_sub(first)
                .and_then(|offset| self.packets.get_mut(offset as usize))
                .filter(|packet| packet.at >= oldest)
            else {
                continue;
            };
            match (arrival, packet.state) {
                (Some(ticks), State::Unknown | State::Lost) => {
                    packet.state = State::Received;
                    reported.received += 1;
                    acked.push(Acked {
                        sent_us: packet.at,
                        arrived_us: (ticks + shift) * 250,
                        len: packet.len.into(),
                        probe: packet.probe,
                    });
                }
                (None, State::Unknown) => {
                    packet.state = State::Lost;
                    reported.lost += 1;
                }
                _ => {}
            }
        }
        reported
    }

    /// What to add to the feedback's times, such that the reference never jumps by half its range.
    fn unwrap_reference(&mut self, ticks: i64) -> i64 {
        let last = *self.reference.get_or_insert(ticks);
        let distance = (ticks - last).rem_euclid(REFERENCE_WRAP);
        let unwrapped = if distance < REFERENCE_WRAP / 2 {
            last + distance
        } else {
            last + distance - REFERENCE_WRAP
        };
        self.reference = Some(unwrapped);
        unwrapped - ticks
    }
}
