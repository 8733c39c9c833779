//! The assembly of frames: RTP packets in, whole frames out, with the figures of a received stream.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Frame, IncomingPacket, MediaKind, vp8_key_frame_size};

/// The most packets kept while one is missing; at 100 packets a second of video a retransmission has long come by then.
const MAX_WAITING: usize = 256;

/// The longest wait for a missing packet: three retransmission rounds of a slow path.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// Figures of one received stream (one section, whatever SSRC carries it).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceiveStats {
    /// Different RTP packets received.
    pub packets: u64,
    /// Payload bytes of these packets.
    pub bytes: u64,
    /// Sequence numbers between first and last that never came (so far).
    pub lost: u64,
    /// Packets that filled a gap: late, or sent again.
    pub late: u64,
    /// Whole frames.
    pub frames: u64,
    /// Whole key frames (equal to `frames` for audio).
    pub key_frames: u64,
    /// Whole frames that could be decoded.
    pub decodable_frames: u64,
    /// Frames given up because a packet of them, or of frames they refer to, never came.
    pub dropped_frames: u64,
    /// Times the picture changed its size.
    pub size_changes: u64,
    /// Present picture size.
    pub size: (u16, u16),
    /// The longest distance between two decodable frames, in ticks of the RTP clock.
    pub longest_gap: u32,
    /// Key frames asked for.
    pub key_frame_requests: u64,
    /// Arrival of the first packet.
    pub first_packet: Option<Instant>,
    /// Completion of the first decodable frame.
    pub first_frame: Option<Instant>,
    /// Arrival of the last packet.
    pub last_packet: Option<Instant>,
}

/// An assembler for the frames of one section.
#[derive(Debug)]
pub struct FrameAssembler {
    kind: MediaKind,
    stats: ReceiveStats,
    ssrc: Option<u32>,
    /// Sequence number of the next packet to take, once a frame start was seen.
    next: Option<u64>,
    highest: Option<u64>,
    waiting: BTreeMap<u64, IncomingPacket>,
    /// The last frame was whole and decodable.
    continuous: bool,
    last_decodable: Option<u32>,
}

impl FrameAssembler {
    /// An assembler of an empty stream.
    pub fn new(kind: MediaKind) -> Self {
        Self {
            kind,
            stats: ReceiveStats::default(),
            ssrc: None,
            next: None,
            highest: None,
            waiting: BTreeMap::new(),
            continuous: false,
            last_decodable: None,
        }
    }

    /// The figures so far.
    pub fn stats(&self) -> &ReceiveStats {
        &self.stats
    }

    /// The source that carries the section now.
    pub fn ssrc(&self) -> Option<u32> {
        self.ssrc
    }

    /// Whether a key frame is needed before anything can be shown.
    pub fn needs_key_frame(&self) -> bool {
        self.kind == MediaKind::Video && !self.continuous && self.stats.packets > 0
    }

    /// Notes that a key frame was asked for.
    pub fn count_key_frame_request(&mut self) {
        self.stats.key_frame_requests += 1;
    }

    /// Takes a packet in, appends the frames that became whole to `frames`.
    pub fn push(&mut self, packet: IncomingPacket, frames: &mut Vec<Frame>) {
        if self.ssrc != Some(packet.ssrc) {
            self.restart(packet.ssrc);
        }
        if !self.count(&packet) {
            return;
        }
        if self.kind == MediaKind::Audio {
            let frame = Frame {
                timestamp: packet.timestamp,
                key: true,
                decodable: true,
                size: (0, 0),
                received: packet.received,
                data: packet.payload.to_vec(),
            };
            self.emit(frame, frames);
            return;
        }
        let now = packet.received;
        self.waiting.insert(packet.sequence, packet);
        if self.next.is_none() {
            self.drop_to_start();
        }
        while let Some(frame) = self.take_frame(now) {
            self.emit(frame, frames);
        }
        while self.gave_up(now) {
            self.skip_gap();
            while let Some(frame) = self.take_frame(now) {
                self.emit(frame, frames);
            }
        }
    }

    /// Begins with another source, which carries the section from now on; the figures go on.
    fn restart(&mut self, ssrc: u32) {
        self.ssrc = Some(ssrc);
        self.next = None;
        self.highest = None;
        self.waiting.clear();
        self.continuous = false;
    }

