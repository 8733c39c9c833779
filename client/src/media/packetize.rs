//! Packetization: frames in, RTP payloads out (RFC 7741 for VP8, RFC 7587 for Opus).

use super::{AudioLevel, MediaKind, OutgoingPacket};

/// The most bytes of a VP8 frame in one packet: 1200 less header, extensions, descriptor, SRTP tag and a tunnel or two.
const MAX_VP8_CHUNK: usize = 1100;

/// Length of our VP8 payload descriptor, bytes: extended, 15-bit picture id, TL0PICIDX and TID present. libwebrtc sends
/// the same, and an SFU has to rewrite it.
const VP8_DESCRIPTOR: usize = 6;

/// The packetizer of one stream.
#[derive(Debug, Clone)]
pub enum Packetizer {
    /// Opus.
    Opus(OpusPacketizer),
    /// VP8.
    Vp8(Vp8Packetizer),
}

impl Packetizer {
    /// A packetizer for the codec of `kind`, counting from `start` (sequence number, picture id).
    pub fn new(kind: MediaKind, start: u16) -> Self {
        match kind {
            MediaKind::Audio => Self::Opus(OpusPacketizer::new(start)),
            MediaKind::Video => Self::Vp8(Vp8Packetizer::new(start)),
        }
    }

    /// The packets of one frame. `level` is for audio.
    pub fn packetize(
        &mut self,
        frame: &[u8],
        timestamp: u32,
        level: Option<AudioLevel>,
    ) -> Vec<OutgoingPacket> {
        match self {
            Self::Opus(opus) => vec![opus.packetize(frame, timestamp, level)],
            Self::Vp8(vp8) => vp8.packetize(frame, timestamp),
        }
    }
}

/// A packetizer for Opus: one frame, one packet.
#[derive(Debug, Clone)]
pub struct OpusPacketizer {
    sequence: u64,
    first: bool,
}

impl OpusPacketizer {
    /// A packetizer that counts from `start`.
    pub fn new(start: u16) -> Self {
        Self {
            sequence: start.into(),
            first: true,
        }
    }

    /// The packet of one frame.
    pub fn packetize(
        &mut self,
        frame: &[u8],
        timestamp: u32,
        audio_level: Option<AudioLevel>,
    ) -> OutgoingPacket {
        let sequence = self.sequence;
        self.sequence += 1;
        OutgoingPacket {
            sequence,
            timestamp,
            marker: std::mem::take(&mut self.first),
            payload: frame.into(),
            audio_level,
        }
    }
}

/// A packetizer for VP8: as many packets as a frame needs, with picture id and TL0PICIDX of a stream of one temporal
/// layer.
#[derive(Debug, Clone)]
pub struct Vp8Packetizer {
    sequence: u64,
    picture_id: u16,
    tl0_pic_idx: u8,
}

impl Vp8Packetizer {
    /// A packetizer that counts sequence numbers and picture ids from `start`.
    pub fn new(start: u16) -> Self {
        Self {
            sequence: start.into(),
            picture_id: start & 0x7fff,
            tl0_pic_idx: start as u8,
        }
    }

    /// The packets of one frame, the marker on the last.
    pub fn packetize(&mut self, frame: &[u8], timestamp: u32) -> Vec<OutgoingPacket> {
        let count = frame.len().div_ceil(MAX_VP8_CHUNK);
        let packets = frame
            .chunks(MAX_VP8_CHUNK)
            .enumerate()
            .map(|(index, chunk)| {
                let sequence = self.sequence + index as u64;
                OutgoingPacket {
                    sequence,
                    timestamp,
                    marker: index + 1 == count,
                    payload: self.payload(chunk, index == 0),
                    audio_level: None,
                }
            })
            .collect();
        self.sequence += count as u64;
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        self.tl0_pic_idx = self.tl0_pic_idx.wrapping_add(1);
        packets
    }

    fn payload(&self, chunk: &[u8], start: bool) -> std::sync::Arc<[u8]> {
        let mut payload = Vec::with_capacity(VP8_DESCRIPTOR + chunk.len());
        payload.push(if start { 0b1001_0000 } else { 0b1000_0000 }); // X, S
        payload.push(0b1110_0000); // I, L, T
        payload.extend_from_slice(&(self.picture_id | 0x8000).to_be_bytes());
        payload.push(self.tl0_pic_idx);
        payload.push(0); // TID 0, Y 0, no key index
        payload.extend_from_slice(chunk);
        payload.into()
    }
}
