//! Reliable data packets that went through a room lately: packets that a participant missed while it was away are sent
//! again when it comes back and says which of each sender's packets it got last.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use protocol::ParticipantSid;

/// The age at which a packet is forgotten: nobody resumes after longer.
const MAX_AGE: Duration = Duration::from_secs(30);

/// The most bytes that one room keeps: some hundred chat messages, or the tail of a file.
const MAX_BYTES: usize = 512 * 1024;

/// Bytes that each packet counts for beside its payload.
const PACKET_COST: usize = 64;

/// A packet that is kept.
#[derive(Debug)]
pub struct Kept {
    at: Instant,
    /// The sender.
    pub from: ParticipantSid,
    /// The packet's number among the sender's reliable packets, from 1.
    pub sequence: u32,
    /// The packet as receivers get it.
    pub payload: Box<[u8]>,
}

/// The packets of one room, oldest first.
#[derive(Debug, Default)]
pub struct ReplayBuffer {
    packets: VecDeque<Kept>,
    bytes: usize,
}

impl ReplayBuffer {
    /// Keeps a packet for a while. Packets without a number are not kept: receivers could not tell them from new ones.
    pub fn keep(&mut self, from: ParticipantSid, sequence: u32, payload: &[u8], now: Instant) {
        self.expire(now);
        let cost = payload.len() + PACKET_COST;
        if sequence == 0 || cost > MAX_BYTES {
            return;
        }
        while self.bytes + cost > MAX_BYTES {
            self.drop_oldest();
        }
        self.bytes += cost;
        self.packets.push_back(Kept {
            at: now,
            from,
            sequence,
            payload: payload.into(),
        });
    }

    /// The packets that came since `since` and are newer than the ones that the receiver says it has, oldest first.
    pub fn missed<'a>(
        &'a self,
        received: &'a [(ParticipantSid, u32)],
        since: Instant,
        now: Instant,
    ) -> impl Iterator<Item = &'a Kept> {
        self.packets.iter().filter(move |packet| {
            let last = received.iter().find(|(from, _)| *from == packet.from);
            packet.at >= since
                && now < packet.at + MAX_AGE
                && last.is_none_or(|(_, last)| packet.sequence > *last)
        })
    }

    fn expire(&mut self, now: Instant) {
        while self
            .packets
            .front()
            .is_some_and(|packet| now >= packet.at + MAX_AGE)
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(packet) = self.packets.pop_front() {
            self.bytes -= packet.payload.len() + PACKET_COST;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_newer_than_the_receiver_has_and_not_too_old_is_missed() {
        let mut rng = StdRng::from_seed([1; 32]);
        let [a, b] = [0, 1].map(|_| ParticipantSid::random(&mut rng));
        let start = Instant::now();
        let mut buffer = ReplayBuffer::default();
        for sequence in 0..20 {
            let now = start + sequence * SECOND;
            buffer.keep(a, sequence, b"a", now);
            buffer.keep(b, 100 + sequence, b"b", now);
        }
        let missed = |received: &[_], since: u32, now: u32| -> Vec<u32> {
            let missed = buffer.missed(received, start + since * SECOND, start + now * SECOND);
            missed.map(|packet| packet.sequence).collect()
        };
        assert_eq!(missed(&[(a, 17), (b, 118)], 0, 19), [18, 19, 119]);
        // Of somebody it never heard of it gets what came since it is there.
        assert_eq!(missed(&[(a, 30)], 18, 19), [118, 119]);
        assert_eq!(missed(&[(b, 200)], 0, 47), [18, 19]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let from = ParticipantSid::random(&mut StdRng::from_seed([2; 32]));
        let (mut buffer, now) = (ReplayBuffer::default(), Instant::now());
        for sequence in 1..=10_000 {
            buffer.keep(from, sequence, &[7; 1000], now);
            assert!(buffer.bytes <= MAX_BYTES);
        }
        let kept = buffer.missed(&[], now, now).count();
        assert_eq!(kept, MAX_BYTES / (1000 + PACKET_COST));
        buffer.keep(from, 10_001, &vec![0; MAX_BYTES], now);
        assert_eq!(buffer.missed(&[], now, now).count(), kept);
        buffer.keep(from, 10_002, b"x", now + MAX_AGE);
        assert_eq!(buffer.packets.len(), 1);
    }
}
