//! Measurements of the quality of each participant's connection.

use std::time::Instant;

use crate::{
    api::{Event, MediaKind, Quality},
    connection::Connection,
    down_track::{DownTrack, Share},
    keys::{ConnectionKey, MemberKey},
    quality::{ENOUGH, JITTER, LAYER_SILENT, LOSS, LOST_AFTER, RAMP_UP, ROUND_TRIP, Turn, rate},
    shard::Shard,
    up_track::UpTrack,
};

impl Shard {
    /// Measures the quality of a connection, where it is time.
    pub(crate) fn measure_quality(&mut self, connection: ConnectionKey, now: Instant) {
        let Self {
            members,
            connections,
            ups,
            downs,
            ..
        } = self;
        let Some(c) = connections.get_mut(connection) else {
            return;
        };
        let Some(m) = members.get(c.member) else {
            return;
        };
        let is_connected = c.transport.is_connected();
        match c.quality.turn(is_connected, now) {
            Turn::Waits => return,
            // The connection was heard when it connected; packets after that count.
            Turn::Begins => return c.watch.heard(now),
            Turn::Measures => {}
        }
        let mut quality = rate(c.quality.take_loss(), LOSS).min(rate(m.rtt, ROUND_TRIP));
        let (mut expected, mut received, mut should_send) = (0, 0, false);
        for up in m.ups_on(connection) {
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
        for down in &c.downs {
            if let Some(d) = downs.get(*down) {
                quality = quality.min(of_share(d, ups.get(d.up)));
            }
        }
        if is_lost(c, is_connected, should_send, now) {
            quality = Quality::Lost;
        }
        if c.quality.judge(quality).is_some() {
            let member = c.member;
            self.tell_quality(member);
        }
    }

    /// A client restarts ICE, and is not told any more that it is lost: clients that are told so for ten seconds give
    /// up.
    pub(crate) fn quality_restarted(&mut self, connection: ConnectionKey, now: Instant) {
        let Some(c) = self.connections.get_mut(connection) else {
            return;
        };
        if c.quality.restarted(now) {
            let member = c.member;
            self.tell_quality(member);
        }
    }

    /// Tells a participant its quality: with two connections, the worse of both.
    fn tell_quality(&mut self, member: MemberKey) {
        let Some(m) = self.members.get(member) else {
            return;
        };
        let of = |key| self.connections.get(key)?.quality.told();
        if let Some(quality) = m.connections().filter_map(of).min() {
            let peer = m.sid;
            self.events
                .push_back(Event::QualityChanged { peer, quality });
        }
    }
}

fn is_lost(c: &Connection, is_connected: bool, should_send: bool, now: Instant) -> bool {
    !is_connected || (should_send && c.watch.silent(now) >= LOST_AFTER)
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

/// The quality by pictures that the client's network does not carry, or not as large as wanted.
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
