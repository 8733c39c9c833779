//! The use of each subscriber's network: feedback to the estimator, shares of the estimate to the subscriptions,
//! probes, and packets that waited.

use std::time::{Duration, Instant};

use super::forward::settle;
use crate::{
    allocator::{Demand, Priority, divide},
    api::{Event, MediaKind, SendBatch},
    bwe::Bitrate,
    connection::send::Outgoing,
    down_track::{DownTrack, Share},
    fanout::NO_LAYER,
    keys::{ConnectionKey, DownTrackKey},
    pacer::PACE,
    rtp::SeqNo,
    shard::Shard,
    stats::DropReason,
};

/// The time between two divisions of an estimate.
const ALLOCATION_INTERVAL: Duration = Duration::from_millis(100);

/// The share of the estimate that is given away: retransmissions need the rest.
const USABLE: f64 = 0.95;

/// A network is probed for this multiple of the wanted rate.
const WANTED: f64 = 1.1;

/// A picture is stopped at once, rather than at the key frame of a lower layer, when the network carries less than this
/// share of it.
const HOPELESS: f64 = 0.6;

/// The most packets of one burst of padding.
const MAX_PADDING_PACKETS: usize = 64;

impl Shard {
    /// Divides the estimate of one client's network anew where it is time, and probes where more is wanted.
    pub(crate) fn control_congestion(
        &mut self,
        connection: ConnectionKey,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(c) = self.connections.get_mut(connection) else {
            return;
        };
        let Some(estimator) = &c.estimator else {
            return;
        };
        let known = estimator.bitrate().into_iter();
        if let Some(bitrate) = known.chain(c.bandwidth_limit).min()
            && now >= c.next_allocation
        {
            c.next_allocation = now + ALLOCATION_INTERVAL;
            let mut downs = std::mem::take(&mut self.space.downs);
            downs.extend_from_slice(&c.downs);
            self.allocate(connection, bitrate, &downs, now);
            downs.clear();
            self.space.downs = downs;
        }
        self.probe(connection, now, out);
    }

    fn allocate(
        &mut self,
        connection: ConnectionKey,
        bitrate: Bitrate,
        downs: &[DownTrackKey],
        now: Instant,
    ) {
        let (mut pictures, mut demands) = (
            std::mem::take(&mut self.space.pictures),
            std::mem::take(&mut self.space.demands),
        );
        let (mut voices, mut redundancy) = (0, 0);
        for key in downs {
            match self.demand(*key, now) {
                Some(Wish::Sound {
                    primary,
                    redundancy: more,
                }) => {
                    voices += primary;
                    redundancy += more;
                }
                Some(Wish::Picture(demand)) => {
                    pictures.push(*key);
                    demands.push(demand);
                }
                None => {}
            }
        }
        let usable = (bitrate as f64 * USABLE) as Bitrate;
        let wanted = demands.iter().map(Demand::full_cost).sum::<Bitrate>() + voices + redundancy;
        let primary_only = self.thin_audio(connection, downs, wanted, usable);
        let sound = voices + if primary_only { 0 } else { redundancy };
        let budget = usable.saturating_sub(sound);
        let mut shares = std::mem::take(&mut self.space.shares);
        divide(budget, &demands, &mut shares);
        if let Some(c) = self.connections.get_mut(connection) {
            let wanted = (wanted as f64 * WANTED / USABLE) as Bitrate;
            c.wanted_bitrate = c.bandwidth_limit.map_or(wanted, |limit| wanted.min(limit));
        }
        for ((key, demand), share) in pictures.drain(..).zip(demands.drain(..)).zip(&shares) {
            self.give(key, &demand, *share, budget, now);
        }
        (self.space.pictures, self.space.demands, self.space.shares) = (pictures, demands, shares);
    }

