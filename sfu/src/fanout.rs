//! The subscribers of one up track as a structure of arrays, and the selection of the packets that each gets.
//!
//! Each packet of a batch yields a row of bits (the subscribers whose current layer it belongs to), rows are transposed
//! to columns (the packets of one subscriber), so that forwarding runs subscriber by subscriber: its keys stay in cache
//! and its packets form one GSO run.

use crate::{
    keys::DownTrackKey,
    rewrite::StreamId,
    simd::{match_layer, transpose},
};

/// The layer of a subscriber to which nothing is forwarded now.
pub const NO_LAYER: u8 = 0xff;

/// Number of subscribers or packets handled together: the bits of one word.
pub const BLOCK: usize = 64;

/// A packet of the batch, as the selection sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPacket {
    /// Layer that the packet belongs to.
    pub layer: u8,
    /// The layer's stream when the packet came: another one may have begun within the batch.
    pub stream: StreamId,
    /// A decoder can start here: subscribers that wait for this layer switch to it.
    pub starts_key_frame: bool,
    /// RTP index of the packet within the layer.
    pub index: u64,
}

/// A change in a subscriber's state that sending a packet to it brings, or not sending it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// The key frame that should have begun the subscriber's layer did not go out: the subscriber has no layer until
    /// another key frame comes.
    Stranded,
    /// The subscriber needs a key frame to get the layers that it should have: this one came too late to bring them, or
    /// they could be had without one until now.
    Rising,
}

/// Hot state of the subscribers, in blocks of 64.
#[derive(Debug, Default)]
pub struct Fanout {
    /// The layer forwarded now, per subscriber; padded to whole blocks with [`NO_LAYER`].
    current: Vec<[u8; BLOCK]>,
    /// The layer wanted, per subscriber; differs from `current` until a key frame of it arrives.
    wanted: Vec<[u8; BLOCK]>,
    /// Bit per subscriber: it needs a key frame of the layer it has, for within that stream it gets another layer than
    /// it should.
    rising: Vec<u64>,
    downs: Vec<DownTrackKey>,
    rows: Vec<[u64; BLOCK]>,
}

impl Fanout {
    /// Adds a subscriber that gets nothing yet; returns its slot.
    pub fn add(&mut self, down: DownTrackKey) -> usize {
        let slot = self.downs.len();
        if slot.is_multiple_of(BLOCK) {
            self.current.push([NO_LAYER; BLOCK]);
            self.wanted.push([NO_LAYER; BLOCK]);
            self.rising.push(0);
            self.rows.push([0; BLOCK]);
        }
        self.downs.push(down);
        slot
    }

    /// Removes the subscriber in `slot`. The last subscriber takes its place: returns that one, whose slot is now
    /// `slot`.
    pub fn remove(&mut self, slot: usize) -> Option<DownTrackKey> {
        let last = self.downs.len().checked_sub(1)?;
        if slot > last {
            return None;
        }
        self.set_current(slot, self.current(last));
        self.set_wanted(slot, self.wanted(last));
        self.set_rising(slot, self.rising[last / BLOCK] >> (last % BLOCK) & 1 != 0);
        self.set_rising(last, false);
        self.set_current(last, NO_LAYER);
        self.set_wanted(last, NO_LAYER);
        self.downs.swap_remove(slot);
        if last.is_multiple_of(BLOCK) {
            self.current.pop();
            self.wanted.pop();
            self.rising.pop();
            self.rows.pop();
        }
        (slot < last).then(|| self.downs[slot])
    }

    /// All subscribers, by slot.
    pub fn downs(&self) -> &[DownTrackKey] {
        &self.downs
    }

    /// The layer forwarded to `slot`, or [`NO_LAYER`].
    pub fn current(&self, slot: usize) -> u8 {
        self.current[slot / BLOCK][slot % BLOCK]
    }

    /// Forwards `layer` (or [`NO_LAYER`]) to `slot` from the next packet on, without waiting for a key frame.
    pub fn set_current(&mut self, slot: usize, layer: u8) {
        self.current[slot / BLOCK][slot % BLOCK] = layer;
    }

