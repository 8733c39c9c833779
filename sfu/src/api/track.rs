//! Tracks and data channels, in the words of both the room and the shard.

use protocol::TrackSid;

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Audio.
    Audio,
    /// Video.
    Video,
}

/// Layer of a simulcast or SVC video, lowest first; LiveKit's rids `q`, `h`, `f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SpatialLayer {
    /// Layer `q`, a quarter of the height.
    Low = 0,
    /// Layer `h`, half of the height.
    Medium = 1,
    /// Layer `f`, or the only layer there is.
    High = 2,
}

/// A published track, as announced by `add_track`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedTrack {
    /// The track's sid.
    pub sid: TrackSid,
    /// Audio or video.
    pub kind: MediaKind,
    /// The client's ids of the track: the track part of `a=msid` in its offer. Empty for a backup that is not sent yet.
    pub cids: Vec<String>,
    /// Stream part of the msid given to subscribers: `camera`, `screen`, or the name the client gave.
    pub stream: String,
    /// The publisher sends silence or black on purpose.
    pub muted: bool,
    /// Opus: DTX wanted, stereo wanted.
    pub audio: AudioFeatures,
    /// The codec the client announced, for example `video/vp9`, which it may offer behind others. Empty when it named
    /// none.
    pub mime_type: String,
    /// Sizes of the announced layers (`VideoLayer`), used to map a subscriber's wanted size to a layer. May be empty.
    pub layers: Vec<LayerSize>,
    /// Set for a backup: the track that it is a second encoding of.
    pub backup_of: Option<BackupOf>,
}

/// A backup is a picture in a second codec, for subscribers that cannot decode the first. It is a track of its own,
/// with a sid that no client sees; nobody subscribes to it, but a subscriber of the first track may get it instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupOf {
    /// The track that is backed up, of the same publisher.
    pub track: TrackSid,
    /// As soon as one subscriber gets the backup, every subscriber that can decode it gets it, so that the publisher
    /// encodes once.
    pub for_all: bool,
}

/// Wishes of a publisher for an Opus track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AudioFeatures {
    /// `stereo=1` is negotiated.
    pub stereo: bool,
    /// `usedtx=1` is negotiated.
    pub dtx: bool,
    /// Redundant encoding (RFC 2198) is negotiated.
    pub red: bool,
}

/// The codec that a track is encoded with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrackCodec {
    /// Mime type, for example `video/VP8`.
    pub mime_type: String,
    /// The `fmtp` that was answered for this codec, which tells its variants apart.
    pub fmtp: String,
    /// Payload type of RED (RFC 2198), where the publisher may send it.
    pub red: Option<u8>,
}

/// Announced size of one layer, pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSize {
    /// The layer.
    pub layer: SpatialLayer,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// A subscriber's wish for one track (`track_setting`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackSetting {
    /// Nothing of the track is wanted.
    pub disabled: bool,
    /// The highest layer wanted.
    pub max_layer: SpatialLayer,
    /// The size wanted, pixels; 0 when unknown. When known it wins over `max_layer`.
    pub width: u32,
    /// Height of the size wanted, pixels; see `width`.
    pub height: u32,
}

impl Default for TrackSetting {
    fn default() -> Self {
        Self {
            disabled: false,
            max_layer: SpatialLayer::High,
            width: 0,
            height: 0,
        }
    }
}

/// The data channel that a data packet travels on, and with it what its delivery promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataChannel {
    /// `_reliable`: ordered, retransmitted.
    Reliable,
    /// `_lossy`: unordered, never retransmitted.
    Lossy,
    /// `_data_track`: unordered, never retransmitted; packets of data tracks, which go to subscribers only.
    DataTrack,
}