    /// Redundant audio (RFC 2198) doubles a voice. Where pictures would suffer for it, voices go out once. Returns
    /// whether they do.
    fn thin_audio(
        &mut self,
        connection: ConnectionKey,
        downs: &[DownTrackKey],
        wanted: Bitrate,
        usable: Bitrate,
    ) -> bool {
        let Some(c) = self.connections.get_mut(connection) else {
            return false;
        };
        // Redundancy comes back when there is a little more than it needs.
        let needed = if c.primary_only {
            (wanted as f64 * WANTED) as Bitrate
        } else {
            wanted
        };
        c.primary_only = needed > usable;
        for key in downs {
            if let Some(d) = self.downs.get_mut(*key) {
                d.primary_only = c.primary_only;
            }
        }
        c.primary_only
    }

    /// The wish of a subscription; `None` where nothing flows whatever share it gets.
    fn demand(&self, key: DownTrackKey, now: Instant) -> Option<Wish> {
        let d = self.downs.get(key)?;
        let track = self.ups.get(d.up)?;
        if d.parameters.is_none() || d.setting.disabled || track.muted {
            return None;
        }
        if track.kind == MediaKind::Audio {
            let (primary, redundancy) = track.audio_rates(now);
            return Some(Wish::Sound {
                primary,
                redundancy: if d.takes_red() { redundancy } else { 0 },
            });
        }
        let rates = track.rates(now);
        let wanted = track.highest_wanted(&d.setting);
        let priority = if track.is_screen() {
            Priority::Screen
        } else {
            Priority::Camera(wanted)
        };
        let current = match d.share {
            Share::Paused => None,
            Share::UpTo(layer) => Some(layer),
        };
        rates
            .iter()
            .any(Option::is_some)
            .then_some(Wish::Picture(Demand {
                priority,
                layers: rates,
                wanted,
                current,
            }))
    }

    fn give(
        &mut self,
        key: DownTrackKey,
        demand: &Demand,
        share: Option<u8>,
        budget: Bitrate,
        now: Instant,
    ) {
        let Some(d) = self.downs.get_mut(key) else {
            return;
        };
        // A share of everything wanted is no limit: layers that appear later are welcome.
        let above = |layer: u8| {
            (layer + 1..=demand.wanted.min(2)).any(|l| demand.layers[usize::from(l)].is_some())
        };
        let share = match share {
            Some(layer) if !above(layer) => Share::ALL,
            Some(layer) => Share::UpTo(layer),
            None => Share::Paused,
        };
        if d.share == share {
            return;
        }
        let was_paused = d.share == Share::Paused;
        d.share = share;
        let (up, slot, track_sid, subscriber) = (d.up, d.slot, d.track, d.subscriber);
        let peer = self.connections.get(subscriber).map(|c| c.sid);
        if let Some(peer) = peer {
            tracing::debug!(participant = %peer, track = %track_sid, ?share, budget, demand = ?demand.layers, "share of the network");
        }
        let paused = share == Share::Paused;
        if was_paused != paused
            && let Some(peer) = peer
        {
            self.stats.paused += u64::from(paused);
            self.events.push_back(Event::StreamStateChanged {
                peer,
                track: track_sid,
                paused,
            });
        }
        self.retarget(key);
        let (Some(track), Some(d)) = (self.ups.get_mut(up), self.downs.get_mut(key)) else {
            return;
        };
        let (current, wanted) = (track.fanout.current(slot), track.fanout.wanted(slot));
        let open = track.layers.get(usize::from(current));
        let has = open.and_then(Option::as_ref).map(|open| {
            let spatial = d.filter.current().spatial;
            open.spatial.bitrate_within(spatial, now)
        });
        let waits = current != wanted || d.filter.awaits_key_frame();
        if waits && has.is_some_and(|has| (budget as f64) < has as f64 * HOPELESS) {
            track.fanout.set_current(slot, NO_LAYER);
            d.rewriter.pause();
            if let Some(c) = self.connections.get_mut(subscriber) {
                c.pacer.forget(key);
            }
        }
    }

