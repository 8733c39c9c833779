//! The recent packets of one published layer, decrypted, shared by all its subscribers.
//!
//! A ring of bytes with a table of packets by index beside it. Small packets take little room, a late packet takes its
//! place in the table and not in the ring, and a packet can be decrypted straight into the ring. The ring grows until
//! it holds a second of media, so that a thumbnail layer costs a fraction of what a big one does.

use crate::api::MediaKind;
use crate::layers::Picture;
use crate::rtp::RtpTime;

/// The longest payload that is kept (with its Dependency Descriptor), bytes: the most that an Ethernet frame can carry.
pub const MAX_PAYLOAD: usize = 1500;

/// Sizes of the table and of the ring, by kind of media.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Number of packets in the table, a power of two.
    packets: usize,
    /// Bytes of the ring: at first, and at most.
    bytes: (usize, usize),
    /// RTP ticks of media that are kept: one second. Nobody asks for older packets.
    span: u32,
}

/// Limits for Opus: 50 packets a second of some 100 to 200 bytes.
const AUDIO: Limits = Limits {
    packets: 64,
    bytes: (8 << 10, 32 << 10),
    span: 48_000,
};
/// Limits for video: 512 packets are a second at 4.5 Mbit/s. The ring holds at least a whole batch of 64 packets, which
/// are forwarded from here.
const VIDEO: Limits = Limits {
    packets: 512,
    bytes: (128 << 10, 1 << 20),
    span: 90_000,
};

/// One packet of the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The packet's index: its unwrapped sequence number.
    pub index: u64,
    /// Timestamp.
    pub time: RtpTime,
    /// Marker bit.
    pub marker: bool,
    /// The frame that a video packet belongs to.
    pub picture: Option<Picture>,
    /// Offset of the primary encoding in a RED payload (RFC 2198); 0 in any other.
    pub primary: u16,
    /// The Dependency Descriptor, as it came; empty where the packet has none.
    pub dependencies: &'a [u8],
    /// Plain payload, without padding.
    pub payload: &'a [u8],
}

