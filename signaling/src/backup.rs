//! The backup of a track: its second codec.

use protocol::{
    TrackSid, codec,
    livekit::{
        AddTrackRequest, SimulcastCodec, SimulcastCodecInfo, TrackType,
        encryption::Type as Encryption,
    },
};

use sfu::SpatialLayer;

/// The layers up to this one, or none.
pub(crate) type WantedLayers = Option<SpatialLayer>;

/// The second codec of a track. In `TrackInfo.codecs` it is the second one too.
pub(crate) struct Backup {
    /// Sid of the backup in the media engine.
    pub sid: TrackSid,
    /// The codec as the client names it, without `video/`.
    pub codec: String,
    /// The client's id of the backup; empty until it is published.
    pub cid: String,
    pub bound: bool,
    /// The wanted layers, as the publisher was told.
    pub wanted: WantedLayers,
}

impl Backup {
    /// The backup that a request announces. An encrypted track gets none: clients would send it in the clear.
    pub fn announced(request: &AddTrackRequest, rng: &mut impl rand::Rng) -> Option<Self> {
        let mut codecs = request.simulcast_codecs.iter();
        let first = &codecs.next()?.codec;
        let first = codec::name(first);
        let is_other = |other: &&SimulcastCodec| {
            let other = codec::name(&other.codec);
            !first.is_empty() && !other.is_empty() && other != first
        };
        let takes_one =
            request.r#type() == TrackType::Video && request.encryption() == Encryption::None;
        let codec = codecs.find(is_other).filter(|_| takes_one)?;
        Some(Self {
            sid: TrackSid::random("", rng),
            codec: codec::name(&codec.codec),
            cid: codec.cid.clone(),
            bound: false,
            wanted: None,
        })
    }

    /// The backup as others see it.
    pub fn info(&self) -> SimulcastCodecInfo {
        SimulcastCodecInfo {
            mime_type: codec::mime_type("video", &self.codec),
            cid: self.cid.clone(),
            ..SimulcastCodecInfo::default()
        }
    }
}
