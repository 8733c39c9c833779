//! The codecs that tracks are in, by what the engine must know of each.

/// How a codec's payload is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Every packet stands alone. As RED (RFC 2198) or plain.
    Opus,
    /// RFC 7741: picture ids are rewritten.
    Vp8,
    /// RFC 9628: picture ids are rewritten.
    Vp9,
    /// RFC 6184.
    H264,
    /// AV1 RTP specification.
    Av1,
}

impl Codec {
    /// From the mime type of a negotiated codec.
    pub fn from_mime(mime: &str) -> Option<Self> {
        match () {
            () if mime.eq_ignore_ascii_case("audio/opus") => Some(Self::Opus),
            () if mime.eq_ignore_ascii_case("audio/red") => Some(Self::Opus),
            () if mime.eq_ignore_ascii_case("video/VP8") => Some(Self::Vp8),
            () if mime.eq_ignore_ascii_case("video/VP9") => Some(Self::Vp9),
            () if mime.eq_ignore_ascii_case("video/H264") => Some(Self::H264),
            () if mime.eq_ignore_ascii_case("video/AV1") => Some(Self::Av1),
            () => None,
        }
    }

    /// RTP clock, Hz.
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::Av1 => 90_000,
        }
    }

    /// Whether pictures of a layer that is left out must be missing without a trace: VP8 decoders wait for each number.
    /// The others' numbers say what refers to what, and must keep their gaps.
    pub fn closes_pictures(self) -> bool {
        self == Self::Vp8
    }
}
