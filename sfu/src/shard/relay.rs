//! Packets of our participants for rooms of other shards, and the wishes of those shards.

use std::time::Instant;

use protocol::{ParticipantSid, TrackSid};

use crate::{
    api::{RelayCommand, RelayRequest, SendBatch, SpatialLayer},
    keys::{MemberKey, UpTrackKey},
    received::Received,
    relay::{
        Tap,
        wire::{Handle, Kind, Relayed},
    },
    rtcp::NtpTime,
    rtp::{RtpTime, SeqNo, nearest},
    shard::Shard,
    stats::DropReason,
    up_track::UpTrack,
};

impl Shard {
    /// Carries out a command about copies for a room of another shard.
    pub(super) fn relay_command(&mut self, command: RelayCommand, now: Instant) {
        match command {
            RelayCommand::Start {
                peer,
                track,
                relayed,
                shard,
            } => {
                if let Some(up) = self.owned_track(peer, track) {
                    self.start_relay(up, relayed, shard, now);
                }
            }
            RelayCommand::Stop { relayed } => self.stop_relay(relayed),
            RelayCommand::SetData {
                peer,
                relayed,
                shard,
            } => self.relay_data(peer, relayed, shard),
        }
    }

    /// Carries out a request of another shard.
    pub(super) fn relay_request(
        &mut self,
        request: RelayRequest,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        match request {
            RelayRequest::Want { relayed, wanted } => self.relay_wanted(relayed, wanted, now),
            RelayRequest::KeyFrame { relayed, layer } => {
                self.relay_key_frame(relayed, layer, now, out);
            }
            RelayRequest::Resend {
                relayed,
                layer,
                ssrc,
                seqs,
            } => self.relay_missing(relayed, layer, ssrc, &seqs),
        }
    }
}

/// Verbs on the shard that the participant is connected to.
impl Shard {
    /// Hands over the packets for other shards since the last call: the shard's index, and a packet for its
    /// [`Shard::handle_relayed`]. A packet that is not delivered is lost as on a network.
    pub fn drain_relayed(&mut self, carry: impl FnMut(u16, &[u8])) {
        self.relay.queue.drain(carry);
    }

    /// The next request of this shard to another one: the shard's index, and a command for its
    /// [`Shard::handle_command`]. Requests must be delivered, in this order.
    pub fn poll_request(&mut self) -> Option<(u16, RelayRequest)> {
        self.relay.requests.pop_front()
    }

    /// Copies a packet for each room elsewhere that wants its layer.
    pub(crate) fn tap(&mut self, up: UpTrackKey, kind: Kind, layer: u8, packet: &Received<'_>) {
        let Self {
            ups, relay, stats, ..
        } = self;
        let Some(track) = ups.get_mut(up) else {
            return;
        };
        let mut lower = track.layers.iter().take(layer.into()).flatten();
        let is_lowest = !lower.any(|open| open.active);
        for tap in &mut track.taps {
            if track.muted || !tap.wants(track.kind, layer, is_lowest) {
                tap.leave_out(layer);
                continue;
            }
            let resumes = kind == Kind::Media && tap.resumes(layer);
            let copy = Relayed {
                handle: tap.handle,
                kind: if resumes { Kind::Resumed } else { kind },
                layer,
                packet: *packet,
            };
            match relay.queue.push(tap.shard, &copy) {
                true => tap.sent(layer, packet.payload.len(), resumes),
                false => stats.drop(DropReason::RelayFull),
            }
        }
    }

    /// Copies a packet of a data track for each room elsewhere.
    pub(crate) fn tap_data(&mut self, member: MemberKey, message: &[u8]) {
        let Some(m) = self.members.get(member) else {
            return;
        };
        for (sid, shard) in &m.data_taps {
            let packet = Relayed {
                handle: Handle::of(sid.as_str()),
                kind: Kind::Data,
                layer: 0,
                packet: Received {
                    payload: message,
                    ..Received::default()
                },
            };
            if !self.relay.queue.push(*shard, &packet) {
                self.stats.drop(DropReason::RelayFull);
            }
        }
    }

