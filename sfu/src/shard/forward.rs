//! Packets to subscribers: the flush of one track's batch, and the choice of layers.

use std::time::Instant;

use crate::{
    api::{Event, MediaKind, SendBatch},
    down_track::Egress,
    fanout::{BLOCK, NO_LAYER},
    keys::{DownTrackKey, PeerKey, UpTrackKey},
    pacer::{PACE, Waiting},
    peer::Peer,
    shard::Shard,
    stats::DropReason,
};

impl Shard {
    /// Forwards what the receive batch brought for one track, subscriber by subscriber.
    pub(crate) fn forward(&mut self, up: UpTrackKey, now: Instant, out: &mut impl SendBatch) {
        let Self {
            ups,
            downs,
            peers,
            stats,
            events,
            paced,
            ..
        } = self;
        let Some(track) = ups.get_mut(up) else { return };
        let mut batch = std::mem::take(&mut track.batch);
        let is_audio = track.kind == MediaKind::Audio;
        let (layers, fanout) = (&track.layers, &mut track.fanout);
        let (mut stranded, mut too_slow) = (Vec::new(), Vec::new());
        let mut rising = Vec::new();
        for packets in batch.chunks(BLOCK) {
            fanout.select(packets, |key, mask| {
                let Some(down) = downs.get_mut(key) else {
                    return;
                };
                let Some(subscriber) = peers.get_mut(down.subscriber) else {
                    return;
                };
                let mut rest = mask;
                while rest != 0 {
                    let selected = packets[rest.trailing_zeros() as usize];
                    rest &= rest - 1;
                    let Some(layer) = &layers[usize::from(selected.layer)] else {
                        continue;
                    };
                    let is_of_it = layer.id == selected.stream;
                    let packet = layer.history.get(selected.index).filter(|_| is_of_it);
                    let Some(packet) = packet else {
                        stats.drop(DropReason::NotInHistory);
                        continue;
                    };
                    let input = layer.input(
                        selected.layer,
                        &packet,
                        is_audio || selected.starts_key_frame,
                        now,
                    );
                    if !is_audio && subscriber.must_wait(now) {
                        let waiting = Waiting {
                            down: key,
                            layer: selected.layer,
                            stream: selected.stream,
                            index: selected.index,
                            starts_key_frame: selected.starts_key_frame,
                            since: now,
                        };
                        if subscriber.pacer.is_empty() {
                            paced.push(down.subscriber);
                        }
                        if !subscriber.pacer.push(waiting) {
                            too_slow.push(down.subscriber);
                        }
                        continue;
                    }
                    let Peer {
                        transport,
                        estimator,
                        pacer,
                        watch,
                        ..
                    } = &mut *subscriber;
                    let Some((sender, to)) = transport.sender() else {
                        return;
                    };
                    let mut egress = Egress {
                        sender,
                        to,
                        estimator: estimator.as_deref_mut(),
                        number: &mut watch.number,
                        now,
                    };
                    let waited = down.filter.awaits_key_frame();
                    match down.forward(&packet, &input, &mut egress, out) {
                        Ok(bytes) => {
                            if let Some(number) = down.follow(estimator.as_deref(), watch, now) {
                                let is_known = down.delivery.is_proven();
                                watch.follow(number, key, is_known, now);
                            }
                            pacer.spend(bytes);
                            stats.rtp_out += 1;
                            stats.rtp_out_bytes += bytes as u64;
                        }
                        Err(reason) => {
                            // The key frame that should have begun this layer did not go out: another one must.
                            if reason == DropReason::BeforeSwitch
                                && !down.rewriter.is_in(input.source)
                            {
                                stranded.push(down.slot);
                            }
                            stats.drop(reason);
                        }
                    }
                    // This key frame came too late to bring other layers, or they can be had without one no longer.
                    let waits = down.filter.awaits_key_frame();
                    if waits && (selected.starts_key_frame || !waited) {
                        rising.push(down.slot);
                    }
                }
                if !down.announced
                    && down.sent.0 != 0
                    && let Some(subscriber) = peers.get(down.subscriber).map(|p| p.sid)
                    && let Some(publisher) = peers.get(track.publisher).map(|p| p.sid)
                {
                    down.announced = true;
                    events.push_back(Event::TrackSubscribed {
                        peer: publisher,
                        track: down.track,
                        subscriber,
                    });
                }
            });
        }
        for slot in stranded {
            fanout.set_current(slot, NO_LAYER);
        }
        for slot in rising {
            fanout.set_rising(slot, true);
        }
        batch.clear();
        // The buffer goes back, so that the next batch allocates nothing.
        track.batch = batch;
        if !self.paced.is_empty() {
            self.next_pace.get_or_insert(now + PACE);
        }
        too_slow
            .into_iter()
            .for_each(|subscriber| self.start_anew(subscriber));
        self.request_key_frames(up, now, out);
    }

    /// Chooses anew what each subscriber of the track gets: layers came or went, or the publisher muted.
    pub(crate) fn retarget_track(&mut self, up: UpTrackKey) {
        for slot in 0.. {
            let Some(down) = self
                .ups
                .get(up)
                .and_then(|track| track.fanout.downs().get(slot).copied())
            else {
                break;
            };
            self.retarget(down);
        }
    }

    /// Chooses anew for all subscriptions of a peer: its transport came or went.
    pub(crate) fn retarget_peer(&mut self, peer: PeerKey) {
        let downs = self
            .peers
            .get(peer)
            .map(|p| p.downs.clone())
            .unwrap_or_default();
        downs.into_iter().for_each(|down| self.retarget(down));
    }

    /// Chooses the layer of one subscription. Audio flows at once; video begins and switches at key frames.
    pub(crate) fn retarget(&mut self, down: DownTrackKey) {
        let Some(d) = self.downs.get_mut(down) else {
            return;
        };
        let Some(track) = self.ups.get_mut(d.up) else {
            return;
        };
        let ready = d.parameters.is_some()
            && self
                .peers
                .get(d.subscriber)
                .is_some_and(|subscriber| subscriber.transport.is_connected());
        let choice = track.choose(&d.setting, d.share);
        let layer = if ready { choice.stream } else { NO_LAYER };
        track.fanout.set_wanted(d.slot, layer);
        d.filter.set_target(choice.target);
        let stays = layer == track.fanout.current(d.slot);
        track
            .fanout
            .set_rising(d.slot, stays && d.filter.awaits_key_frame());
        if layer == NO_LAYER || track.kind == MediaKind::Audio {
            let is_heard = track.audible || d.hears_all;
            let current = if is_heard { layer } else { NO_LAYER };
            track.fanout.set_current(d.slot, current);
            if layer == NO_LAYER {
                d.rewriter.pause();
            }
        }
    }
}
