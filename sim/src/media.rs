//! The media that people send: frames that name their source.

use client::media::Layer;

/// The time from one frame of a sound to the next, milliseconds.
pub const SOUND_EVERY: u64 = 40;

/// The time from one picture to the next, milliseconds.
pub const PICTURE_EVERY: u64 = 100;

/// Width and height of each layer, lowest first.
pub const SIZES: [(u16, u16); 3] = [(320, 180), (640, 360), (1280, 720)];

/// A kind of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A microphone.
    Sound,
    /// A picture of one size, the largest.
    Picture,
    /// A picture in three sizes.
    Simulcast,
}

impl Kind {
    /// The streams of this kind.
    pub fn layers(self) -> &'static [Option<Layer>] {
        match self {
            Self::Sound | Self::Picture => &[None],
            Self::Simulcast => &[Some(Layer::Low), Some(Layer::Medium), Some(Layer::High)],
        }
    }

    /// Size of the picture for a subscriber that wants `layer`.
    pub fn size(self, layer: Layer) -> (u16, u16) {
        match (self, layer) {
            (Self::Simulcast, Layer::Low) => SIZES[0],
            (Self::Simulcast, Layer::Medium) => SIZES[1],
            _ => SIZES[2],
        }
    }
}

/// The mark in a frame: its person, source and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub person: u8,
    pub source: u32,
    pub count: u32,
}

impl Mark {
    fn write(self) -> [u8; 9] {
        let mut bytes = [0; 9];
        bytes[0] = self.person;
        bytes[1..5].copy_from_slice(&self.source.to_le_bytes());
        bytes[5..].copy_from_slice(&self.count.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let [person, rest @ ..] = bytes else {
            return None;
        };
        let (source, rest) = rest.split_first_chunk()?;
        let (count, _) = rest.split_first_chunk()?;
        Some(Self {
            person: *person,
            source: u32::from_le_bytes(*source),
            count: u32::from_le_bytes(*count),
        })
    }
}

/// Offset of the mark in a sound: behind the table of contents (RFC 6716 section 3.1).
const SOUND_MARK: usize = 1;

/// Offset of the mark in a picture: behind the header of a key frame (RFC 6386 section 9.1).
const PICTURE_MARK: usize = 10;

/// A frame of sound.
pub fn sound(mark: Mark) -> Vec<u8> {
    let mut frame = vec![0xf8];
    frame.extend_from_slice(&mark.write());
    frame.resize(60, 0x55);
    frame
}

/// A picture that looks like VP8 from outside.
pub fn picture(mark: Mark, size: (u16, u16), key: bool) -> Vec<u8> {
    let mut frame = vec![u8::from(!key), 0, 0, 0x9d, 0x01, 0x2a];
    frame.extend_from_slice(&size.0.to_le_bytes());
    frame.extend_from_slice(&size.1.to_le_bytes());
    frame.extend_from_slice(&mark.write());
    let len = usize::from(size.0) * if key { 2 } else { 1 };
    frame.resize(len * 3 / 4, 0x55);
    frame
}

/// The mark of a frame that arrived.
pub fn mark(kind: client::media::MediaKind, frame: &[u8]) -> Option<Mark> {
    let at = match kind {
        client::media::MediaKind::Audio => SOUND_MARK,
        client::media::MediaKind::Video => PICTURE_MARK,
    };
    Mark::read(frame.get(at..)?)
}

/// The name of a track.
pub fn name(person: usize, source: u32) -> String {
    format!("{person}-{source}")
}

/// The person and source in the name of a track.
pub fn parse_name(name: &str) -> Option<(u8, u32)> {
    let (person, source) = name.split_once('-')?;
    Some((person.parse().ok()?, source.parse().ok()?))
}

/// Writes a data message: its person, their life, and its number.
pub fn write_data(person: u8, life: u32, count: u32) -> Vec<u8> {
    let mut bytes = vec![person];
    bytes.extend_from_slice(&life.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes
}

/// Reads a data message.
pub fn read_data(bytes: &[u8]) -> Option<(u8, u32, u32)> {
    let [person, rest @ ..] = bytes else {
        return None;
    };
    let (life, rest) = rest.split_first_chunk()?;
    let count = rest.try_into().ok()?;
    Some((
        *person,
        u32::from_le_bytes(*life),
        u32::from_le_bytes(count),
    ))
}