    /// The layer that `slot` waits for or has.
    pub fn wanted(&self, slot: usize) -> u8 {
        self.wanted[slot / BLOCK][slot % BLOCK]
    }

    /// `slot` switches to `layer` at the layer's next key frame.
    pub fn set_wanted(&mut self, slot: usize, layer: u8) {
        self.wanted[slot / BLOCK][slot % BLOCK] = layer;
    }

    /// `slot` needs a key frame of the layer it has, or no longer.
    pub fn set_rising(&mut self, slot: usize, rising: bool) {
        let bit = 1 << (slot % BLOCK);
        let block = &mut self.rising[slot / BLOCK];
        *block = if rising { *block | bit } else { *block & !bit };
    }

    /// `shift` follows from a packet that was sent to `slot`, or was not.
    pub fn shift(&mut self, slot: usize, shift: Shift) {
        match shift {
            Shift::Stranded => self.set_current(slot, NO_LAYER),
            Shift::Rising => self.set_rising(slot, true),
        }
    }

    /// Whether any subscriber waits for a key frame of `layer`.
    pub fn is_awaited(&self, layer: u8) -> bool {
        let awaiting = |((current, wanted), rising): ((&[u8; BLOCK], &[u8; BLOCK]), &u64)| {
            let has = match_layer(current, layer);
            (match_layer(wanted, layer) & !has) | (rising & has) != 0
        };
        let blocks = self.current.iter().zip(&self.wanted);
        blocks.zip(&self.rising).any(awaiting)
    }

    /// Calls `forward(subscriber, packets)` for each subscriber that gets any of the batch (at most [`BLOCK`] packets):
    /// bit `i` of `packets` stands for `batch[i]`.
    pub fn select(&mut self, batch: &[BatchPacket], mut forward: impl FnMut(DownTrackKey, u64)) {
        debug_assert!(batch.len() <= BLOCK);
        for (i, packet) in batch.iter().enumerate() {
            for block in 0..self.current.len() {
                if packet.starts_key_frame {
                    self.switch(block, packet.layer);
                }
                self.rows[block][i] = match_layer(&self.current[block], packet.layer);
            }
        }
        for (block, downs) in self.downs.chunks(BLOCK).enumerate() {
            let rows = &mut self.rows[block];
            if batch.len() == 1 {
                let mut row = rows[0];
                while row != 0 {
                    forward(downs[row.trailing_zeros() as usize], 1);
                    row &= row - 1;
                }
                continue;
            }
            rows[batch.len()..].fill(0);
            transpose(rows);
            for (down, packets) in downs.iter().zip(rows.iter()) {
                if *packets != 0 {
                    forward(*down, *packets);
                }
            }
        }
    }

