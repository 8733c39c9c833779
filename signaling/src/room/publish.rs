//! Tracks: announced, bound, muted, ended.

use std::time::Instant;

use protocol::{
    ParticipantSid, TrackSid,
    livekit::{
        AddTrackRequest, MuteTrackRequest, RequestResponse, TrackInfo, TrackPublishedResponse,
        TrackType, TrackUnpublishedResponse, UpdateLocalAudioTrack, UpdateLocalVideoTrack,
        participant_info::State,
        request_response::{Reason, Request},
        signal_response::Message,
    },
};
use sfu::{MediaKind, TrackCodec};

use crate::{
    add_track::{MAX_LAYERS, is_too_long, known},
    room::Room,
    track::Track,
};

impl Room {
    /// Takes an `add_track`, which may come before or after the offer that carries the track.
    pub(crate) fn add_track(&mut self, sid: ParticipantSid, request: AddTrackRequest) {
        if !request.sid.is_empty() {
            return self.add_backup(sid, request);
        }
        if let Some(response) = self.announced_before(sid, &request) {
            return self.send(sid, Message::TrackPublished(response));
        }
        let track = match self.admit_track(sid, &request) {
            Ok(kind) => Track::new(&request, kind, &mut self.rng),
            Err((reason, message)) => {
                let message = message.to_owned();
                let request = Some(Request::AddTrack(request));
                let response = RequestResponse {
                    request_id: 0,
                    reason: reason.into(),
                    message,
                    request,
                };
                return self.send(sid, Message::RequestResponse(response));
            }
        };
        let published = [Some(track.media.clone()), track.backup_for_media()];
        let response = TrackPublishedResponse {
            cid: request.cid,
            track: Some(track.info.clone()),
        };
        self.tracks.insert(track.sid, sid);
        if let Some(participant) = self.participants.get_mut(&sid) {
            participant.tracks.push(track);
        }
        self.send(sid, Message::TrackPublished(response));
        for track in published.into_iter().flatten() {
            self.command(sfu::TrackCommand::Publish { peer: sid, track });
        }
    }

    /// Whether the track was announced before. A request that was sent twice is answered twice.
    fn announced_before(
        &self,
        sid: ParticipantSid,
        request: &AddTrackRequest,
    ) -> Option<TrackPublishedResponse> {
        let tracks = &self.participants.get(&sid)?.tracks;
        let track = tracks
            .iter()
            .find(|track| !track.bound && track.cid == request.cid)?;
        Some(TrackPublishedResponse {
            cid: request.cid.clone(),
            track: Some(track.info.clone()),
        })
    }

    fn admit_track(
        &self,
        sid: ParticipantSid,
        request: &AddTrackRequest,
    ) -> Result<MediaKind, (Reason, &'static str)> {
        let Some(participant) = self.participants.get(&sid) else {
            return Err((Reason::NotFound, "participant does not exist"));
        };
        let kind = match TrackType::try_from(request.r#type) {
            Ok(TrackType::Audio) => MediaKind::Audio,
            Ok(TrackType::Video) => MediaKind::Video,
            _ => return Err((Reason::UnsupportedType, "tracks are audio or video")),
        };
        if !participant.can_publish(request.source(), kind) {
            return Err((Reason::NotAllowed, "does not have permission to publish"));
        }
        if !self.is_encrypted_as_it_must_be(request) {
            return Err((Reason::NotAllowed, "frames are encrypted in this meeting"));
        }
        if is_too_long(request) || request.cid.is_empty() {
            return Err((Reason::InvalidRequest, "malformed track"));
        }
        if participant.tracks.len() >= self.config.max_tracks {
            return Err((Reason::LimitExceeded, "too many tracks"));
        }
        Ok(kind)
    }

    /// The track is part of an offer: others may be told of it.
    pub(crate) fn track_bound(
        &mut self,
        sid: ParticipantSid,
        track: TrackSid,
        mid: String,
        codec: TrackCodec,
        now: Instant,
    ) {
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        let (visible, active) = (participant.is_visible(), participant.state == State::Active);
        let Some(track_state) = participant.track_mut(track) else {
            return;
        };
        if track_state.bound && (&track_state.info.mid, &track_state.encoding) == (&mid, &codec) {
            return;
        }
        let is_new = !track_state.bound;
        track_state.bind(mid, codec);
        let track_info = track_state.info.clone();
        let publisher = (is_new && active).then(|| participant.info());
        self.recount(sid);
        if let Some(publisher) = publisher {
            self.notify_published(&publisher, track_info, now);
        }
        if visible {
            // Subscriptions to the track begin when the `update` is out.
            self.announce(sid, false);
        } else {
            self.forward_changes(sid);
        }
        self.update_audio_codecs(track);
    }