    /// Copies a sender report of a layer for each room elsewhere.
    pub(crate) fn tap_sender_report(
        &mut self,
        up: UpTrackKey,
        layer: u8,
        ntp: NtpTime,
        time: RtpTime,
    ) {
        let Self {
            ups, relay, stats, ..
        } = self;
        let Some(track) = ups.get(up) else { return };
        let Some(open) = track
            .layers
            .get(usize::from(layer))
            .and_then(Option::as_ref)
        else {
            return;
        };
        let report = Received {
            ssrc: open.ssrc,
            index: ntp.0,
            time,
            ..Received::default()
        };
        for tap in &track.taps {
            let report = Relayed {
                handle: tap.handle,
                kind: Kind::SenderReport,
                layer,
                packet: report,
            };
            if !relay.queue.push(tap.shard, &report) {
                stats.drop(DropReason::RelayFull);
            }
        }
    }

    /// [`RelayCommand::Start`].
    fn start_relay(&mut self, up: UpTrackKey, relayed: TrackSid, shard: u16, now: Instant) {
        let Some(track) = self.ups.get_mut(up) else {
            return;
        };
        if self.relay.taps.contains_key(&relayed) {
            return;
        }
        self.relay.taps.insert(relayed, up);
        // A tap begins like every track: until the other room says otherwise, every layer is wanted.
        let wanted = Some(SpatialLayer::High);
        track.taps.push(Tap::new(relayed, shard, wanted));
        self.wanted_elsewhere(up, wanted, now);
    }

    /// [`RelayCommand::Stop`].
    fn stop_relay(&mut self, relayed: TrackSid) {
        let up = self.relay.taps.remove(&relayed);
        if let Some(track) = up.and_then(|up| self.ups.get_mut(up)) {
            track.taps.retain(|tap| tap.relayed != relayed);
            track.dynacast.touch();
        }
    }

    /// [`RelayCommand::SetData`].
    fn relay_data(&mut self, peer: ParticipantSid, relayed: ParticipantSid, shard: Option<u16>) {
        if let Some(m) = self.member_mut(peer) {
            m.data_taps.retain(|(known, _)| *known != relayed);
            m.data_taps.extend(shard.map(|shard| (relayed, shard)));
        }
    }

    /// [`RelayRequest::Want`].
    fn relay_wanted(&mut self, relayed: TrackSid, wanted: Option<SpatialLayer>, now: Instant) {
        let Some(up) = self.relay.taps.get(&relayed).copied() else {
            return;
        };
        let taps = self.ups.get_mut(up).map(|track| track.taps.iter_mut());
        for tap in taps.into_iter().flatten() {
            if tap.relayed == relayed {
                tap.wanted = wanted;
            }
        }
        self.wanted_elsewhere(up, wanted, now);
    }

    /// [`RelayRequest::KeyFrame`].
    fn relay_key_frame(
        &mut self,
        relayed: TrackSid,
        layer: SpatialLayer,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(up) = self.relay.taps.get(&relayed).copied() else {
            return;
        };
        let open = self.ups.get_mut(up).and_then(|t| t.layer(layer as u8));
        if let Some(open) = open {
            open.want_key_frame();
        }
        self.request_key_frames(up, now, out);
    }

    /// [`RelayRequest::Resend`]. Sound that is too quiet to be forwarded here is not kept, and cannot be repaired.
    fn relay_missing(&mut self, sid: TrackSid, layer: SpatialLayer, ssrc: u32, seqs: &[u16]) {
        let Self {
            relay, ups, stats, ..
        } = self;
        let Some(UpTrack {
            taps, layers, red, ..
        }) = relay.taps.get(&sid).and_then(|up| ups.get_mut(*up))
        else {
            return;
        };
        let tap = taps.iter_mut().find(|tap| tap.relayed == sid);
        let open = layers[layer as usize].as_deref();
        let (Some(tap), Some(open)) = (tap, open.filter(|open| open.ssrc == ssrc)) else {
            return;
        };
        let Some(highest) = open.stats.highest() else {
            return;
        };
        for seq in seqs {
            if !tap.may_repair() {
                return stats.drop(DropReason::TooManyRepairs);
            }
            let Some(packet) = open.history.get(nearest(highest, SeqNo(*seq))) else {
                continue;
            };
            let lost = Received {
                ssrc,
                index: packet.index,
                time: packet.time,
                // The type of other packets does not matter.
                payload_type: red.filter(|_| packet.primary != 0).unwrap_or(u8::MAX),
                marker: packet.marker,
                payload: packet.payload,
                dependencies: packet.dependencies,
                voice: None,
            };
            let copy = Relayed {
                handle: tap.handle,
                kind: Kind::Recovered,
                layer: layer as u8,
                packet: lost,
            };
            if !relay.queue.push(tap.shard, &copy) {
                return stats.drop(DropReason::RelayFull);
            }
            tap.repaired(packet.payload.len());
        }
    }
}
