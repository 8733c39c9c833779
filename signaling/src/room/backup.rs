//! Backup codecs: a publisher announces with `add_track` a second codec for its picture, and publishes it with another
//! `add_track`, which names the track, when a `subscribed_quality_update` asks for it.
//!
//! To the media engine a backup is a track of its own, with a sid that stays here: clients know the one track in two
//! codecs.

use protocol::{
    ParticipantSid, TrackSid, codec,
    livekit::{
        AddTrackRequest, RequestResponse, SimulcastCodecInfo, TrackPublishedResponse,
        request_response::{Reason, Request},
        signal_response::Message,
    },
};
use sfu::MediaKind;

use crate::{add_track::is_too_long, backup::Backup, room::Room, track::Track};

impl Room {
    /// Takes an `add_track` that names a track: its backup is about to be sent.
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
            self.command(sfu::TrackCommand::Publish { peer: sid, track });
        }
    }

    /// Checks the request. Returns the track, and whether the backup is new: a request that was sent twice is answered
    /// twice.
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

    /// A track of the media engine is part of an offer. False: it is no backup.
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

    /// A backup is gone from the offer, and is again as it was when it was announced. False: the track is no backup.
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
