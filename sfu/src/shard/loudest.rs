//! The verbs of the loudest voices: the tracks that are heard in a room where many talk.

use std::time::Instant;

use crate::loudest::{Loudest, Verdict};
use crate::{api::MediaKind, fanout::NO_LAYER, keys::UpTrackKey, shard::Shard};

impl Shard {
    /// Decides by the level of a packet whether its track is forwarded.
    pub(crate) fn rank_voice(&mut self, up: UpTrackKey, level: u8, now: Instant) {
        let Some(track) = self.ups.get(up) else {
            return;
        };
        let may_be_left_out = track.kind == MediaKind::Audio && !track.is_screen();
        let Some(router) = self
            .routers
            .get_mut(track.router)
            .filter(|_| may_be_left_out)
        else {
            return;
        };
        let owner = self.members.get(track.publisher).map(|m| m.principal);
        let owner = owner.unwrap_or(track.publisher);
        let verdict = router.loudest.hear(up, owner, level, now);
        self.set_audible(up, verdict != Verdict::NotAmongLoudest);
        if let Verdict::Replaces(other) = verdict {
            self.set_audible(other, false);
        }
    }

    /// Sets whether the track is among the loudest. A stream that begins again goes on without a gap: packets that were
    /// left out were not lost.
    pub(crate) fn set_audible(&mut self, up: UpTrackKey, audible: bool) {
        let Some(track) = self.ups.get_mut(up) else {
            return;
        };
        if std::mem::replace(&mut track.audible, audible) == audible {
            return;
        }
        for slot in 0..track.fanout.downs().len() {
            let down = track.fanout.downs()[slot];
            let Some(d) = self.downs.get_mut(down).filter(|d| !d.hears_all) else {
                continue;
            };
            if audible {
                d.rewriter.pause();
                track.fanout.set_current(slot, track.fanout.wanted(slot));
            } else {
                track.fanout.set_current(slot, NO_LAYER);
            }
        }
    }

    /// Sets the number of seats of a room; 0: everybody is heard.
    pub(crate) fn set_audio_top_n(&mut self, room: protocol::RoomSid, limit: usize) {
        let Some(key) = self.rooms.get(&room).copied() else {
            return;
        };
        if let Some(router) = self.routers.get_mut(key) {
            router.loudest = Loudest::new(limit);
        }
        let tracks: Vec<_> = self
            .ups
            .iter()
            .filter(|(_, track)| track.router == key)
            .map(|(up, _)| up)
            .collect();
        for up in tracks {
            self.set_audible(up, true);
        }
    }
}