    /// A key frame of `layer` begins. Subscribers that wait for it have it from now on; so do those that have nothing
    /// yet and wait for a higher layer, until that comes.
    fn switch(&mut self, block: usize, layer: u8) {
        let (current, wanted) = (&self.current[block], &self.wanted[block]);
        let has_nothing = match_layer(current, NO_LAYER) & !match_layer(wanted, NO_LAYER);
        let mut waiting = (match_layer(wanted, layer) & !match_layer(current, layer)) | has_nothing;
        while waiting != 0 {
            let slot = waiting.trailing_zeros() as usize;
            if self.wanted[block][slot] >= layer {
                self.current[block][slot] = layer;
            }
            waiting &= waiting - 1;
        }
        self.rising[block] &= !match_layer(&self.current[block], layer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    fn fanout(subscribers: usize) -> (Fanout, Vec<DownTrackKey>) {
        let mut keys = SlotMap::<DownTrackKey, ()>::with_key();
        let mut fanout = Fanout::default();
        let downs: Vec<_> = (0..subscribers).map(|_| keys.insert(())).collect();
        downs.iter().for_each(|down| {
            fanout.add(*down);
        });
        (fanout, downs)
    }

    fn packet(layer: u8, index: u64, starts_key_frame: bool) -> BatchPacket {
        BatchPacket {
            layer,
            stream: StreamId::default(),
            index,
            starts_key_frame,
        }
    }

    fn selected(fanout: &mut Fanout, batch: &[BatchPacket]) -> Vec<(DownTrackKey, u64)> {
        let mut out = Vec::new();
        fanout.select(batch, |down, packets| out.push((down, packets)));
        out
    }

    #[test]
    fn who_has_nothing_begins_with_a_lower_layer_and_never_with_a_higher_one() {
        let (mut fanout, _) = fanout(2);
        fanout.set_wanted(0, 2);
        fanout.set_wanted(1, 0);
        let current = |fanout: &Fanout| [fanout.current(0), fanout.current(1)];
        fanout.select(&[packet(1, 1, true)], |_, _| {});
        assert_eq!(current(&fanout), [1, NO_LAYER]);
        fanout.select(&[packet(0, 1, true)], |_, _| {});
        assert_eq!(current(&fanout), [1, 0]);
    }

    #[test]
    fn each_subscriber_gets_its_layer_only() {
        let (mut fanout, downs) = fanout(130);
        for slot in 0..130 {
            fanout.set_current(slot, (slot % 3) as u8);
        }
        let batch = [
            packet(0, 0, false),
            packet(1, 0, false),
            packet(2, 0, false),
            packet(0, 1, false),
        ];
        let got = selected(&mut fanout, &batch);
        assert_eq!(got.len(), 130);
        for (slot, (down, packets)) in got.into_iter().enumerate() {
            assert_eq!(down, downs[slot]);
            assert_eq!(packets, [0b1001, 0b0010, 0b0100][slot % 3], "slot {slot}");
        }
    }

    #[test]
    fn a_layer_switch_happens_at_the_key_frame_within_the_batch() {
        let (mut fanout, downs) = fanout(2);
        fanout.set_current(0, 0);
        fanout.set_wanted(0, 2);
        fanout.set_current(1, 0);
        fanout.set_wanted(1, 0);
        assert!(fanout.is_awaited(2));
        let batch = [
            packet(0, 5, false),
            packet(2, 7, false),
            packet(2, 8, true),
            packet(0, 6, false),
            packet(2, 9, false),
        ];
        let got = selected(&mut fanout, &batch);
        assert_eq!(got, [(downs[0], 0b10101), (downs[1], 0b01001)]);
        assert!(!fanout.is_awaited(2));
    }

    #[test]
    fn who_has_nothing_takes_the_first_key_frame_there_is() {
        let (mut fanout, downs) = fanout(3);
        fanout.set_wanted(0, 2);
        fanout.set_current(1, 1);
        fanout.set_wanted(1, 2);
        let batch = [
            packet(0, 1, true),
            packet(0, 2, false),
            packet(2, 1, true),
            packet(2, 2, false),
        ];
        assert_eq!(
            selected(&mut fanout, &batch),
            [(downs[0], 0b1111), (downs[1], 0b1100)]
        );
    }

    #[test]
    fn who_should_have_more_of_its_stream_awaits_a_key_frame_of_it() {
        let (mut fanout, _) = fanout(66);
        fanout.set_current(65, 2);
        fanout.set_wanted(65, 2);
        assert!(!fanout.is_awaited(2));
        fanout.set_rising(65, true);
        assert!(fanout.is_awaited(2) && !fanout.is_awaited(1));
        fanout.remove(3);
        assert!(fanout.is_awaited(2), "it has another slot now");
        selected(&mut fanout, &[packet(1, 0, true)]);
        assert!(fanout.is_awaited(2));
        selected(&mut fanout, &[packet(2, 0, true)]);
        assert!(!fanout.is_awaited(2));
    }

    #[test]
    fn removing_moves_the_last_subscriber_into_the_gap() {
        let (mut fanout, downs) = fanout(65);
        fanout.set_current(64, 2);
        assert_eq!(fanout.remove(3), Some(downs[64]));
        assert_eq!(fanout.current(3), 2);
        assert_eq!(fanout.remove(63), None);
        assert_eq!(
            selected(&mut fanout, &[packet(2, 0, false)]),
            [(downs[64], 1)]
        );
        assert_eq!(fanout.remove(99), None);
    }
}
