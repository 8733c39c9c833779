//! A picture in two codecs: the first, and a backup for subscribers that cannot decode it.
//!
//! Each is an [`UpTrack`] of its own, with its layers, subscribers and wishes; a subscription is with the one or the other.
//! Which, the codecs of its section decide: those of both are negotiated, the preferred one first. So a backup that nobody
//! needs is not wanted, hence not sent, and one that is needed is asked for like any layer.

use std::time::Instant;

use crate::{
    api::{MediaKind, PublishedTrack, TrackCodec},
    codec::Codec,
    dynacast::Dynacast,
    keys::{DownTrackKey, PeerKey, UpTrackKey},
    shard::Shard,
    up_track::UpTrack,
};

/// What a decoder of H.264 must do where the stream is not known yet: what all browsers can.
const ANY_H264: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";

impl Shard {
    /// The track this one is the backup of, if the announcement is true: a picture of the same publisher, with no other
    /// backup. `Ok(None)` for an ordinary track.
    pub(crate) fn backed_up(
        &self,
        publisher: PeerKey,
        track: &PublishedTrack,
    ) -> Result<Option<UpTrackKey>, NoSuchTrack> {
        let Some(of) = &track.backup_of else {
            return Ok(None);
        };
        let first = self.tracks.get(&of.track).copied();
        let is_fit = |first: &UpTrack| {
            first.publisher == publisher
                && first.kind == MediaKind::Video
                && track.kind == MediaKind::Video
                && first.backup.is_none()
                && first.announced.backup_of.is_none()
        };
        first
            .filter(|first| self.ups.get(*first).is_some_and(is_fit))
            .map(Some)
            .ok_or(NoSuchTrack)
    }

    /// A backup is announced once more: its publisher is about to send it.
    pub(crate) fn announce_backup(&mut self, up: UpTrackKey, announced: PublishedTrack) {
        let Some(track) = self.ups.get_mut(up) else {
            return;
        };
        if track.announced.backup_of.is_none() || announced.backup_of.is_none() {
            return;
        }
        let Some(p) = self.peers.get_mut(track.publisher) else {
            return;
        };
        let outcome = p.negotiation.publish(&announced);
        p.take_over_sections();
        let (publisher, sid) = (track.publisher, track.sid);
        track.announced = announced;
        self.after_publish(publisher, sid, outcome);
    }

    /// The codecs in which there is the track, as its subscribers should be offered them; and where a new subscription
    /// begins. Both for `up` that is the first of the two.
    pub(crate) fn codecs(&self, up: UpTrackKey) -> (Vec<TrackCodec>, UpTrackKey) {
        let Some(first) = self.ups.get(up) else {
            return (Vec::new(), up);
        };
        let mut codecs = vec![TrackCodec {
            mime_type: first.mime_type.clone(),
            fmtp: first.fmtp.clone(),
            red: None,
        }];
        let backup = first.backup.and_then(|key| Some((key, self.ups.get(key)?)));
        let Some((key, backup)) = backup else {
            return (codecs, up);
        };
        codecs.push(codec_of(backup));
        if !first.regressed {
            return (codecs, up);
        }
        codecs.reverse();
        (codecs, key)
    }

    /// The codecs of a track, or their order, changed: its subscribers are told.
    pub(crate) fn codecs_changed(&mut self, up: UpTrackKey) {
        let first = self.first_of(up);
        let Some(track) = self.ups.get(first).filter(|track| track.backup.is_some()) else {
            return;
        };
        let sid = track.sid;
        let (codecs, _) = self.codecs(first);
        let both = [Some(first), track.backup].into_iter().flatten();
        let downs = both.filter_map(|key| Some(self.ups.get(key)?.fanout.downs().to_vec()));
        let downs: Vec<_> = downs.flatten().collect();
        for down in downs {
            let subscriber = self.downs.get(down).map(|d| d.subscriber);
            let Some(subscriber) = subscriber else {
                continue;
            };
            if let Some(p) = self.peers.get_mut(subscriber) {
                p.negotiation.set_codecs(sid, &codecs);
            }
            self.negotiate(subscriber);
        }
    }

