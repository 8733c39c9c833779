//! The results of negotiation, taken over: transports, the sections in which clients send, and how their subscriptions
//! are sent.

use std::time::Instant;

use protocol::{ParticipantSid, TrackSid};

use crate::{
    api::{
        Bound, ConnectionCommand, IceCredentials, ReceiveSection, RemoteParameters, SendBatch,
        SendStream, SpatialLayer, Target,
    },
    bwe::BandwidthEstimator,
    codec::Codec,
    connection::{Incoming, MAX_INCOMING},
    dynacast::Dynacast,
    fanout::NO_LAYER,
    keys::{ConnectionKey, DownTrackKey},
    shard::Shard,
    up_track::PayloadTypes,
};

impl Shard {
    /// Takes over what a client has agreed on with the negotiator.
    pub(super) fn connection_command(
        &mut self,
        command: ConnectionCommand,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        match command {
            ConnectionCommand::SetIce {
                peer,
                target,
                ice,
                restart,
            } => {
                if let Some(key) = self.connection(peer, target) {
                    self.guard(key, now, |shard| shard.set_ice(key, &ice, restart, now));
                }
            }
            ConnectionCommand::SetRemote {
                peer,
                target,
                remote,
            } => {
                if let Some(key) = self.connection(peer, target) {
                    self.guard(key, now, |shard| shard.set_remote(key, &remote, now, out));
                }
            }
            ConnectionCommand::Receive { peer, sections } => self.receive_in(peer, sections),
            ConnectionCommand::Bind { peer, bound } => self.bind(peer, &bound),
            ConnectionCommand::Unbind { peer, track } => self.unbind(peer, track),
        }
    }

    fn connection(&self, peer: ParticipantSid, target: Target) -> Option<ConnectionKey> {
        match target {
            Target::Publisher => self.sender(peer),
            Target::Subscriber => self.member(peer)?.second(),
        }
    }

    fn set_ice(&mut self, key: ConnectionKey, ice: &IceCredentials, restart: bool, now: Instant) {
        let Some(c) = self.connections.get_mut(key) else {
            return;
        };
        self.demux.remove_ufrag(c.transport.ice_ufrag());
        self.demux.add_ufrag(&ice.ufrag, key);
        match restart {
            true => {
                c.transport.restart_ice(ice, now);
                self.quality_restarted(key, now);
            }
            false => c.transport.set_ice(ice),
        }
        self.reschedule(key, now);
    }

    fn set_remote(
        &mut self,
        key: ConnectionKey,
        remote: &RemoteParameters,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(c) = self.connections.get_mut(key) else {
            return;
        };
        c.transport.set_remote(&self.context, remote, now);
        self.drain_transport(key, now, out);
        self.reschedule(key, now);
    }

    /// Takes over the sections of the client's last offer. Payload types are the client's choice, anew in each offer.
    fn receive_in(&mut self, peer: ParticipantSid, sections: Vec<ReceiveSection>) {
        let key = self.sender(peer);
        let Some(c) = key.and_then(|key| self.connections.get_mut(key)) else {
            return;
        };
        c.set_sections(sections);
        for section in &c.sections {
            let up = self.tracks.get(&section.track);
            let up = up.and_then(|up| self.ups.get_mut(*up));
            if let Some(track) = up.filter(|track| track.codec.is_some()) {
                track.payload_types = Some(PayloadTypes::new(&section.codecs));
            }
        }
    }

    /// A track found its section: its codec is known, and its SSRCs where they are declared.
    fn bind(&mut self, peer: ParticipantSid, bound: &Bound) {
        let Some(up) = self.owned_track(peer, bound.track) else {
            return;
        };
        let key = self.sender(peer);
        let (Some(c), Some(track)) = (
            key.and_then(|key| self.connections.get_mut(key)),
            self.ups.get_mut(up),
        ) else {
            return;
        };
        let mut sections = c.sections.iter();
        let section = sections.find(|section| section.track == bound.track);
        track.payload_types = section.map(|section| PayloadTypes::new(&section.codecs));
        track.codec = Codec::from_mime(bound.mime_type);
        track.mime_type = bound.mime_type.to_owned();
        track.fmtp.clone_from(&bound.fmtp);
        track.red = bound.red;
        let section = section.filter(|section| section.layers.is_empty());
        for declared in section
            .map(|section| section.ssrcs.as_slice())
            .unwrap_or_default()
        {
            let layer = SpatialLayer::High as u8;
            if c.incoming.len() + 2 <= MAX_INCOMING {
                c.incoming
                    .insert(declared.ssrc, Incoming::Media { up, layer });
                if let Some(rtx) = declared.rtx {
                    c.incoming.insert(rtx, Incoming::Rtx { up, layer });
                }
            }
        }
        self.backup_bound(up);
    }

    /// A backup is again as it was when it was announced.
    fn unbind(&mut self, peer: ParticipantSid, track: TrackSid) {
        let up = self.owned_track(peer, track);
        if let Some(track) = up.and_then(|up| self.ups.get_mut(up)) {
            track.codec = None;
            track.dynacast = Dynacast::of_backup();
        }
    }

    /// Takes over how subscriptions are sent from now on.
    pub(super) fn send(
        &mut self,
        key: ConnectionKey,
        changed: &[SendStream],
        stopped: &[TrackSid],
        now: Instant,
    ) {
        let down = |shard: &Self, track: &TrackSid| {
            let subscriptions = &shard.connections.get(key)?.subscriptions;
            subscriptions.get(track).copied()
        };
        for track in stopped {
            let Some(down) = down(self, track) else {
                continue;
            };
            let d = self.downs.get_mut(down);
            if d.is_some_and(|d| d.set_parameters(None)) {
                self.retarget(down);
            }
        }
        for stream in changed {
            if let Some(down) = down(self, &stream.track) {
                self.send_as(key, down, stream, now);
            }
        }
    }

    fn send_as(
        &mut self,
        key: ConnectionKey,
        down: DownTrackKey,
        stream: &SendStream,
        now: Instant,
    ) {
        self.follow_codec(down, stream.in_backup, now);
        let is_controlled = self.config.congestion_control;
        let (Some(c), Some(d)) = (self.connections.get_mut(key), self.downs.get_mut(down)) else {
            return;
        };
        if is_controlled && stream.reports && c.estimator.is_none() {
            c.estimator = Some(Box::new(BandwidthEstimator::new(now)));
        }
        let mut has_changed = d.set_parameters(Some(stream.parameters));
        if stream.ssrc != d.ssrc {
            c.outgoing.remove(&d.ssrc);
            c.outgoing.remove(&d.rtx_ssrc);
            d.renew(stream.ssrc, stream.rtx_ssrc, now);
            c.outgoing.insert(d.ssrc, down);
            c.outgoing.insert(d.rtx_ssrc, down);
            if let Some(track) = self.ups.get_mut(d.up) {
                track.fanout.set_current(d.slot, NO_LAYER);
            }
            has_changed = true;
        }
        if has_changed {
            self.retarget(down);
        }
    }
}
