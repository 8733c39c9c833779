//! A published track.

use std::collections::BTreeSet;

use protocol::{
    ParticipantSid, TrackSid, codec,
    livekit::{
        AddTrackRequest, AudioTrackFeature, BackupCodecPolicy, SimulcastCodecInfo, TrackInfo,
        encryption::Type as Encryption,
    },
};
use sfu::{AudioFeatures, BackupOf, MediaKind, PublishedTrack, TrackCodec};

use crate::{
    add_track::{codec_names, known, known_layer, layer_size, sid_hint, stream_of},
    backup::{Backup, WantedLayers},
};

/// A published track.
pub(crate) struct Track {
    pub sid: TrackSid,
    /// The client's id of the track, from `add_track`.
    pub cid: String,
    pub info: TrackInfo,
    /// The track as the shard was told.
    pub media: sfu::PublishedTrack,
    /// The codec of the track, once it is bound.
    pub encoding: sfu::TrackCodec,
    /// The track is bound to a section of an offer: others may hear of it.
    pub bound: bool,
    /// Others have heard of the track.
    pub announced: bool,
    /// The participants to whom the shard was told to send the track.
    pub subscribers: BTreeSet<ParticipantSid>,
    /// Somebody receives the track, and the publisher was told.
    pub subscribed: bool,
    /// The codec that the client announced, by [`protocol::codec::name`].
    pub codec: String,
    /// The codecs that the client could send of a sound, by the same names.
    pub audio_codecs: Vec<String>,
    /// Whether one of those codecs is needed, as the publisher was told.
    pub needed: Option<bool>,
    /// The wanted layers, as the publisher was told.
    pub wanted: Option<WantedLayers>,
    /// The second codec, where the track has one.
    pub backup: Option<Backup>,
}

impl Track {
    /// The backup is about to be sent: takes over what the request says of it.
    pub fn publish_backup(&mut self, request: &AddTrackRequest) {
        let (Some(backup), Some(info)) = (&mut self.backup, self.info.codecs.get_mut(1)) else {
            return;
        };
        backup.cid.clone_from(&request.cid);
        info.cid.clone_from(&request.cid);
        let layers = request.simulcast_codecs.first().map(|codec| &codec.layers);
        let layers = layers.filter(|layers| !layers.is_empty());
        let layers = layers.unwrap_or(&request.layers).iter();
        info.layers = layers.map(known_layer).collect();
    }

    /// The backup for the media engine.
    #[allow(deprecated)] // Older clients read the deprecated fields.
    pub(crate) fn backup_for_media(&self) -> Option<PublishedTrack> {
        let backup = self.backup.as_ref()?;
        let own = self.info.codecs.get(1).map(|codec| &codec.layers);
        let layers = own.filter(|layers| !layers.is_empty());
        let layers = layers.unwrap_or(&self.info.layers);
        Some(PublishedTrack {
            sid: backup.sid,
            kind: MediaKind::Video,
            cids: (!backup.cid.is_empty())
                .then(|| backup.cid.clone())
                .into_iter()
                .collect(),
            stream: self.info.stream.clone(),
            muted: self.info.muted,
            audio: AudioFeatures::default(),
            mime_type: codec::mime_type("video", &backup.codec),
            layers: layers.iter().filter_map(layer_size).collect(),
            backup_of: Some(BackupOf {
                track: self.sid,
                for_all: self.info.backup_codec_policy() != BackupCodecPolicy::Simulcast,
            }),
        })
    }
}

impl Track {
    #[allow(deprecated)] // Older clients read the deprecated fields.
    pub fn new(request: &AddTrackRequest, kind: MediaKind, rng: &mut impl rand::Rng) -> Self {
        let source = request.source();
        let sid = TrackSid::random(sid_hint(kind, source), rng);
        let family = if kind == MediaKind::Audio {
            "audio"
        } else {
            "video"
        };
        let codec = request.simulcast_codecs.first();
        let mime_type = codec
            .map(|named| codec::mime_type(family, &named.codec))
            .unwrap_or_default();
        let layers = match codec {
            Some(codec) if !codec.layers.is_empty() => &codec.layers,
            _ => &request.layers,
        };
        let layers: Vec<_> = layers.iter().map(known_layer).collect();
        let first = codec.map(|codec| SimulcastCodecInfo {
            mime_type: mime_type.clone(),
            cid: request.cid.clone(),
            layers: layers.clone(),
            video_layer_mode: codec.video_layer_mode().into(),
            ..SimulcastCodecInfo::default()
        });
        let backup = Backup::announced(request, rng);
        let codecs = first.into_iter().chain(backup.as_ref().map(Backup::info));
        let info = TrackInfo {
            sid: sid.to_string(),
            r#type: request.r#type,
            name: request.name.clone(),
            muted: request.muted,
            width: request.width,
            height: request.height,
            simulcast: layers.len() > 1,
            disable_dtx: request.disable_dtx,
            source: source.into(),
            layers,
            mime_type,
            codecs: codecs.collect(),
            stereo: request.stereo,
            disable_red: request.disable_red,
            encryption: request.encryption().into(),
            stream: stream_of(request, sid),
            audio_features: known(request.audio_features()),
            backup_codec_policy: request.backup_codec_policy().into(),
            packet_trailer_features: known(request.packet_trailer_features()),
            ..TrackInfo::default()
        };
        Self {
            sid,
            media: for_media(&info, sid, kind, request),
            encoding: TrackCodec::default(),
            cid: request.cid.clone(),
            codec: codec
                .map(|named| codec::name(&named.codec))
                .unwrap_or_default(),
            info,
            bound: false,
            announced: false,
            subscribers: BTreeSet::new(),
            subscribed: false,
            audio_codecs: match kind {
                MediaKind::Audio => codec_names(request),
                MediaKind::Video => Vec::new(),
            },
            needed: None,
            wanted: None,
            backup,
        }
    }

    /// The track is bound to the section `mid`, with this codec.
    pub fn bind(&mut self, mid: String, codec: TrackCodec) {
        self.bound = true;
        if let Some(first) = self.info.codecs.first_mut() {
            first.mid.clone_from(&mid);
            first.mime_type.clone_from(&codec.mime_type);
        }
        self.info.mid = mid;
        self.info.mime_type.clone_from(&codec.mime_type);
        self.encoding = codec;
    }
}

#[allow(deprecated)] // Older clients write the deprecated fields.
fn for_media(
    info: &TrackInfo,
    sid: TrackSid,
    kind: MediaKind,
    request: &AddTrackRequest,
) -> PublishedTrack {
    let feature = |feature: AudioTrackFeature| request.audio_features.contains(&feature.into());
    let codec = request.simulcast_codecs.first();
    let mut cids = vec![request.cid.clone()];
    let other = codec.filter(|codec| !codec.cid.is_empty() && codec.cid != request.cid);
    cids.extend(other.map(|codec| codec.cid.clone()));
    let is_audio = kind == MediaKind::Audio;
    PublishedTrack {
        sid,
        kind,
        cids,
        stream: info.stream.clone(),
        muted: info.muted,
        audio: AudioFeatures {
            stereo: request.stereo || feature(AudioTrackFeature::TfStereo),
            dtx: !(request.disable_dtx || feature(AudioTrackFeature::TfNoDtx)),
            // Encrypted frames do not survive RED: the packets within would be taken for other ones.
            red: is_audio && !request.disable_red && info.encryption() == Encryption::None,
        },
        mime_type: info.mime_type.clone(),
        layers: info.layers.iter().filter_map(layer_size).collect(),
        backup_of: None,
    }
}