impl Packet<'_> {
    /// The packet with an empty payload: it stands for the packet where only the number counts.
    pub fn without_content(self) -> Self {
        Self {
            marker: false,
            primary: 0,
            dependencies: &[],
            payload: &[],
            ..self
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    index: u64,
    /// Position of the payload, in bytes ever written; the ring holds it at this position modulo the ring's size.
    start: u64,
    len: u16,
    time: RtpTime,
    marker: bool,
    picture: Option<Picture>,
    primary: u16,
    /// Length of the Dependency Descriptor, which is kept before the payload.
    dependencies: u8,
}

/// The last second of one layer, as plaintext, shared by all its subscribers.
#[derive(Debug)]
pub struct History {
    limits: Limits,
    /// The packets, by index modulo the length of the table; empty until the first packet.
    entries: Vec<Option<Entry>>,
    ring: Vec<u8>,
    /// Position of the next payload.
    head: u64,
    /// Bytes before this are overwritten.
    floor: u64,
    newest: Option<RtpTime>,
    /// RTP time when the head was last at the ring's beginning.
    lap: Option<RtpTime>,
}

impl History {
    /// An empty history; memory comes with the first packet.
    pub fn new(kind: MediaKind) -> Self {
        let limits = match kind {
            MediaKind::Audio => AUDIO,
            MediaKind::Video => VIDEO,
        };
        Self {
            limits,
            entries: Vec::new(),
            ring: Vec::new(),
            head: 0,
            floor: 0,
            newest: None,
            lap: None,
        }
    }

    /// Whether a packet of this index would be kept: it is neither here nor older than the packet in its place.
    pub fn is_new(&self, index: u64) -> bool {
        self.entries
            .get(self.slot(index))
            .copied()
            .flatten()
            .is_none_or(|entry| entry.index < index)
    }

    /// Reserves room for the payload of the next packet, which [`History::commit`] then keeps. The bytes of the room
    /// are unspecified. May push out the oldest packets even if nothing is committed. `None` when `len` exceeds
    /// [`MAX_PAYLOAD`].
    pub fn reserve(&mut self, len: usize, time: RtpTime) -> Option<&mut [u8]> {
        if len > MAX_PAYLOAD {
            return None;
        }
        if self.entries.is_empty() {
            self.entries.resize(self.limits.packets, None);
            self.ring.resize(self.limits.bytes.0, 0);
            self.lap = Some(time);
        }
        if self.place(len) != self.head {
            self.begin_lap(time);
        }
        self.head = self.place(len);
        let end = self.head + len as u64;
        self.floor = self.floor.max(end.saturating_sub(self.ring.len() as u64));
        let at = self.offset(self.head);
        self.ring.get_mut(at..at + len)
    }

    /// Keeps the packet whose Dependency Descriptor and payload were written into the last [`History::reserve`], from
    /// its byte `skip` on, `len` bytes together. False, and nothing is kept, when the packet is not new.
    pub fn commit(&mut self, packet: Packet<'_>, skip: usize, len: usize) -> bool {
        let start = self.head + skip as u64;
        let end = start + len as u64;
        if !self.is_new(packet.index)
            || len > MAX_PAYLOAD
            || end > self.floor + self.ring.len() as u64
        {
            return false;
        }
        let Ok(dependencies) = u8::try_from(packet.dependencies.len()) else {
            return false;
        };
        let slot = self.slot(packet.index);
        let Some(entry) = self.entries.get_mut(slot) else {
            return false;
        };
        *entry = Some(Entry {
            index: packet.index,
            start,
            len: len as u16,
            time: packet.time,
            marker: packet.marker,
            picture: packet.picture,
            primary: packet.primary,
            dependencies,
        });
        self.head = end;
        if self
            .newest
            .is_none_or(|newest| packet.time.is_newer_than(newest))
        {
            self.newest = Some(packet.time);
        }
        true
    }

    /// Copies a packet into the history. False when it is not new, or longer than [`MAX_PAYLOAD`].
    pub fn insert(&mut self, packet: Packet<'_>) -> bool {
        if !self.is_new(packet.index) {
            return false;
        }
        let (before, len) = (packet.dependencies.len(), packet.payload.len());
        let Some(room) = self.reserve(before + len, packet.time) else {
            return false;
        };
        let (dependencies, payload) = room.split_at_mut(before);
        dependencies.copy_from_slice(packet.dependencies);
        payload.copy_from_slice(packet.payload);
        self.commit(packet, 0, before + len)
    }

    /// The packet of this index, if it is still here.
    pub fn get(&self, index: u64) -> Option<Packet<'_>> {
        let entry = self.entries.get(self.slot(index)).copied().flatten()?;
        if entry.index != index || entry.start < self.floor {
            return None;
        }
        let at = self.offset(entry.start);
        let kept = self.ring.get(at..at + usize::from(entry.len))?;
        let (dependencies, payload) = kept.split_at_checked(entry.dependencies.into())?;
        Some(Packet {
            index,
            time: entry.time,
            marker: entry.marker,
            picture: entry.picture,
            primary: entry.primary,
            dependencies,
            payload,
        })
    }

    /// Bytes of memory in use.
    #[cfg(test)]
    pub fn memory(&self) -> usize {
        self.ring.len() + self.entries.len() * size_of::<Option<Entry>>()
    }

    fn slot(&self, index: u64) -> usize {
        (index % self.limits.packets as u64) as usize
    }

    fn offset(&self, position: u64) -> usize {
        (position % self.ring.len().max(1) as u64) as usize
    }

    /// The position of a payload of `len` bytes: the head, or the ring's beginning when it does not fit before the end.
    fn place(&self, len: usize) -> u64 {
        let left = self.ring.len() - self.offset(self.head);
        if len <= left {
            self.head
        } else {
            self.head + left as u64
        }
    }

    /// The head is about to return to the ring's beginning. Packets that are overwritten from now on are one lap old;
    /// when that is too young, the ring grows.
    fn begin_lap(&mut self, time: RtpTime) {
        let newest = self.newest.unwrap_or(time);
        let lap = newest.since(self.lap.unwrap_or(newest));
        if lap.unsigned_abs() < self.limits.span && self.ring.len() < self.limits.bytes.1 {
            self.grow();
        } else {
            self.lap = Some(newest);
        }
    }

    /// Doubles the ring, keeping what it holds.
    fn grow(&mut self) {
        let floor = self.floor;
        let mut ring = vec![0; self.ring.len() * 2];
        let mut head = 0;
        let mut kept: Vec<(u64, usize)> = Vec::with_capacity(self.entries.len());
        for (slot, entry) in self.entries.iter_mut().enumerate() {
            match entry {
                Some(entry) if entry.start >= floor => kept.push((entry.start, slot)),
                // The packet is gone, and still known to have been here.
                Some(entry) => entry.start = 0,
                None => {}
            }
        }
        // One lap of positions lies before the floor: packets that are gone get positions in it.
        let floor = ring.len() as u64;
        kept.sort_unstable();
        for (start, slot) in kept {
            let at = self.offset(start);
            let Some(entry) = &mut self.entries[slot] else {
                continue;
            };
            let len = usize::from(entry.len);
            ring[head..head + len].copy_from_slice(&self.ring[at..at + len]);
            entry.start = floor + head as u64;
            head += len;
        }
        self.ring = ring;
        self.head = floor + head as u64;
        self.floor = floor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(index: u64, time: u32, payload: &[u8]) -> Packet<'_> {
        Packet {
            index,
            time: RtpTime(time),
            marker: index.is_multiple_of(7),
            picture: None,
            primary: 0,
            dependencies: &[],
            payload,
        }
    }

    fn fill(index: u64, len: usize) -> Vec<u8> {
        (0..len).map(|i| (index as usize * 31 + i) as u8).collect()
    }

    #[test]
    fn packets_are_found_until_a_second_of_newer_ones_came() {
        let mut history = History::new(MediaKind::Video);
        assert_eq!(history.memory(), 0);
        // 260 packets a second: 2.5 Mbit/s.
        for index in 100..2100u64 {
            let (time, payload) = ((index * 346) as u32, fill(index, 1200));
            assert!(history.insert(packet(index, time, &payload)));
            for back in [0, 100, 259] {
                let Some(old) = index.checked_sub(back).filter(|old| *old >= 100) else {
                    continue;
                };
                let found = history.get(old).unwrap();
                assert_eq!(found.payload, fill(old, 1200));
                assert_eq!(
                    (found.time.0, found.marker),
                    ((old * 346) as u32, old.is_multiple_of(7))
                );
            }
        }
        assert_eq!(history.get(100), None);
        assert_eq!(history.get(2100), None);
        assert!(history.memory() < 700_000, "{}", history.memory());
    }

    #[test]
    fn a_thin_stream_takes_little_memory() {
        let (mut video, mut audio) = (
            History::new(MediaKind::Video),
            History::new(MediaKind::Audio),
        );
        for index in 0..5000u64 {
            // 150 kbit/s and 32 kbit/s.
            video.insert(packet(index, (index * 4500) as u32, &fill(index, 900)));
            audio.insert(packet(index, (index * 960) as u32, &fill(index, 80)));
        }
        assert!(video.memory() < 160_000, "{}", video.memory());
        assert!(audio.memory() < 13_000, "{}", audio.memory());
        assert!((4950..5000).all(|index| audio.get(index).is_some()));
    }

    #[test]
    fn a_packet_is_kept_once_and_never_in_place_of_a_newer_one() {
        let mut history = History::new(MediaKind::Audio);
        assert!(history.insert(packet(1000, 0, b"new")));
        assert!(!history.insert(packet(1000, 0, b"again")));
        assert!(!history.insert(packet(1000 - 64, 0, b"old")));
        assert!(history.insert(packet(999, 0, b"late")));
        assert_eq!(history.get(1000).unwrap().payload, b"new");
        assert_eq!(history.get(999).unwrap().payload, b"late");
        assert!(history.insert(packet(1063, 0, b"next round")));
        assert_eq!(history.get(999), None);
    }

    #[test]
    fn a_packet_can_be_written_in_place_and_trimmed() {
        let mut history = History::new(MediaKind::Video);
        history
            .reserve(8, RtpTime(1))
            .unwrap()
            .copy_from_slice(b"abandond");
        history
            .reserve(8, RtpTime(1))
            .unwrap()
            .copy_from_slice(b"xxhellop");
        assert!(history.commit(packet(5, 1, b""), 2, 5));
        assert!(history.insert(packet(6, 1, b"world")));
        assert_eq!(history.get(5).unwrap().payload, b"hello");
        assert_eq!(history.get(6).unwrap().payload, b"world");
        assert!(history.reserve(MAX_PAYLOAD + 1, RtpTime(1)).is_none());
        assert!(!history.insert(packet(7, 1, &[0; MAX_PAYLOAD + 1])));
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_was_put_in(
            steps in proptest::collection::vec((-80i64..40, 0usize..=MAX_PAYLOAD, 0u32..20_000, any::<bool>()), 1..400),
            video: bool,
        ) {
            let kind = if video { MediaKind::Video } else { MediaKind::Audio };
            let mut history = History::new(kind);
            let mut put = std::collections::BTreeMap::new();
            let (mut highest, mut time) = (100_000u64, 0u32);
            for (step, len, ticks, abandon) in steps {
                let index = highest.saturating_add_signed(step);
                highest = highest.max(index);
                time = time.wrapping_add(ticks);
                if abandon {
                    history.reserve(len, RtpTime(time)).unwrap().fill(0xEE);
                } else if history.insert(packet(index, time, &fill(index, len))) {
                    prop_assert!(put.insert(index, len).is_none());
                    prop_assert!(history.get(index).is_some());
                }
                for (index, len) in &put {
                    if let Some(found) = history.get(*index) {
                        prop_assert_eq!(found.payload, fill(*index, *len));
                    }
                }
            }
        }
    }
}
