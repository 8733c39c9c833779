//! The codecs of tracks, and what the engine must know of each.

/// A codec, by how its payload is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Opus: every packet stands alone. As RED (RFC 2198) or plain.
    Opus,
    /// VP8 (RFC 7741): picture ids are rewritten.
    Vp8,
    /// VP9 (RFC 9628): picture ids are rewritten.
    Vp9,
    /// H.264 (RFC 6184).
    H264,
    /// AV1 (AV1 RTP specification).
    Av1,
}

impl Codec {
    /// The codec with this mime type; `None` for one that is not forwarded.
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

    /// Clock rate of RTP timestamps, Hz.
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::Av1 => 90_000,
        }
    }

    /// Whether picture numbers must be continuous where a layer is left out: VP8 decoders wait for each number. Numbers
    /// of other codecs say what refers to what, and must keep their gaps.
    pub fn closes_pictures(self) -> bool {
        self == Self::Vp8
    }
}
