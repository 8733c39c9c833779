//! Measurements of the quality of each participant's connection.

use std::time::Instant;

use protocol::ParticipantSid;

use crate::{
    api::{Event, MediaKind, Quality},
    down_track::{DownTrack, Share},
    keys::PeerKey,
    peer::Peer,
    quality::{ENOUGH, JITTER, LAYER_SILENT, LOSS, LOST_AFTER, RAMP_UP, ROUND_TRIP, Turn, rate},
    shard::Shard,
    up_track::UpTrack,
};

impl Shard {
    /// Measures the quality of a peer's connection, where it is time.
    pub(crate) fn measure_quality(&mut self, peer: PeerKey, now: Instant) {
        let Self {
            peers, ups, downs, ..
        } = self;
        let Some(p) = peers.get_mut(peer) else { return };
        let is_connected = p.transport.is_connected();
        match p.quality.turn(is_connected, now) {
            Turn::Waits => return,
            // The peer was heard when it connected; packets after that count.
            Turn::Begins => return p.watch.heard(now),
            Turn::Measures => {}
        }
        let mut quality = rate(p.quality.take_loss(), LOSS).min(rate(p.rtt, ROUND_TRIP));
        let (mut expected, mut received, mut should_send) = (0, 0, false);
        for up in &p.ups {
            let Some(track) = ups.get_mut(*up) else {
                continue;
            };
            should_send |= track.should_flow();
            for open in track.layers.iter_mut().flatten() {
                let (expected_since, received_since) = open.stats.measure();
                expected += expected_since;
                received += received_since.min(expected_since);
                if track.kind == MediaKind::Audio {
                    quality = quality.min(rate(open.stats.jitter(), JITTER));
                }
            }
            quality = quality.min(of_layers(track, now));
        }
        if expected >= ENOUGH {
            quality = quality.min(rate((expected - received) as f64 / expected as f64, LOSS));
        }
        for down in &p.downs {
            if let Some(d) = downs.get(*down) {
                quality = quality.min(of_share(d, ups.get(d.up)));
            }
        }
        if is_lost(p, is_connected, should_send, now) {
            quality = Quality::Lost;
        }
        if p.quality.judge(quality).is_some() {
            let sid = p.sid;
            self.tell_quality(sid);
        }
    }

    /// A peer restarts ICE, and is not told any more that it is lost: clients that are told so for ten seconds give up.
    pub(crate) fn quality_restarted(&mut self, peer: PeerKey, now: Instant) {
        let Some(p) = self.peers.get_mut(peer) else {
            return;
        };
        if p.quality.restarted(now) {
            let sid = p.sid;
            self.tell_quality(sid);
        }
    }

    /// Tells a participant its quality: with two connections, the worse of both.
    fn tell_quality(&mut self, sid: ParticipantSid) {
        let first = self.sids.get(&sid).copied();
        let of = |key: Option<PeerKey>| self.peers.get(key?)?.quality.told();
        let quality = [first, self.subscriber(sid)].into_iter().filter_map(of);
        if let Some(quality) = quality.min() {
            self.events
                .push_back(Event::QualityChanged { peer: sid, quality });
        }
    }
}

fn is_lost(p: &Peer, is_connected: bool, should_send: bool, now: Instant) -> bool {
    !is_connected || (should_send && p.watch.silent(now) >= LOST_AFTER)
}

/// The quality by layers that were sent and are wanted, and are sent no longer while others are: the sender's network
/// or processor does not manage them.
fn of_layers(track: &UpTrack, now: Instant) -> Quality {
    let Some(wanted) = track.dynacast.wanted() else {
        return Quality::Excellent;
    };
    let settled = track
        .dynacast
        .changed_at()
        .is_none_or(|at| now >= at + RAMP_UP);
    if track.muted || !settled || !track.flows(LAYER_SILENT, now) {
        return Quality::Excellent;
    }
    let known = track.layers[..=wanted as usize].iter().flatten();
    let missing = known.filter(|open| {
        open.last_packet
            .is_none_or(|(_, at)| now >= at + LAYER_SILENT)
    });
    match missing.count() {
        0 => Quality::Excellent,
        1 => Quality::Good,
        _ => Quality::Poor,
    }
}

/// The quality by pictures that the peer's network does not carry, or not as large as wanted.
fn of_share(d: &DownTrack, track: Option<&UpTrack>) -> Quality {
    let Some(track) = track.filter(|track| track.should_flow() && !d.setting.disabled) else {
        return Quality::Excellent;
    };
    match d.share {
        Share::Paused => Quality::Poor,
        Share::UpTo(layer) if layer < track.highest_wanted(&d.setting) => Quality::Good,
        Share::UpTo(_) => Quality::Excellent,
    }
}
