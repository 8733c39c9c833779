//! Backups, which are pictures in a second codec: the choice of the codec that subscribers' sections should carry.

use protocol::{ParticipantSid, TrackSid};

use super::{Negotiator, track::Track};
use crate::{
    api::{ConnectionCommand, MediaKind, PublishedTrack, TrackCodec, TrackCommand},
    codec::Codec,
};

/// The fmtp of H.264 where the stream is not known yet: a variant that all browsers decode.
const ANY_H264: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";

impl Negotiator {
    /// The track that the announced one is the backup of, if the announcement is true: a picture of the same publisher,
    /// with no other backup. `Ok(None)` for an ordinary track.
    pub(super) fn backed_up(
        &self,
        publisher: ParticipantSid,
        track: &PublishedTrack,
    ) -> Result<Option<TrackSid>, NoSuchTrack> {
        let Some(of) = &track.backup_of else {
            return Ok(None);
        };
        let is_fit = |first: &Track| {
            first.publisher == publisher
                && first.announced.kind == MediaKind::Video
                && track.kind == MediaKind::Video
                && first.backup.is_none()
                && first.announced.backup_of.is_none()
        };
        match self.tracks.get(&of.track).is_some_and(is_fit) {
            true => Ok(Some(of.track)),
            false => Err(NoSuchTrack),
        }
    }

    /// A backup is announced once more: its publisher is about to send it.
    pub(super) fn announce_backup(&mut self, peer: ParticipantSid, announced: PublishedTrack) {
        let sid = announced.sid;
        let Some(track) = self.tracks.get_mut(&sid) else {
            return;
        };
        let is_backup = track.announced.backup_of.is_some() && announced.backup_of.is_some();
        let member = self.members.get_mut(&peer);
        let Some(member) = member.filter(|_| is_backup && track.publisher == peer) else {
            return;
        };
        let outcome = member.publisher.negotiation.publish(&announced);
        track.announced = announced.clone();
        let track = announced;
        self.pass(TrackCommand::Publish { peer, track });
        self.after_publish(peer, sid, outcome);
    }

    /// The codecs in which a track is available, in the order in which its subscribers should be offered them; and
    /// whether a new subscription begins with the backup.
    pub(super) fn codecs(&self, track: TrackSid) -> (Vec<TrackCodec>, bool) {
        let Some(first) = self.tracks.get(&track) else {
            return (Vec::new(), false);
        };
        let plain = |codec: TrackCodec| TrackCodec { red: None, ..codec };
        let mut codecs: Vec<_> = first.codec.clone().map(plain).into_iter().collect();
        let Some(backup) = first.backup.and_then(|sid| self.tracks.get(&sid)) else {
            return (codecs, false);
        };
        codecs.push(codec_of(backup));
        if first.regressed {
            codecs.reverse();
        }
        (codecs, first.regressed)
    }

    /// The codecs of a track, or their order, changed: the negotiations of its subscribers are told.
    pub(super) fn codecs_changed(&mut self, track: TrackSid) {
        let first = self.first_of(track);
        let Some(known) = self.tracks.get(&first).filter(|t| t.backup.is_some()) else {
            return;
        };
        let (codecs, _) = self.codecs(first);
        for subscriber in known.subscribers.keys() {
            if let Some(member) = self.members.get_mut(subscriber) {
                member.receiver().negotiation.set_codecs(first, &codecs);
                self.changed.insert(*subscriber);
            }
        }
    }

    /// A backup is being sent. Where one codec is to be sent rather than two, the backup is the one from now on and for
    /// good: changing with every subscriber that comes or goes would cost everybody a pause each time.
    pub(super) fn backup_woke(&mut self, track: TrackSid) {
        let of = self.tracks.get(&track).and_then(|t| t.announced.backup_of);
        let Some(of) = of.filter(|of| of.for_all) else {
            return;
        };
        if self.receivers_of_backup(of.track).is_empty() {
            return;
        }
        let first = self.tracks.get_mut(&of.track);
        if let Some(first) = first.filter(|first| !first.regressed) {
            first.regressed = true;
            self.codecs_changed(of.track);
        }
    }

    /// A section of the publisher is gone. If it carried a backup, that is again as it was when it was announced:
    /// subscribers that need it ask for it again.
    pub(super) fn backup_unbound(&mut self, peer: ParticipantSid, track: TrackSid) {
        let first = self.first_of(track);
        if first == track {
            return;
        }
        if let Some(backup) = self.tracks.get_mut(&track) {
            backup.codec = None;
        }
        if let Some(first) = self.tracks.get_mut(&first) {
            first.regressed = false;
        }
        self.pass(ConnectionCommand::Unbind { peer, track });
        self.codecs_changed(first);
    }

    /// The track that `track` is the backup of, or `track` itself.
    pub(super) fn first_of(&self, track: TrackSid) -> TrackSid {
        let of = self.tracks.get(&track).and_then(|t| t.announced.backup_of);
        of.map(|of| of.track)
            .filter(|first| self.tracks.contains_key(first))
            .unwrap_or(track)
    }

    /// The participants whose sections carry the backup of this track.
    pub(super) fn receivers_of_backup(&self, first: TrackSid) -> Vec<ParticipantSid> {
        let gets_it = |peer: &&ParticipantSid| {
            let sending = self.members.get(*peer).map(|member| &member.sending);
            let stream = sending.and_then(|sending| sending.get(&first));
            stream.is_some_and(|stream| stream.in_backup)
        };
        let subscribers = self.tracks.get(&first).map(|track| &track.subscribers);
        let subscribers = subscribers.into_iter().flat_map(|known| known.keys());
        subscribers.filter(gets_it).copied().collect()
    }
}

/// The announcement of a backup names no track that it can be the backup of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoSuchTrack;

/// The codec of a backup: the negotiated one, or else the announced one.
fn codec_of(backup: &Track) -> TrackCodec {
    if let Some(codec) = &backup.codec {
        return TrackCodec {
            red: None,
            ..codec.clone()
        };
    }
    let mime_type = backup.announced.mime_type.clone();
    let fmtp = match Codec::from_mime(&mime_type) {
        Some(Codec::H264) => ANY_H264,
        _ => "",
    };
    TrackCodec {
        mime_type,
        fmtp: fmtp.to_owned(),
        red: None,
    }
}