    /// The track is gone from the publisher's offer, or may not be published any more.
    pub(crate) fn unpublish(&mut self, sid: ParticipantSid, track: TrackSid, now: Instant) {
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        let Some(index) = participant
            .tracks
            .iter()
            .position(|candidate| candidate.sid == track)
        else {
            return;
        };
        let removed = participant.tracks.remove(index);
        let publisher = (participant.state == State::Active).then(|| participant.info());
        self.recount(sid);
        if let Some(publisher) = publisher.filter(|_| removed.bound) {
            self.notify_unpublished(&publisher, removed.info.clone(), now);
        }
        self.forget_track(track);
        self.command(sfu::TrackCommand::Unpublish { peer: sid, track });
        if removed.bound {
            self.announce(sid, false);
        }
    }

    /// The publisher's offer has no codec for the track: it is told so, and the track ends.
    pub(crate) fn track_refused(&mut self, sid: ParticipantSid, track: TrackSid, now: Instant) {
        if self.backup_unbound(sid, track) {
            return;
        }
        let participant = self.participants.get_mut(&sid);
        let Some(refused) = participant.and_then(|participant| participant.track_mut(track)) else {
            return;
        };
        let request = AddTrackRequest {
            cid: refused.cid.clone(),
            name: refused.info.name.clone(),
            r#type: refused.info.r#type,
            source: refused.info.source,
            ..AddTrackRequest::default()
        };
        tracing::info!(participant = %sid, %track, "no codec of the track is known");
        let response = RequestResponse {
            request_id: 0,
            reason: Reason::UnsupportedType.into(),
            message: "the offer has no codec for the track that the server knows".to_owned(),
            request: Some(Request::AddTrack(request)),
        };
        self.send(sid, Message::RequestResponse(response));
        self.send(
            sid,
            Message::TrackUnpublished(TrackUnpublishedResponse {
                track_sid: track.to_string(),
            }),
        );
        self.unpublish(sid, track, now);
    }

    /// Ends the tracks that the participant's permissions do not cover any more.
    pub(crate) fn unpublish_forbidden(&mut self, sid: ParticipantSid, now: Instant) {
        let Some(participant) = self.participants.get(&sid) else {
            return;
        };
        let forbidden = participant
            .tracks
            .iter()
            .filter(|track| !participant.can_publish(track.info.source(), track.media.kind));
        let forbidden: Vec<_> = forbidden.map(|track| track.sid).collect();
        for track in forbidden {
            self.send(
                sid,
                Message::TrackUnpublished(TrackUnpublishedResponse {
                    track_sid: track.to_string(),
                }),
            );
            self.unpublish(sid, track, now);
        }
    }

    pub(crate) fn mute_own(&mut self, sid: ParticipantSid, mute: &MuteTrackRequest) {
        if let Ok(track) = mute.sid.parse() {
            self.set_muted(sid, track, mute.muted, false);
        }
    }

    /// Mutes or unmutes a track. The publisher is told where it did not ask for it. False when the track is unknown.
    pub(crate) fn set_muted(
        &mut self,
        sid: ParticipantSid,
        track: TrackSid,
        muted: bool,
        tell: bool,
    ) -> bool {
        let Some(participant) = self.participants.get_mut(&sid) else {
            return false;
        };
        let Some(state) = participant.track_mut(track) else {
            return false;
        };
        if state.info.muted == muted {
            return true;
        }
        state.info.muted = muted;
        let bound = state.bound;
        self.command(sfu::TrackCommand::SetMuted {
            peer: sid,
            track,
            muted,
        });
        if tell {
            // The publisher hears before the `update` is out: a client that finds another state there than its own
            // corrects the server.
            self.send(
                sid,
                Message::Mute(MuteTrackRequest {
                    sid: track.to_string(),
                    muted,
                }),
            );
        }
        if bound {
            self.announce(sid, tell);
        }
        true
    }

    pub(crate) fn update_audio_track(
        &mut self,
        sid: ParticipantSid,
        update: UpdateLocalAudioTrack,
    ) {
        let features = known(update.features());
        self.update_track(sid, &update.track_sid, |info| {
            if features.len() <= MAX_LAYERS {
                info.audio_features = features;
            }
        });
    }

    pub(crate) fn update_video_track(
        &mut self,
        sid: ParticipantSid,
        update: &UpdateLocalVideoTrack,
    ) {
        self.update_track(sid, &update.track_sid, |info| {
            (info.width, info.height) = (update.width, update.height);
        });
    }

    fn update_track(
        &mut self,
        sid: ParticipantSid,
        track: &str,
        change: impl FnOnce(&mut TrackInfo),
    ) {
        let Ok(track) = track.parse() else { return };
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        let Some(track) = participant.track_mut(track) else {
            return;
        };
        change(&mut track.info);
        if track.bound {
            self.announce(sid, false);
        }
    }

    pub(crate) fn refuse_blob(&mut self, sid: ParticipantSid, request_id: u32) {
        let response = RequestResponse {
            request_id,
            reason: Reason::NotAllowed.into(),
            // The text of LiveKit's server where blobs are off.
            message: "data blob not enabled".to_owned(),
            ..RequestResponse::default()
        };
        self.send(sid, Message::RequestResponse(response));
    }
}