    /// The section of a subscription carries this codec: it gets the track in that.
    pub(crate) fn follow_codec(&mut self, down: DownTrackKey, mime_type: &str, now: Instant) {
        let Some(from) = self.downs.get(down).map(|d| d.up) else {
            return;
        };
        let first = self.first_of(from);
        let Some(track) = self.ups.get(first) else {
            return;
        };
        let Some(backup) = track.backup else { return };
        let to = match track.mime_type.eq_ignore_ascii_case(mime_type) {
            true => first,
            false => backup,
        };
        if to != from {
            self.move_down_track(down, to, now);
        }
    }

    fn move_down_track(&mut self, down: DownTrackKey, to: UpTrackKey, now: Instant) {
        self.leave_fanout(down);
        let (Some(d), Some(track)) = (self.downs.get_mut(down), self.ups.get_mut(to)) else {
            return;
        };
        track.full_ears += usize::from(d.hears_all);
        d.begin_with(to, track.fanout.add(down), codec_to_send(track));
        if let Some(p) = self.peers.get_mut(d.subscriber) {
            p.pacer.forget(down);
        }
        self.retarget(down);
        self.wish_changed(down, now);
    }

    /// A backup found its section: its codec is known for certain.
    pub(crate) fn backup_bound(&mut self, up: UpTrackKey) {
        let Some(track) = self.ups.get(up) else {
            return;
        };
        let codec = codec_to_send(track);
        if track.announced.backup_of.is_some() {
            for down in track.fanout.downs() {
                if let Some(d) = self.downs.get_mut(*down) {
                    d.set_codec(codec);
                }
            }
        }
        self.codecs_changed(up);
    }

    /// A backup is there. Where one codec is to be sent rather than two, it is this one from now on and for good: going
    /// back and forth with those who come and go would cost everybody a pause each time.
    pub(crate) fn backup_woke(&mut self, up: UpTrackKey) {
        let first = self.first_of(up);
        let backup = self.ups.get(up).filter(|_| first != up);
        let Some(backup) = backup.filter(|backup| !backup.fanout.downs().is_empty()) else {
            return;
        };
        let for_all = backup.announced.backup_of.is_some_and(|of| of.for_all);
        if let Some(track) = self.ups.get_mut(first).filter(|track| !track.regressed)
            && for_all
        {
            track.regressed = true;
            self.codecs_changed(first);
        }
    }

    /// A section of the publisher is gone. A backup is as it was announced: who needs it asks for it again.
    pub(crate) fn backup_unbound(&mut self, up: UpTrackKey) {
        let first = self.first_of(up);
        let Some(track) = self.ups.get_mut(up).filter(|_| first != up) else {
            return;
        };
        track.codec = None;
        track.dynacast = Dynacast::of_backup();
        if let Some(first) = self.ups.get_mut(first) {
            first.regressed = false;
        }
        self.codecs_changed(first);
    }

    /// Of a track and its backup, the track.
    pub(crate) fn first_of(&self, up: UpTrackKey) -> UpTrackKey {
        let of = self.ups.get(up).and_then(|track| track.announced.backup_of);
        of.and_then(|of| self.tracks.get(&of.track).copied())
            .unwrap_or(up)
    }
}

/// A backup of nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoSuchTrack;

/// The codec of a backup: as negotiated, or as announced.
fn codec_of(backup: &UpTrack) -> TrackCodec {
    if backup.codec.is_some() {
        return TrackCodec {
            mime_type: backup.mime_type.clone(),
            fmtp: backup.fmtp.clone(),
            red: None,
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

/// How packets of the track are treated, or will be: nothing is sent of a codec that nobody knows.
pub(crate) fn codec_to_send(track: &UpTrack) -> Codec {
    let announced = Codec::from_mime(&track.announced.mime_type);
    track.codec.or(announced).unwrap_or(Codec::Vp8)
}
