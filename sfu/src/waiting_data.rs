//! Data packets for a participant whose data channel is not open yet.

use std::time::Instant;

/// The most bytes of reliable packets that wait for one participant's data channel to open.
const MAX_WAITING: usize = 64 * 1024;

/// Packets that wait for a data channel to open. Where there are too many, the first ones are kept, in their order, and
/// none after the first one too many: receivers drop a packet that comes behind a newer one of the same sender.
#[derive(Debug, Default)]
pub struct WaitingData {
    packets: Vec<Vec<u8>>,
    bytes: usize,
    /// Since when there is no room.
    full_since: Option<Instant>,
}

impl WaitingData {
    /// Hands over what waits, and since when there was no room for more.
    pub fn take(&mut self) -> (Vec<Vec<u8>>, Option<Instant>) {
        let Self {
            packets,
            full_since,
            ..
        } = std::mem::take(self);
        (packets, full_since)
    }

    /// Number of packets that wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Keeps a packet; false when there is no room for it.
    pub fn push(&mut self, packet: &[u8], now: Instant) -> bool {
        let fits = self.bytes + packet.len() <= MAX_WAITING && self.packets.len() < 256;
        if !fits {
            self.full_since.get_or_insert(now);
        }
        if self.full_since.is_some() {
            return false;
        }
        self.bytes += packet.len();
        self.packets.push(packet.to_vec());
        true
    }
}