    /// Sends padding where more is wanted than is known to fit. Where possible, padding is made of packets that were
    /// sent already, as retransmissions (RFC 4588): fewer packets, and a receiver that in fact misses one gains by it.
    fn probe(&mut self, connection: ConnectionKey, now: Instant, out: &mut impl SendBatch) {
        let Some(c) = self.connections.get_mut(connection) else {
            return;
        };
        let wanted = c.wanted_bitrate;
        let Some(estimator) = &mut c.estimator else {
            return;
        };
        let bytes = estimator.probe_bytes(wanted, c.pacer.is_empty(), now);
        if bytes == 0 {
            return;
        }
        let downs = c.downs.iter().copied();
        let carrier = downs.filter(|down| self.downs.get(*down).is_some_and(can_carry_padding));
        // A subscription that flows has packets to repeat.
        let newest = carrier.max_by_key(|down| self.downs.get(*down).map(|d| d.sent.0));
        if let Some(down) = newest {
            self.send_padding(down, bytes, now, out);
        }
    }

    fn send_padding(
        &mut self,
        down: DownTrackKey,
        bytes: usize,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let highest = self.downs.get(down).and_then(|d| d.rewriter.highest());
        let mut left = bytes;
        for back in 0..MAX_PADDING_PACKETS as u64 {
            if left == 0 {
                return;
            }
            // The newest few over and over: small pictures have few packets to choose from.
            let seq = highest.map(|highest| SeqNo(highest.saturating_sub(back % 16) as u16));
            let sent = seq
                .and_then(|seq| self.resend(down, seq, now, out))
                .or_else(|| self.pad(down, now, out));
            let Some(sent) = sent else { return };
            self.stats.padding_bytes += sent as u64;
            left = left.saturating_sub(sent);
        }
    }

    /// Sends one packet of nothing but padding, in the stream of retransmissions. Returns the bytes sent.
    fn pad(&mut self, down: DownTrackKey, now: Instant, out: &mut impl SendBatch) -> Option<usize> {
        let d = self.downs.get_mut(down)?;
        let c = self.connections.get_mut(d.subscriber)?;
        let outcome = c.send(down, d, &Outgoing::Padding, now, out);
        outcome.sent.map_err(|reason| self.stats.drop(reason)).ok()
    }

    /// Begins the pictures of a subscriber anew: too much waits for it.
    pub(crate) fn start_anew(&mut self, subscriber: ConnectionKey) {
        let Some(c) = self.connections.get_mut(subscriber) else {
            return;
        };
        while let Some(waiting) = c.pacer.pop() {
            self.stats.drop(DropReason::NetworkTooSlow);
            if let Some(d) = self.downs.get_mut(waiting.down)
                && let Some(track) = self.ups.get_mut(d.up)
            {
                d.rewriter.pause();
                track.fanout.set_current(d.slot, NO_LAYER);
            }
        }
    }

    /// Sends packets that waited, as far as the estimates allow.
    pub(crate) fn release(&mut self, now: Instant, out: &mut impl SendBatch) {
        let mut paced = std::mem::take(&mut self.paced);
        paced.retain(|key| {
            self.guard(*key, now, |shard| shard.release_connection(*key, now, out));
            let c = self.connections.get(*key);
            c.is_some_and(|c| !c.pacer.is_empty())
        });
        self.paced = paced;
        self.next_pace = (!self.paced.is_empty()).then_some(now + PACE);
    }

