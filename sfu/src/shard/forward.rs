//! Packets to subscribers: the flush of one track's batch, and the choice of layers.

use std::{collections::VecDeque, time::Instant};

use protocol::ParticipantSid;

use crate::{
    api::{Event, MediaKind, SendBatch},
    connection::{
        Connection,
        send::{Outcome, Outgoing},
    },
    down_track::DownTrack,
    fanout::{BLOCK, NO_LAYER, Shift},
    keys::{ConnectionKey, DownTrackKey, UpTrackKey},
    pacer::{PACE, Waiting},
    shard::Shard,
    stats::{DropReason, Stats},
};

impl Shard {
    /// Forwards the packets of the receive batch for one track, subscriber by subscriber.
    pub(crate) fn forward(&mut self, up: UpTrackKey, now: Instant, out: &mut impl SendBatch) {
        let Self {
            ups,
            downs,
            members,
            connections,
            stats,
            events,
            paced,
            ..
        } = self;
        let Some(track) = ups.get_mut(up) else { return };
        let mut batch = std::mem::take(&mut track.batch);
        let is_audio = track.kind == MediaKind::Audio;
        let publisher = members.get(track.publisher).map(|m| m.sid);
        let (layers, fanout) = (&track.layers, &mut track.fanout);
        let (mut shifts, mut too_slow) = (Vec::new(), Vec::new());
        for packets in batch.chunks(BLOCK) {
            fanout.select(packets, |key, mask| {
                let Some(down) = downs.get_mut(key) else {
                    return;
                };
                let Some(subscriber) = connections.get_mut(down.subscriber) else {
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
                    let input = layer.input(
                        selected.layer,
                        &packet,
                        is_audio || selected.starts_key_frame,
                        now,
                    );
                    let what = Outgoing::Forward {
                        packet: &packet,
                        input: &input,
                        starts_key_frame: selected.starts_key_frame,
                    };
                    let outcome = subscriber.send(key, down, &what, now, out);
                    if let Some(shift) =
                        settle(&outcome, down, subscriber, publisher, stats, events)
                    {
                        shifts.push((down.slot, shift));
                    }
                }
            });
        }
        for (slot, shift) in shifts {
            fanout.shift(slot, shift);
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

    /// Chooses the layer of each of the track's subscribers anew: layers came or went, or the publisher muted.
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

    /// Chooses the layers of all subscriptions of a connection anew: its transport came or went.
    pub(crate) fn retarget_connection(&mut self, connection: ConnectionKey) {
        let downs = self
            .connections
            .get(connection)
            .map(|c| c.downs.clone())
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
                .connections
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

/// Carries out the consequences of sending a publisher's packet, at once or after it waited. Returns the change that
/// the fan-out must know of.
#[inline]
pub(super) fn settle(
    outcome: &Outcome,
    down: &DownTrack,
    subscriber: &Connection,
    publisher: Option<ParticipantSid>,
    stats: &mut Stats,
    events: &mut VecDeque<Event>,
) -> Option<Shift> {
    match outcome.sent {
        Ok(bytes) => {
            stats.rtp_out += 1;
            stats.rtp_out_bytes += bytes as u64;
        }
        Err(reason) => stats.drop(reason),
    }
    if let Some(peer) = publisher.filter(|_| outcome.is_first) {
        events.push_back(Event::TrackSubscribed {
            peer,
            track: down.track,
            subscriber: subscriber.sid,
        });
    }
    outcome.shift
}
