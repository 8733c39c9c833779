//! Frames and packets: cutting frames into RTP payloads, putting them together again, counting both.

mod assemble;
mod packetize;

use std::{sync::Arc, time::Instant};

pub use assemble::{FrameAssembler, ReceiveStats};
pub use packetize::{OpusPacketizer, Packetizer, Vp8Packetizer};

/// Clock of every video codec, ticks per second (RFC 7741 section 4.1).
pub const VIDEO_CLOCK: u32 = 90_000;
/// Clock of Opus, ticks per second (RFC 7587 section 4.1).
pub const OPUS_CLOCK: u32 = 48_000;

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Opus.
    Audio,
    /// VP8.
    Video,
}

/// A simulcast layer, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// Layer with rid `q`.
    Low,
    /// Layer with rid `h`.
    Medium,
    /// Layer with rid `f`.
    High,
}

impl Layer {
    /// All layers, lowest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// LiveKit's name of the layer on the wire (RFC 8852 RtpStreamId).
    pub fn rid(self) -> &'static str {
        match self {
            Self::Low => "q",
            Self::Medium => "h",
            Self::High => "f",
        }
    }

    /// The layer with this rid, if it is one of LiveKit's three.
    pub fn from_rid(rid: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| layer.rid() == rid)
    }
}

/// Loudness of an audio packet (RFC 6464).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel {
    /// Decibels relative to full scale, -127 (silence) to 0 (loudest).
    pub dbov: i8,
    /// The encoder takes the packet for speech.
    pub voice: bool,
}

/// One RTP packet to send; payload type, SSRC and the negotiated header extensions are added on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingPacket {
    /// Sequence number with its rollovers counted in. The first one of a stream is below 65536.
    pub sequence: u64,
    /// RTP timestamp in the codec's clock.
    pub timestamp: u32,
    /// Marker bit: last packet of a video frame, first of a talk spurt.
    pub marker: bool,
    /// RTP payload.
    pub payload: Arc<[u8]>,
    /// Loudness, audio only.
    pub audio_level: Option<AudioLevel>,
}

/// One RTP packet that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingPacket {
    /// Synchronisation source.
    pub ssrc: u32,
    /// Sequence number with its rollovers counted in.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// RTP payload.
    pub payload: Arc<[u8]>,
    /// Loudness, audio only.
    pub audio_level: Option<AudioLevel>,
    /// The simulcast layer, where the sender names it.
    pub layer: Option<Layer>,
    /// When the packet arrived.
    pub received: Instant,
}

/// One encoded frame that arrived whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// RTP timestamp in the codec's clock.
    pub timestamp: u32,
    /// A key frame (every audio frame is one).
    pub key: bool,
    /// Every frame that this one refers to was received whole, back to a key frame.
    pub decodable: bool,
    /// Width and height in pixels, of this or the last key frame; zero for audio.
    pub size: (u16, u16),
    /// The codec's bytes.
    pub data: Vec<u8>,
    /// When the last missing packet of the frame arrived.
    pub received: Instant,
}

/// The size in a VP8 key frame, `None` for another frame (RFC 6386 section 9.1).
pub fn vp8_key_frame_size(data: &[u8]) -> Option<(u16, u16)> {
    let [tag, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] = *data else {
        return None;
    };
    let fourteen_bits = |low, high| u16::from_le_bytes([low, high]) & 0x3fff;
    (tag & 1 == 0).then(|| (fourteen_bits(w0, w1), fourteen_bits(h0, h1)))
}
