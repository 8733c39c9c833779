//! The format of a packet between shards: opened, with what its receiver has to know of it.
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 1 | [`VERSION`] |
//! | 1 | 1 | [`Kind`] |
//! | 2 | 1 | layer |
//! | 3 | 1 | flags: 1 marker, 2 has a level |
//! | 4 | 1 | payload type |
//! | 5 | 1 | level, as in RFC 6464 |
//! | 6 | 1 | length of the Dependency Descriptor |
//! | 7 | 1 | 0 |
//! | 8 | 8 | [`Handle`] |
//! | 16 | 8 | index: the unwrapped sequence number; of a sender report, its NTP time |
//! | 24 | 4 | SSRC |
//! | 28 | 4 | RTP time |
//! | 32 | | Dependency Descriptor, payload |

use crate::{
    received::Received,
    rtp::{AudioLevel, RtpTime},
};

/// The version of the format. Shards of one process have the same; a reader refuses any other.
pub const VERSION: u8 = 2;

/// Length of the fixed part, bytes.
const FIXED: usize = 32;

const MARKER: u8 = 1;
const HAS_LEVEL: u8 = 2;

/// Number of layers that a track may have.
const LAYERS: u8 = 3;

/// The name of a track in packets between shards, or of the publisher of a data track: the last eight characters of its
/// sid in the destination room, which both shards know. They are random, and a shard takes no second track of the same
/// handle; so no number must be agreed on before the first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

impl Handle {
    /// The handle of a sid.
    pub fn of(sid: &str) -> Self {
        let bytes = sid.as_bytes().last_chunk().copied();
        Self(u64::from_be_bytes(bytes.unwrap_or_default()))
    }
}

/// The kind of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A packet of a track, as it was sent.
    Media = 0,
    /// A packet of a track that was lost, and sent again.
    Recovered = 1,
    /// No packet, but the times of a layer's sender report.
    SenderReport = 2,
    /// A packet of a track, as it was sent; packets shortly before it were left out on purpose.
    Resumed = 3,
    /// A packet of a data track. The handle is its publisher's.
    Data = 4,
}

impl Kind {
    fn parse(byte: u8) -> Option<Self> {
        [
            Self::Media,
            Self::Recovered,
            Self::SenderReport,
            Self::Resumed,
            Self::Data,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// A packet between shards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Relayed<'a> {
    /// The track; for a data track, the publisher.
    pub handle: Handle,
    /// The packet's kind.
    pub kind: Kind,
    /// The packet's layer, below 3.
    pub layer: u8,
    /// The packet.
    pub packet: Received<'a>,
}

impl<'a> Relayed<'a> {
    /// Size of the written packet in bytes; `None`: it cannot be written.
    pub fn size(&self) -> Option<u16> {
        let dependencies = self.packet.dependencies.len();
        if dependencies > u8::MAX.into() || self.layer >= LAYERS {
            return None;
        }
        let size = FIXED + dependencies + self.packet.payload.len();
        u16::try_from(size).ok()
    }

    /// Appends the packet, which must have a [`size`](Self::size).
    pub fn write(&self, to: &mut Vec<u8>) {
        let packet = &self.packet;
        let has_level = if packet.voice.is_some() { HAS_LEVEL } else { 0 };
        let flags = u8::from(packet.marker) * MARKER + has_level;
        let level = packet.voice.map_or(0, AudioLevel::to_byte);
        to.extend_from_slice(&[VERSION, self.kind as u8, self.layer, flags]);
        to.extend_from_slice(&[packet.payload_type, level]);
        to.extend_from_slice(&[packet.dependencies.len() as u8, 0]);
        to.extend_from_slice(&self.handle.0.to_be_bytes());
        to.extend_from_slice(&packet.index.to_be_bytes());
        to.extend_from_slice(&packet.ssrc.to_be_bytes());
        to.extend_from_slice(&packet.time.0.to_be_bytes());
        to.extend_from_slice(packet.dependencies);
        to.extend_from_slice(packet.payload);
    }

    /// Reads bytes that [`write`](Self::write) wrote; `None`: they were written by something else.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_first_chunk::<FIXED>()?;
        let [
            version,
            kind,
            layer,
            flags,
            payload_type,
            level,
            dependencies,
            reserved,
            ..,
        ] = *fixed;
        let (dependencies, payload) = rest.split_at_checked(dependencies.into())?;
        if version != VERSION || layer >= LAYERS || reserved != 0 {
            return None;
        }
        Some(Self {
            handle: Handle(u64::from_be_bytes(*fixed[8..].first_chunk()?)),
            kind: Kind::parse(kind)?,
            layer,
            packet: Received {
                ssrc: u32::from_be_bytes(*fixed[24..].first_chunk()?),
                index: u64::from_be_bytes(*fixed[16..].first_chunk()?),
                time: RtpTime(u32::from_be_bytes(*fixed[28..].first_chunk()?)),
                payload_type,
                marker: flags & MARKER != 0,
                payload,
                dependencies,
                voice: AudioLevel::parse(&[level]).filter(|_| flags & HAS_LEVEL != 0),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(relayed: &Relayed<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        relayed.write(&mut bytes);
        assert_eq!(Some(bytes.len()), relayed.size().map(usize::from));
        bytes
    }

    fn relayed<'a>(payload: &'a [u8]) -> Relayed<'a> {
        Relayed {
            handle: Handle::of("TR_VCabcdefghijkl"),
            kind: Kind::Media,
            layer: 1,
            packet: Received {
                ssrc: 0x0102_0304,
                index: 1 << 40 | 5,
                time: RtpTime(0xffff_fff0),
                payload_type: 111,
                marker: true,
                payload,
                dependencies: &[7, 8, 9],
                voice: Some(AudioLevel {
                    level: 40,
                    voice: true,
                }),
            },
        }
    }

    #[test]
    fn packets_come_out_as_they_went_in() {
        let loud = relayed(b"sound");
        let plain = Relayed {
            kind: Kind::Recovered,
            layer: 2,
            packet: Received {
                marker: false,
                voice: None,
                dependencies: &[],
                ..loud.packet
            },
            ..loud
        };
        for packet in [loud, plain] {
            assert_eq!(Relayed::parse(&written(&packet)), Some(packet));
        }
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        let bytes = written(&relayed(b"x"));
        for len in 0..bytes.len() - 1 {
            // Without its last byte it is a packet without payload.
            assert_eq!(Relayed::parse(&bytes[..len]), None, "{len}");
        }
        for (at, value) in [(0, 0), (0, VERSION + 1), (1, 5), (2, LAYERS), (7, 1)] {
            let mut wrong = bytes.clone();
            wrong[at] = value;
            assert_eq!(Relayed::parse(&wrong), None, "{value} at {at}");
        }
    }

    #[test]
    fn what_is_too_long_is_not_written() {
        let payload = vec![0; 65_536];
        let long = relayed(&payload);
        let endless = Relayed {
            packet: Received {
                dependencies: &payload[..256],
                ..relayed(b"").packet
            },
            ..relayed(b"")
        };
        assert_eq!((long.size(), endless.size()), (None, None));
    }
}
