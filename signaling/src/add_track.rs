//! The request to add a track, checked.

use protocol::{
    TrackSid, codec,
    livekit::{AddTrackRequest, TrackSource, VideoLayer, VideoQuality},
};
use sfu::{LayerSize, MediaKind, SpatialLayer};

/// The longest client id, name or stream name of a track, bytes.
const MAX_TEXT: usize = 256;

/// The most layers of a track: three of each of a few codecs, with room to spare.
pub(crate) const MAX_LAYERS: usize = 16;

/// Whether the request is longer than any client needs for one track.
pub(crate) fn is_too_long(request: &AddTrackRequest) -> bool {
    let codecs = &request.simulcast_codecs;
    let layers: usize = codecs.iter().map(|codec| codec.layers.len()).sum();
    [&request.cid, &request.name, &request.stream]
        .iter()
        .any(|text| text.len() > MAX_TEXT)
        || codecs.len() > MAX_LAYERS
        || codecs
            .iter()
            .any(|codec| codec.cid.len() + codec.codec.len() > MAX_TEXT)
        || request.layers.len() > MAX_LAYERS
        || request.audio_features.len() > MAX_LAYERS
        || request.packet_trailer_features.len() > MAX_LAYERS
        || layers > MAX_LAYERS
}

pub(crate) fn codec_names(request: &AddTrackRequest) -> Vec<String> {
    let codecs = request.simulcast_codecs.iter();
    codecs.map(|named| codec::name(&named.codec)).collect()
}

pub(crate) fn sid_hint(kind: MediaKind, source: TrackSource) -> &'static str {
    match (kind, source) {
        (MediaKind::Audio, TrackSource::Microphone) => "AM",
        (MediaKind::Audio, TrackSource::ScreenShareAudio) => "AS",
        (MediaKind::Video, TrackSource::Camera) => "VC",
        (MediaKind::Video, TrackSource::ScreenShare) => "VS",
        _ => "",
    }
}

/// The stream in which subscribers get the track; tracks of one stream are played in sync. It becomes part of an SDP
/// line, so that only the characters of an SDP token (RFC 8866, section 9) are taken from the client.
pub(crate) fn stream_of(request: &AddTrackRequest, sid: TrackSid) -> String {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-_.+~!#$%&'*^`{}".contains(c);
    if !request.stream.is_empty() && request.stream.chars().all(is_token) {
        return request.stream.clone();
    }
    match request.source() {
        TrackSource::Camera | TrackSource::Microphone => "camera".to_owned(),
        TrackSource::ScreenShare | TrackSource::ScreenShareAudio => "screen".to_owned(),
        TrackSource::Unknown => sid.to_string(),
    }
}

/// The values of an enum that we know: others could not be written as JSON.
pub(crate) fn known<E: Into<i32>>(values: impl Iterator<Item = E>) -> Vec<i32> {
    values.map(Into::into).collect()
}

pub(crate) fn known_layer(layer: &VideoLayer) -> VideoLayer {
    VideoLayer {
        quality: layer.quality().into(),
        ..layer.clone()
    }
}

pub(crate) fn layer_size(layer: &VideoLayer) -> Option<LayerSize> {
    let spatial = match VideoQuality::try_from(layer.quality).ok()? {
        VideoQuality::Low => SpatialLayer::Low,
        VideoQuality::Medium => SpatialLayer::Medium,
        VideoQuality::High => SpatialLayer::High,
        VideoQuality::Off => return None,
    };
    Some(LayerSize {
        layer: spatial,
        width: layer.width,
        height: layer.height,
    })
}
