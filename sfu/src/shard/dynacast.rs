//! The verbs of dynacast: publishers are asked for the layers that somebody wants.

use std::time::Instant;

use crate::{
    api::{Event, MediaKind, RelayRequest, SpatialLayer, TrackSetting},
    keys::{DownTrackKey, UpTrackKey},
    shard::Shard,
    up_track::{SPATIAL, UpTrack},
};

impl Shard {
    /// A subscription is new, or its wish changed. A higher layer is asked for at once.
    pub(crate) fn wish_changed(&mut self, down: DownTrackKey, now: Instant) {
        let Some(d) = self.downs.get(down) else {
            return;
        };
        let Some(track) = self.ups.get_mut(d.up) else {
            return;
        };
        track.dynacast.touch();
        if wish(track, &d.setting) > track.dynacast.wanted() {
            self.review_wishes(d.up, now);
        }
    }

    /// A room of another shard wants these layers of a track.
    pub(crate) fn wanted_elsewhere(
        &mut self,
        up: UpTrackKey,
        wanted: Option<SpatialLayer>,
        now: Instant,
    ) {
        let Some(track) = self.ups.get_mut(up) else {
            return;
        };
        track.dynacast.touch();
        if wanted > track.dynacast.wanted() {
            self.review_wishes(up, now);
        }
    }

    /// Tells the publisher which layers of a track are wanted, where that changed.
    pub(crate) fn review_wishes(&mut self, up: UpTrackKey, now: Instant) {
        let Self {
            ups, downs, events, ..
        } = self;
        let Some(track) = ups.get_mut(up) else { return };
        if track.kind != MediaKind::Video {
            return;
        }
        let repeats = track.codec.is_none() && track.dynacast.must_repeat(now);
        if !repeats && !track.dynacast.is_due(now) {
            return;
        }
        let subscriptions = track.fanout.downs().iter();
        let here = subscriptions.filter_map(|down| wish(track, &downs.get(*down)?.setting));
        let elsewhere = track.taps.iter().filter_map(|tap| tap.wanted);
        let wanted = here.chain(elsewhere).max();
        if !track.dynacast.decide(wanted, now) && !repeats {
            return;
        }
        let wanted = track.dynacast.wanted();
        let Some(publisher) = self.members.get(track.publisher) else {
            return;
        };
        let (peer, track) = (publisher.sid, track.sid);
        match publisher.source {
            Some(source) => {
                let relayed = track;
                let request = RelayRequest::Want { relayed, wanted };
                self.relay.requests.push_back((source, request));
            }
            None => events.push_back(Event::WantedLayersChanged {
                peer,
                track,
                wanted,
            }),
        }
    }
}

fn wish(track: &UpTrack, setting: &TrackSetting) -> Option<SpatialLayer> {
    let highest = usize::from(track.highest_wanted(setting).min(2));
    (!setting.disabled).then_some(SPATIAL[highest])
}