    fn release_connection(
        &mut self,
        connection: ConnectionKey,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        loop {
            let Self {
                ups,
                downs,
                members,
                connections,
                stats,
                events,
                ..
            } = self;
            let Some(c) = connections.get_mut(connection) else {
                return;
            };
            let bitrate = c.estimator.as_ref().and_then(|e| e.bitrate());
            c.pacer.refill(bitrate.unwrap_or(Bitrate::MAX / 16), now);
            if !c.pacer.has_credit() {
                return;
            }
            let Some(waiting) = c.pacer.pop() else { return };
            let up = downs.get(waiting.down).map(|down| down.up);
            let publisher = up.and_then(|up| ups.get(up)).map(|track| track.publisher);
            let publisher = publisher.and_then(|key| members.get(key)).map(|m| m.sid);
            let Some(c) = connections.get_mut(connection) else {
                return;
            };
            let Some(down) = downs.get_mut(waiting.down) else {
                continue;
            };
            let Some(track) = ups.get_mut(down.up) else {
                continue;
            };
            let open = track.layers.get(usize::from(waiting.layer));
            let Some(open) = open.and_then(Option::as_ref) else {
                continue;
            };
            let is_of_it = open.id == waiting.stream;
            let Some(packet) = open.history.get(waiting.index).filter(|_| is_of_it) else {
                stats.drop(DropReason::NotInHistory);
                continue;
            };
            let input = open.input(
                waiting.layer,
                &packet,
                waiting.starts_key_frame,
                waiting.since,
            );
            let what = Outgoing::Forward {
                packet: &packet,
                input: &input,
                starts_key_frame: waiting.starts_key_frame,
            };
            let outcome = c.send(waiting.down, down, &what, now, out);
            if let Some(shift) = settle(&outcome, down, c, publisher, stats, events) {
                track.fanout.shift(down.slot, shift);
            }
        }
    }
}

/// Whether padding may go out in this stream: only when its receiver has reported on it. Where a retransmission comes
/// before the first packet of the stream itself, Firefox takes the one for the other, and never shows the picture.
fn can_carry_padding(d: &DownTrack) -> bool {
    d.recognised && d.takes_rtx()
}

enum Wish {
    Sound {
        primary: Bitrate,
        redundancy: Bitrate,
    },
    Picture(Demand),
}

#[cfg(test)]
mod tests {
    use protocol::{ParticipantSid, TrackSid};
    use rand::{SeedableRng, rngs::StdRng};

    use super::{
        super::tests::{Discard, connection_of, shard_with_peers},
        *,
    };
    use crate::{
        api::{
            AudioFeatures, Bound, ConnectionCommand, Destination, DownTrackCommand, PublishedTrack,
            SendParameters, SendStream, ShardCommand, TrackCommand, TrackSetting,
            TransportProtocol,
        },
        pacer::Waiting,
        received::Received,
        rewrite::StreamId,
        rtp::RtpTime,
    };

    /// The first packet of a key frame of VP8, and one of an ordinary picture.
    const KEY: [u8; 11] = [0x10, 0, 0, 0, 0x9d, 0x01, 0x2a, 0, 5, 0xd0, 2];
    const DELTA: [u8; 4] = [0x10, 1, 0, 0];

    /// A publisher with a picture, and a subscriber for whose network everything waits.
    struct Paced {
        shard: Shard,
        out: Discard,
        now: Instant,
        track: TrackSid,
        subscriber: ParticipantSid,
        sent: u64,
    }