    /// Counts a packet; `false` when it has been seen or comes too late.
    fn count(&mut self, packet: &IncomingPacket) -> bool {
        match self.highest {
            Some(highest) if packet.sequence > highest => {
                self.stats.lost += packet.sequence - highest - 1;
                self.highest = Some(packet.sequence);
            }
            Some(_) => {
                let taken = self.next.is_some_and(|next| packet.sequence < next);
                if taken || self.waiting.contains_key(&packet.sequence) {
                    return false;
                }
                self.stats.lost = self.stats.lost.saturating_sub(1);
                self.stats.late += 1;
            }
            None => self.highest = Some(packet.sequence),
        }
        self.stats.packets += 1;
        self.stats.bytes += packet.payload.len() as u64;
        self.stats.first_packet.get_or_insert(packet.received);
        self.stats.last_packet = Some(packet.received);
        true
    }

    /// The next frame, if all its packets are there.
    fn take_frame(&mut self, now: Instant) -> Option<Frame> {
        let mut first = self.next?;
        // Padding of a bandwidth probe lies between frames.
        while self.waiting.get(&first)?.payload.is_empty() {
            self.waiting.remove(&first);
            first += 1;
            self.next = Some(first);
        }
        let mut last = first;
        while !self.waiting.get(&last)?.marker {
            last += 1;
        }
        let timestamp = self.waiting.get(&first)?.timestamp;
        let mut data = Vec::new();
        let mut intact = true;
        for sequence in first..=last {
            let packet = self.waiting.remove(&sequence)?;
            intact &= packet.timestamp == timestamp;
            match vp8_payload(&packet.payload) {
                Some((start, chunk)) if start == (sequence == first) => {
                    data.extend_from_slice(chunk)
                }
                _ => intact = false,
            }
        }
        self.next = Some(last + 1);
        let key_size = vp8_key_frame_size(&data);
        let decodable = intact && (key_size.is_some() || self.continuous);
        Some(Frame {
            timestamp,
            key: key_size.is_some(),
            decodable,
            size: key_size.unwrap_or(self.stats.size),
            data,
            received: now,
        })
    }

    fn gave_up(&self, now: Instant) -> bool {
        let oldest = self.waiting.values().next().map(|packet| packet.received);
        self.waiting.len() > MAX_WAITING
            || oldest.is_some_and(|oldest| now.saturating_duration_since(oldest) > MAX_WAIT)
    }

    /// Continues behind a gap that will not be filled: at the first frame start after it.
    fn skip_gap(&mut self) {
        let present = self
            .next
            .map(|next| self.waiting.contains_key(&next))
            .unwrap_or(false);
        // The frame at `next` has a hole further on: leave it, else its start would be found again.
        if present && let Some(first) = self.next {
            self.waiting.remove(&first);
        }
        self.stats.dropped_frames += 1;
        self.continuous = false;
        self.drop_to_start();
    }

    /// Drops the packets before the first frame start in hand, and continues from there.
    fn drop_to_start(&mut self) {
        self.next = None;
        while let Some(entry) = self.waiting.first_entry() {
            if vp8_payload(&entry.get().payload).is_some_and(|(start, _)| start) {
                self.next = Some(*entry.key());
                break;
            }
            entry.remove();
        }
    }

    fn emit(&mut self, frame: Frame, frames: &mut Vec<Frame>) {
        self.continuous = frame.decodable;
        self.stats.frames += 1;
        self.stats.key_frames += u64::from(frame.key);
        if !frame.decodable {
            self.stats.dropped_frames += 1;
        } else {
            self.stats.decodable_frames += 1;
            self.stats.first_frame.get_or_insert(frame.received);
            if let Some(last) = self.last_decodable {
                let gap = frame.timestamp.wrapping_sub(last);
                // A retransmitted audio packet goes backwards: no gap.
                if gap < u32::MAX / 2 {
                    self.stats.longest_gap = self.stats.longest_gap.max(gap);
                }
            }
            self.last_decodable = Some(frame.timestamp);
            if self.stats.size != frame.size {
                self.stats.size_changes += u64::from(self.stats.size != (0, 0));
                self.stats.size = frame.size;
            }
        }
        frames.push(frame);
    }
}

