//! A picture in two codecs: the first, and a backup for subscribers that cannot decode it.
//!
//! Each is an [`UpTrack`] of its own, with its layers, subscribers and wishes; a subscription is with the one or the
//! other. The codecs of its section decide with which: those of both are negotiated, the preferred one first. So a
//! backup that nobody needs is not wanted, hence not sent, and one that is needed is asked for like any layer.

use std::time::Instant;

use crate::{
    codec::Codec,
    keys::{DownTrackKey, UpTrackKey},
    shard::Shard,
    up_track::UpTrack,
};

impl Shard {
    /// Moves a subscription to the track's backup, or back to the track, as its section says.
    pub(crate) fn follow_codec(&mut self, down: DownTrackKey, in_backup: bool, now: Instant) {
        let Some(from) = self.downs.get(down).map(|d| d.up) else {
            return;
        };
        let first = self.first_of(from);
        let Some(backup) = self.ups.get(first).and_then(|track| track.backup) else {
            return;
        };
        let to = if in_backup { backup } else { first };
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
        if let Some(c) = self.connections.get_mut(d.subscriber) {
            c.pacer.forget(down);
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
    }

    /// The track that `up` is the backup of, or `up` itself.
    pub(crate) fn first_of(&self, up: UpTrackKey) -> UpTrackKey {
        let of = self.ups.get(up).and_then(|track| track.announced.backup_of);
        of.and_then(|of| self.tracks.get(&of.track).copied())
            .unwrap_or(up)
    }
}

/// The codec by which packets of the track are treated, or will be: nothing is sent before the codec is known.
pub(crate) fn codec_to_send(track: &UpTrack) -> Codec {
    let announced = Codec::from_mime(&track.announced.mime_type);
    track.codec.or(announced).unwrap_or(Codec::Vp8)
}
