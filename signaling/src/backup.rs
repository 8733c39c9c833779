//! Backup codecs: a publisher announces with `add_track` a second codec for its picture, and publishes it with another
//! `add_track`, which names the track, when a `subscribed_quality_update` asks for it.
//!
//! To the media engine it is a track of its own, with a sid that stays here: clients know the one track in two codecs.

use protocol::{
    ParticipantSid, TrackSid, codec,
    livekit::{
        AddTrackRequest, BackupCodecPolicy, RequestResponse, SimulcastCodec, SimulcastCodecInfo,
        TrackPublishedResponse, TrackType,
        encryption::Type as Encryption,
        request_response::{Reason, Request},
        signal_response::Message,
    },
};
use sfu::{AudioFeatures, BackupOf, MediaKind, PublishedTrack};

use crate::{
    participant::{Participant, Track, WantedLayers},
    publish::{is_too_long, known_layer, layer_size},
    room::Room,
};

/// The second codec of a track. In `TrackInfo.codecs` it is the second one too.
pub(crate) struct Backup {
    /// For the media engine.
    sid: TrackSid,
    /// The codec as the client names it, without `video/`.
    pub codec: String,
    /// The client's id of it; empty until it is published.
    cid: String,
    bound: bool,
    /// The layers that somebody wants, as the publisher was told.
    pub wanted: WantedLayers,
}

impl Backup {
    /// The backup that a request announces. None is taken of an encrypted track: clients would send it in the clear.
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

    /// What others hear of it.
    pub fn info(&self) -> SimulcastCodecInfo {
        SimulcastCodecInfo {
            mime_type: codec::mime_type("video", &self.codec),
            cid: self.cid.clone(),
            ..SimulcastCodecInfo::default()
        }
    }
}

impl Track {
    fn publish_backup(&mut self, request: &AddTrackRequest) {
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

    /// What the media engine hears of its backup.
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

impl Participant {
    /// The track with this backup.
    pub(crate) fn track_with_backup(&mut self, backup: TrackSid) -> Option<&mut Track> {
        let has_it = |track: &&mut Track| track.backup.as_ref().is_some_and(|b| b.sid == backup);
        self.tracks.iter_mut().find(has_it)
    }
}

impl Room {
    /// An `add_track` that names a track: its backup is about to be sent.
    pub(crate) fn add_backup(&mut self, sid: ParticipantSid, request: AddTrackRequest) {
        let (track, is_new) = match self.admit_backup(sid, &request) {
            Ok(admitted) => admitted,
            Err((reason, message)) => {
                let response = RequestResponse {
                    reason: reason.into(),
                    message: message.to_owned(),
                    request: Some(Request::AddTrack(request)),
                    ..RequestResponse::default()
                };
                return self.send(sid, Message::RequestResponse(response));
            }
        };
        let participant = self.participants.get_mut(&sid);
        let Some(track) = participant.and_then(|p| p.track_mut(track)) else {
            return;
        };
        if is_new {
            track.publish_backup(&request);
        }
        let published = track.backup_for_media().filter(|_| is_new);
        let response = TrackPublishedResponse {
            cid: request.cid,
            track: Some(track.info.clone()),
        };
        self.send(sid, Message::TrackPublished(response));
        if let Some(track) = published {
            self.command(sfu::Command::Publish { peer: sid, track });
        }
    }

    /// The track, and whether its backup is new: a request that was sent twice is answered twice.
    fn admit_backup(
        &self,
        sid: ParticipantSid,
        request: &AddTrackRequest,
    ) -> Result<(TrackSid, bool), (Reason, &'static str)> {
        let participant = self.participants.get(&sid);
        let track = request.sid.parse().ok();
        let track = track.and_then(|track| participant?.track(track));
        let (Some(participant), Some(track)) = (participant, track) else {
            return Err((Reason::NotFound, "you have no such track"));
        };
        if !participant.can_publish(track.info.source(), MediaKind::Video) {
            return Err((Reason::NotAllowed, "does not have permission to publish"));
        }
        if is_too_long(request) || request.cid.is_empty() {
            return Err((Reason::InvalidRequest, "malformed track"));
        }
        let named = request.simulcast_codecs.first();
        let is_named =
            |backup: &&Backup| named.is_some_and(|n| codec::is_same(&n.codec, &backup.codec));
        let Some(backup) = track.backup.as_ref().filter(is_named) else {
            let message = "the codec was not announced with the track";
            return Err((Reason::UnsupportedType, message));
        };
        if backup.cid == request.cid && !backup.bound {
            return Ok((track.sid, false));
        }
        if !backup.cid.is_empty() {
            return Err((Reason::InvalidRequest, "the codec is published already"));
        }
        let has = |track: &Track| {
            let backup = track.backup.as_ref();
            track.cid == request.cid || backup.is_some_and(|backup| backup.cid == request.cid)
        };
        if participant.tracks.iter().any(has) {
            return Err((Reason::InvalidRequest, "the cid is another track's"));
        }
        Ok((track.sid, true))
    }

    /// Of the media engine's tracks, one is a backup: it is part of an offer. False for any other.
    pub(crate) fn backup_bound(
        &mut self,
        sid: ParticipantSid,
        backup: TrackSid,
        mid: &str,
        mime_type: &str,
    ) -> bool {
        self.change_backup(sid, backup, |backup, info| {
            backup.bound = true;
            info.mid = mid.to_owned();
            info.mime_type = mime_type.to_owned();
        })
    }

    /// It is gone from the offer, and as it was when it was announced. False for any other track.
    pub(crate) fn backup_unbound(&mut self, sid: ParticipantSid, backup: TrackSid) -> bool {
        self.change_backup(sid, backup, |backup, info| {
            backup.bound = false;
            backup.cid.clear();
            *info = backup.info();
        })
    }

    fn change_backup(
        &mut self,
        sid: ParticipantSid,
        backup: TrackSid,
        change: impl FnOnce(&mut Backup, &mut SimulcastCodecInfo),
    ) -> bool {
        let Some(track) = self
            .participants
            .get_mut(&sid)
            .and_then(|participant| participant.track_with_backup(backup))
        else {
            return false;
        };
        let bound = track.bound;
        if let (Some(backup), Some(info)) = (&mut track.backup, track.info.codecs.get_mut(1)) {
            change(backup, info);
        }
        if bound {
            self.announce(sid, false);
        }
        true
    }
}
