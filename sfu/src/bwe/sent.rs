//! The packets in flight, and what feedback says of them.

use std::{collections::VecDeque, time::Instant};

use crate::{
    rtcp::TransportCc,
    rtp::{SeqNo, nearest},
};

/// Number of packets that are remembered: two seconds at 20 Mbit/s.
const MAX_PACKETS: usize = 4096;

/// Feedback on older packets is of no use, microseconds.
const MAX_AGE: u32 = 2_000_000;

/// The wrap of the reference time, ticks of 250 us: 24 bits of 64 ms.
const REFERENCE_WRAP: i64 = 256 << 24;

/// A packet that arrived, as feedback says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// When the packet went out, microseconds on our clock.
    pub sent_us: i64,
    /// When the packet arrived, microseconds on the receiver's clock.
    pub arrived_us: i64,
    /// Bytes on the wire.
    pub len: u32,
    /// Number of the probe that the packet was part of; 0: none.
    pub probe: u8,
}

/// Numbers of packets that one feedback reports for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reported {
    /// Packets that arrived.
    pub received: u32,
    /// Packets that are missing though the receiver knew their stream: the network lost them.
    pub lost: u32,
}

/// The receiver's knowledge of a packet's stream, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The receiver has received packets of the stream.
    Known,
    /// Nothing is known. Firefox reports packets of a stream that it has not been told of yet as missing, though they
    /// arrived: while it digests a description, that is all of its packets.
    New,
}

/// A packet that went out. Eight bytes: one is written with each packet, to memory that is cold meanwhile.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// Microseconds since `epoch`, modulo 2^32.
    at: u32,
    len: u16,
    probe: u8,
    state: State,
}

const _: () = assert!(size_of::<Sent>() == 8);

impl Sent {
    /// The time from the packet's sending to `now_us`, microseconds.
    fn age(&self, now_us: i64) -> u32 {
        (now_us as u32).wrapping_sub(self.at)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown,
    /// The packet's arrival is unknown, and its loss would prove nothing.
    UnknownOfNew,
    Lost,
    Received,
}

/// The packets in flight to one receiver, by transport-wide number.
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
    /// An empty record.
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            packets: VecDeque::new(),
            next: 1,
            reference: None,
        }
    }

    /// Transport-wide number of the next packet.
    pub fn next_seq(&self) -> SeqNo {
        SeqNo(self.next as u16)
    }

    /// A packet went out; it has the number of [`Self::next_seq`].
    pub fn record(&mut self, len: usize, probe: u8, stream: Stream, now: Instant) {
        let at = self.micros(now);
        if self.packets.len() == self.packets.capacity() {
            self.make_room(at);
        }
        self.packets.push_back(Sent {
            at: at as u32,
            len: len.min(usize::from(u16::MAX)) as u16,
            probe,
            state: match stream {
                Stream::Known => State::Unknown,
                Stream::New => State::UnknownOfNew,
            },
        });
        self.next += 1;
    }

    /// Forgets packets that are too old, so that the buffer does not grow for packets that nobody asks about. Only when
    /// the buffer is full: the oldest packets are far from the caches.
    #[cold]
    fn make_room(&mut self, now_us: i64) {
        let is_old = |packet: &Sent| packet.age(now_us) > MAX_AGE;
        let old = self.packets.iter().take_while(|packet| is_old(packet));
        let excess = (self.packets.len() + 1).saturating_sub(MAX_PACKETS);
        let forgotten = old.count().max(excess);
        self.packets.drain(..forgotten);
    }

    fn micros(&self, now: Instant) -> i64 {
        now.saturating_duration_since(self.epoch).as_micros() as i64
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
        let now_us = self.micros(now);
        for (seq, arrival) in feedback.statuses() {
            let index = nearest(self.next, seq);
            let Some(packet) = index
                .checked_sub(first)
                .and_then(|offset| self.packets.get_mut(offset as usize))
                .filter(|packet| packet.age(now_us) <= MAX_AGE)
            else {
                continue;
            };
            match (arrival, packet.state) {
                (Some(ticks), State::Unknown | State::UnknownOfNew | State::Lost) => {
                    packet.state = State::Received;
                    reported.received += 1;
                    acked.push(Acked {
                        sent_us: now_us - i64::from(packet.age(now_us)),
                        arrived_us: (ticks + shift) * 250,
                        len: packet.len.into(),
                        probe: packet.probe,
                    });
                }
                (None, State::UnknownOfNew) => packet.state = State::Lost,
                (None, State::Unknown) => {
                    packet.state = State::Lost;
                    reported.lost += 1;
                }
                _ => {}
            }
        }
        reported
    }

    /// The offset to add to the feedback's times, such that the reference never jumps by half its range.
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
