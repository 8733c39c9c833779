//! Canned media for tests, benches and probes: real VP8 and Opus, small, and playable in a loop.

use crate::media::{Layer, OPUS_CLOCK, VIDEO_CLOCK};

/// Frames per second of every [`moving_picture`].
pub const FRAMES_PER_SECOND: u32 = 30;

/// RTP ticks from one video frame to the next.
pub const VIDEO_FRAME_TICKS: u32 = VIDEO_CLOCK / FRAMES_PER_SECOND;

/// RTP ticks of one Opus frame of 20 ms.
pub const OPUS_FRAME_TICKS: u32 = OPUS_CLOCK / 50;

/// 20 ms of silence: a CELT frame whose silence flag is set (RFC 6716 section 4.3).
pub const OPUS_SILENCE: &[u8] = &[0xf8, 0xff, 0xfe];

/// The packet that an encoder with DTX sends every 400 ms of silence: a code-0 packet without a frame (RFC 6716 section
/// 3.2.1).
pub const OPUS_DTX: &[u8] = &[0xf8];

/// Sizes of the canned pictures, lowest first, as a publisher of three simulcast layers sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureSize {
    /// 320 by 180.
    Low,
    /// 640 by 360.
    Medium,
    /// 1280 by 720.
    High,
}

impl PictureSize {
    /// All sizes, lowest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// Width and height in pixels.
    pub fn pixels(self) -> (u16, u16) {
        match self {
            Self::Low => (320, 180),
            Self::Medium => (640, 360),
            Self::High => (1280, 720),
        }
    }
}

/// One second of a moving picture: 30 VP8 frames, the first a key frame.
pub fn moving_picture(size: PictureSize) -> Vec<&'static [u8]> {
    ivf_frames(match size {
        PictureSize::Low => include_bytes!("../fixtures/moving-320x180.ivf"),
        PictureSize::Medium => include_bytes!("../fixtures/moving-640x360.ivf"),
        PictureSize::High => include_bytes!("../fixtures/moving-1280x720.ivf"),
    })
}

/// A moving picture without end, in one size or as simulcast layers, that begins anew with a key frame when asked.
#[derive(Debug, Clone)]
pub struct MovingPicture {
    streams: Vec<Loop>,
    timestamp: u32,
}

#[derive(Debug, Clone)]
struct Loop {
    layer: Option<Layer>,
    frames: Vec<&'static [u8]>,
    next: usize,
}

/// A frame of one layer.
pub type LayerFrame = (Option<Layer>, &'static [u8]);

impl MovingPicture {
    /// A picture in one stream of this size, without layers.
    pub fn single(size: PictureSize) -> Self {
        Self::new([(None, size)])
    }

    /// A picture in three layers.
    pub fn simulcast() -> Self {
        Self::new(Layer::ALL.map(Some).into_iter().zip(PictureSize::ALL))
    }

    fn new(layers: impl IntoIterator<Item = (Option<Layer>, PictureSize)>) -> Self {
        let streams = layers.into_iter().map(|(layer, size)| Loop {
            layer,
            frames: moving_picture(size),
            next: 0,
        });
        Self {
            streams: streams.collect(),
            timestamp: 0,
        }
    }

    /// Makes the next frame of this layer a key frame.
    pub fn restart(&mut self, layer: Option<Layer>) {
        for stream in self
            .streams
            .iter_mut()
            .filter(|stream| stream.layer == layer)
        {
            stream.next = 0;
        }
    }

    /// The frames of the next thirtieth of a second and their RTP timestamp.
    pub fn next_frames(&mut self) -> (u32, Vec<LayerFrame>) {
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(VIDEO_FRAME_TICKS);
        let next = |stream: &mut Loop| {
            let frame = *stream.frames.get(stream.next)?;
            stream.next = (stream.next + 1) % stream.frames.len();
            Some((stream.layer, frame))
        };
        (
            timestamp,
            self.streams.iter_mut().filter_map(next).collect(),
        )
    }
}

/// One second of a 440 Hz sine: 50 Opus frames of 20 ms, mono.
pub fn tone() -> Vec<&'static [u8]> {
    let mut rest: &'static [u8] = include_bytes!("../fixtures/tone-440.opus-frames");
    let mut frames = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk() {
        let Some((frame, behind)) = behind.split_at_checked(u16::from_le_bytes(*length).into())
        else {
            break;
        };
        frames.push(frame);
        rest = behind;
    }
    frames
}

/// The frames of an IVF file: a header of 32 bytes, then for each frame its length, a timestamp of 8 bytes, its bytes.
fn ivf_frames(file: &'static [u8]) -> Vec<&'static [u8]> {
    let mut rest = file.get(32..).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk() {
        let end = 8 + u32::from_le_bytes(*length) as usize;
        let Some(frame) = behind.get(8..end) else {
            break;
        };
        frames.push(frame);
        rest = &behind[end..];
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::vp8_key_frame_size;

    #[test]
    fn a_moving_picture_is_thirty_frames_that_start_with_a_key_frame() {
        for size in PictureSize::ALL {
            let frames = moving_picture(size);
            assert_eq!(frames.len(), FRAMES_PER_SECOND as usize);
            assert_eq!(vp8_key_frame_size(frames[0]), Some(size.pixels()));
            assert!(
                frames[1..]
                    .iter()
                    .all(|frame| vp8_key_frame_size(frame).is_none())
            );
        }
    }

    #[test]
    fn a_restarted_layer_begins_with_a_key_frame() {
        let mut picture = MovingPicture::simulcast();
        let key = |frames: &[(Option<Layer>, &[u8])]| {
            frames
                .iter()
                .map(|(_, f)| vp8_key_frame_size(f).is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(key(&picture.next_frames().1), [true, true, true]);
        picture.restart(Some(Layer::Medium));
        let (timestamp, frames) = picture.next_frames();
        assert_eq!((timestamp, key(&frames)), (3000, vec![false, true, false]));
    }

    #[test]
    fn the_tone_is_fifty_frames_of_twenty_milliseconds() {
        let frames = tone();
        assert_eq!(frames.len(), 50);
        // Configurations of 20 ms; mono; one frame a packet (RFC 6716 section 3.1).
        let twenty_ms = [1, 5, 9, 13, 15, 19, 23, 27, 31];
        for frame in frames {
            assert_eq!(frame[0] & 0b111, 0);
            assert!(twenty_ms.contains(&(frame[0] >> 3)));
        }
    }
}