    impl Paced {
        fn new() -> Self {
            let (now, mut out) = (Instant::now(), Discard(Vec::new()));
            let (mut shard, [publisher, subscriber]) = shard_with_peers(now, &mut out);
            let track = TrackSid::random("VC", &mut StdRng::seed_from_u64(1));
            let receiver = connection_of(&shard, subscriber);
            shard.connections[receiver]
                .transport
                .connect_to(Destination {
                    remote: "198.51.100.1:4000".parse().unwrap(),
                    local: "192.0.2.1:7882".parse().unwrap(),
                    protocol: TransportProtocol::Udp,
                });
            let commands: [ShardCommand; 4] = [
                TrackCommand::Publish {
                    peer: publisher,
                    track: PublishedTrack {
                        sid: track,
                        kind: MediaKind::Video,
                        cids: Vec::new(),
                        stream: "camera".into(),
                        muted: false,
                        audio: AudioFeatures::default(),
                        mime_type: String::new(),
                        layers: Vec::new(),
                        backup_of: None,
                    },
                }
                .into(),
                ConnectionCommand::Bind {
                    peer: publisher,
                    bound: Box::new(Bound {
                        track,
                        mid: "0".into(),
                        mime_type: "video/VP8",
                        fmtp: String::new(),
                        red: None,
                        layers: Vec::new(),
                    }),
                }
                .into(),
                DownTrackCommand::Add {
                    peer: subscriber,
                    track,
                    setting: TrackSetting::default(),
                    ssrcs: (11, 12),
                    in_backup: false,
                    repaired: false,
                }
                .into(),
                DownTrackCommand::Send {
                    peer: subscriber,
                    changed: vec![SendStream {
                        track,
                        in_backup: false,
                        ssrc: 11,
                        rtx_ssrc: 12,
                        reports: true,
                        parameters: SendParameters {
                            payload_type: 96,
                            rtx_payload_type: Some(97),
                            mid: None,
                            transport_cc: Some(3),
                            dependencies: None,
                            red: None,
                        },
                    }],
                    stopped: Vec::new(),
                }
                .into(),
            ];
            for command in commands {
                shard.handle_command(command, now, &mut out);
            }
            Self {
                shard,
                out,
                now,
                track,
                subscriber,
                sent: 0,
            }
        }

        fn down(&self) -> DownTrackKey {
            self.shard
                .down_track_of(self.subscriber, self.track)
                .unwrap()
        }

        /// A packet of the publisher's that waits, and then leaves.
        fn pace(&mut self, payload: &[u8]) {
            let receiver = connection_of(&self.shard, self.subscriber);
            let up = self.shard.tracks[&self.track];
            self.sent += 1;
            let packet = Received {
                ssrc: 7,
                index: 100 + self.sent,
                time: RtpTime(3000 * self.sent as u32),
                payload_type: 96,
                marker: true,
                payload,
                ..Received::default()
            };
            // Where something waits already, everything does.
            self.shard.connections[receiver].pacer.push(Waiting {
                down: DownTrackKey::default(),
                layer: 0,
                stream: StreamId::default(),
                index: 0,
                starts_key_frame: false,
                since: self.now,
            });
            self.shard.paced.push(receiver);
            self.shard.receive(up, 2, packet, self.now).unwrap();
            self.shard.flush(self.now, &mut self.out);
            assert_eq!(self.shard.stats.rtp_out, self.sent - 1, "it waits");
            self.shard.release(self.now, &mut self.out);
        }
    }

    #[test]
    fn what_waited_for_a_slow_network_is_followed_and_told_like_what_did_not() {
        let mut paced = Paced::new();
        let (down, now) = (paced.down(), paced.now);
        assert!(paced.shard.downs[down].delivery.is_due(now));
        paced.pace(&KEY);
        assert_eq!(paced.shard.stats.rtp_out, 1);
        let is_due = paced.shard.downs[down].delivery.is_due(now);
        assert!(!is_due, "whether it arrives is known soon");
        let told = |event| matches!(event, Event::TrackSubscribed { .. });
        let events = std::iter::from_fn(|| paced.shard.poll_event());
        assert_eq!(events.filter(|event| told(event.clone())).count(), 1);
    }

    #[test]
    fn whose_key_frame_did_not_go_out_after_it_waited_gets_another_one() {
        let mut paced = Paced::new();
        let (down, up) = (paced.down(), paced.shard.tracks[&paced.track]);
        let slot = paced.shard.downs[down].slot;
        // The key frame that began the layer for it was dropped on the way.
        paced.shard.ups[up].fanout.set_wanted(slot, 2);
        paced.shard.ups[up].fanout.set_current(slot, 2);
        paced.pace(&DELTA);
        assert_eq!(paced.shard.stats.rtp_out, 0);
        assert_eq!(paced.shard.ups[up].fanout.current(slot), NO_LAYER);
        assert!(paced.shard.ups[up].fanout.is_awaited(2));
    }
}
