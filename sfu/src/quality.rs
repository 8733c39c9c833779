//! How good each participant's connection is, from what is measured: losses both ways, round trip time, jitter of its
//! sound, layers its network or processor does not manage, pictures that its network does not carry.
//!
//! It gets worse at once and better only when it has been so for two measurements: nobody needs a display that flickers.

use std::time::{Duration, Instant};

use protocol::ParticipantSid;

use crate::{
    api::{Event, MediaKind, Quality},
    down_track::{DownTrack, Share},
    peer::Peer,
    shard::{PeerKey, Shard},
    up_track::UpTrack,
};

/// Time between two measurements.
const INTERVAL: Duration = Duration::from_secs(4);

/// Of a participant that should send, nothing at all came for this long: neither media nor the reports that clients send
/// every few seconds even where they have nothing to send.
const LOST_AFTER: Duration = Duration::from_secs(8);

/// Fewer packets say nothing of loss.
const ENOUGH: u64 = 20;

/// A layer that was asked for may take so long to begin: encoders find out first what the network carries.
const RAMP_UP: Duration = Duration::from_secs(15);

/// A layer that sent nothing for this long is not sent.
const LAYER_SILENT: Duration = Duration::from_secs(2);

/// Share of lost packets from which on a connection is not excellent, and from which on not good. Up to the first all is
/// repaired without anybody noticing, above the second voices break.
const LOSS: [f64; 2] = [0.02, 0.08];

/// The same of the round trip time: from about 300 ms people interrupt each other, …
const ROUND_TRIP: [Duration; 2] = [Duration::from_millis(350), Duration::from_millis(800)];

/// … and of the jitter of sound, which receivers turn into delay.
const JITTER: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];

/// The measurements of one peer.
#[derive(Debug, Default)]
pub struct QualityMeter {
    /// `None` until it connected.
    next: Option<Instant>,
    told: Option<Quality>,
    /// It was better than told, the last time.
    was_better: bool,
    /// What its receiver reports said since the last measurement: shares of lost packets in 1/256, and how many.
    reported: (u32, u32),
}

impl QualityMeter {
    /// One of its reports on a stream. `fraction_lost` in 1/256.
    pub fn reported(&mut self, fraction_lost: u8) {
        self.reported.0 += u32::from(fraction_lost);
        self.reported.1 += 1;
    }

    fn take_loss(&mut self) -> f64 {
        let (sum, count) = std::mem::take(&mut self.reported);
        f64::from(sum) / 256.0 / f64::from(count.max(1))
    }

    /// Its network changed: what was lost may come back, and is measured anew. True where that has to be told.
    fn restarted(&mut self, now: Instant) -> bool {
        let was_lost = self.told == Some(Quality::Lost);
        if was_lost {
            self.told = Some(Quality::Poor);
            self.next = Some(now + INTERVAL);
        }
        was_lost
    }

    /// What to tell, where that changed. Everybody begins excellent.
    fn judge(&mut self, quality: Quality) -> Option<Quality> {
        let told = self.told.unwrap_or(Quality::Excellent);
        let is_better = quality > told;
        let waits = is_better && told != Quality::Lost && !self.was_better;
        self.was_better = is_better;
        if quality == told || waits {
            return None;
        }
        self.was_better = false;
        self.told = Some(quality);
        Some(quality)
    }
}

impl Shard {
    /// Measures how good a peer's connection is, where it is time.
    pub(crate) fn measure_quality(&mut self, peer: PeerKey, now: Instant) {
        let Self {
            peers, ups, downs, ..
        } = self;
        let Some(p) = peers.get_mut(peer) else { return };
        let is_connected = p.transport.is_connected();
        match p.quality.next {
            None if !is_connected => return,
            None => {
                // It was heard when it connected; what comes after that counts.
                p.watch.heard(now);
                return p.quality.next = Some(now + INTERVAL);
            }
            Some(next) if now < next => return,
            Some(_) => p.quality.next = Some(now + INTERVAL),
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

    /// A peer restarts ICE. Clients that are told for ten seconds that they are lost give up.
    pub(crate) fn quality_restarted(&mut self, peer: PeerKey, now: Instant) {
        let Some(p) = self.peers.get_mut(peer) else {
            return;
        };
        if p.quality.restarted(now) {
            let sid = p.sid;
            self.tell_quality(sid);
        }
    }

    /// A participant with two connections is as well off as the worse of them lets it.
    fn tell_quality(&mut self, sid: ParticipantSid) {
        let first = self.sids.get(&sid).copied();
        let of = |key: Option<PeerKey>| self.peers.get(key?)?.quality.told;
        let quality = [first, self.subscriber(sid)].into_iter().filter_map(of);
        if let Some(quality) = quality.min() {
            self.events
                .push_back(Event::QualityChanged { peer: sid, quality });
        }
    }
}

fn rate<T: PartialOrd>(measured: T, limits: [T; 2]) -> Quality {
    match limits {
        [good, _] if measured < good => Quality::Excellent,
        [_, poor] if measured < poor => Quality::Good,
        _ => Quality::Poor,
    }
}

fn is_lost(p: &Peer, is_connected: bool, should_send: bool, now: Instant) -> bool {
    !is_connected || (should_send && p.watch.silent(now) >= LOST_AFTER)
}

/// Layers that were sent and are wanted, and are sent no longer while others are: the sender's network or processor does
/// not manage them.
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

/// Pictures that the peer's network does not carry, or not as large as wanted.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gets_worse_at_once_and_better_after_a_while() {
        let mut meter = QualityMeter::default();
        assert_eq!(meter.judge(Quality::Excellent), None);
        assert_eq!(meter.judge(Quality::Poor), Some(Quality::Poor));
        assert_eq!(meter.judge(Quality::Good), None);
        assert_eq!(meter.judge(Quality::Poor), None);
        assert_eq!(meter.judge(Quality::Excellent), None);
        assert_eq!(meter.judge(Quality::Good), Some(Quality::Good));
        assert_eq!(meter.judge(Quality::Lost), Some(Quality::Lost));
        assert_eq!(meter.judge(Quality::Good), Some(Quality::Good), "at once");
    }

    #[test]
    fn losses_are_rated_by_the_share_of_all_reports() {
        let mut meter = QualityMeter::default();
        assert_eq!(rate(meter.take_loss(), LOSS), Quality::Excellent);
        for (reports, expected) in [
            (vec![0, 0, 12], Quality::Excellent),
            (vec![8, 12, 10], Quality::Good),
            (vec![0, 60, 20], Quality::Poor),
        ] {
            reports.into_iter().for_each(|lost| meter.reported(lost));
            assert_eq!(rate(meter.take_loss(), LOSS), expected);
        }
    }
}