/// Reads the VP8 payload descriptor (RFC 7741 section 4.2): whether a frame starts here, and the bytes behind it.
fn vp8_payload(payload: &[u8]) -> Option<(bool, &[u8])> {
    let first = *payload.first()?;
    let mut length = 1;
    if first & 0x80 != 0 {
        let extension = *payload.get(1)?;
        length = 2;
        if extension & 0x80 != 0 {
            length += if payload.get(length)? & 0x80 != 0 {
                2
            } else {
                1
            };
        }
        length += usize::from(extension & 0x40 != 0);
        length += usize::from(extension & 0x30 != 0);
    }
    let start = first & 0x10 != 0 && first & 0x07 == 0;
    Some((start, payload.get(length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{OutgoingPacket, Vp8Packetizer};

    /// A frame of `len` bytes that looks like VP8 from outside.
    fn vp8(key: bool, len: usize) -> Vec<u8> {
        let mut frame = vec![u8::from(!key), 0, 0];
        if key {
            frame.extend_from_slice(&[0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00]);
        }
        frame.resize(len, 7);
        frame
    }

    struct Stream {
        packetizer: Vp8Packetizer,
        assembler: FrameAssembler,
        now: Instant,
        timestamp: u32,
        frames: Vec<Frame>,
    }

    impl Stream {
        fn new() -> Self {
            Self {
                packetizer: Vp8Packetizer::new(65_530),
                assembler: FrameAssembler::new(MediaKind::Video),
                now: Instant::now(),
                timestamp: 0,
                frames: Vec::new(),
            }
        }

        fn packets(&mut self, key: bool, len: usize) -> Vec<OutgoingPacket> {
            self.timestamp += 3000;
            self.packetizer.packetize(&vp8(key, len), self.timestamp)
        }

        fn receive(&mut self, packet: &OutgoingPacket) {
            self.now += Duration::from_millis(1);
            let packet = IncomingPacket {
                ssrc: 1,
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                marker: packet.marker,
                payload: packet.payload.clone(),
                audio_level: None,
                layer: None,
                received: self.now,
            };
            self.assembler.push(packet, &mut self.frames);
        }
    }

    #[test]
    fn frames_come_back_as_they_were_cut() {
        let mut stream = Stream::new();
        for (key, len) in [(true, 5000), (false, 10), (false, 1100), (false, 1101)] {
            for packet in stream.packets(key, len) {
                stream.receive(&packet);
            }
            let frame = stream.frames.pop().expect("a frame");
            assert_eq!(
                (frame.data, frame.key, frame.decodable),
                (vp8(key, len), key, true)
            );
            assert_eq!(frame.size, (320, 180));
        }
        assert_eq!(stream.assembler.stats().lost, 0);
    }

    #[test]
    fn a_packet_out_of_order_costs_nothing() {
        let mut stream = Stream::new();
        let mut packets = stream.packets(true, 3000);
        packets.extend(stream.packets(false, 2000));
        packets.swap(1, 3);
        for packet in &packets {
            stream.receive(packet);
        }
        assert_eq!(stream.frames.len(), 2);
        assert!(stream.frames.iter().all(|frame| frame.decodable));
        assert_eq!(
            (stream.assembler.stats().lost, stream.assembler.stats().late),
            (0, 2)
        );
    }

    #[test]
    fn after_a_loss_only_a_key_frame_is_decodable_again() {
        let mut stream = Stream::new();
        for packet in stream.packets(true, 3000) {
            stream.receive(&packet);
        }
        let broken = stream.packets(false, 3000);
        stream.receive(&broken[0]);
        stream.receive(&broken[2]);
        stream.now += MAX_WAIT + Duration::from_millis(10);
        for packet in stream.packets(false, 100) {
            stream.receive(&packet);
        }
        assert!(stream.assembler.needs_key_frame());
        for packet in stream.packets(true, 100) {
            stream.receive(&packet);
        }
        assert!(!stream.assembler.needs_key_frame());
        let decodable: Vec<_> = stream.frames.iter().map(|frame| frame.decodable).collect();
        assert_eq!(decodable, [true, false, true]);
        assert_eq!(stream.assembler.stats().lost, 1);
    }

    #[test]
    fn duplicates_are_not_counted() {
        let mut stream = Stream::new();
        let packets = stream.packets(true, 2000);
        for packet in packets.iter().chain(&packets) {
            stream.receive(packet);
        }
        assert_eq!(
            (stream.frames.len(), stream.assembler.stats().packets),
            (1, 2)
        );
    }

    #[test]
    fn truncated_descriptors_are_no_frames() {
        for payload in [&[][..], &[0x80], &[0x80, 0x80], &[0x90, 0xe0, 0x80]] {
            assert_eq!(vp8_payload(payload), None);
        }
    }
}
