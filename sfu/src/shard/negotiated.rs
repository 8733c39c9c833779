//! Offers of clients: what their sections mean for tracks and subscriptions, and when another offer is needed.

use std::time::Instant;

use protocol::TrackSid;
use rustc_hash::FxHashMap;

use crate::{
    api::{Event, MediaSections, SpatialLayer, TrackCodec, TransportProtocol},
    bwe::BandwidthEstimator,
    codec::Codec,
    down_track::{MidElement, SendParameters},
    fanout::NO_LAYER,
    keys::{DownTrackKey, PeerKey, UpTrackKey},
    negotiate::{
        Bound, IceCredentials, LocalParameters, Negotiated, NegotiationError, SendSection,
    },
    peer::{Incoming, MAX_INCOMING, Peer},
    sdp::SessionDescription,
    shard::Shard,
    transport::{MAX_MESSAGE_SIZE, random_credentials},
    up_track::PayloadTypes,
};

impl Shard {
    /// Answers an offer and takes over what it says.
    pub(crate) fn offer(
        &mut self,
        key: PeerKey,
        id: u32,
        description: &SessionDescription,
        now: Instant,
    ) {
        let Some(p) = self.peers.get(key) else {
            return;
        };
        let Some(local) = self.local_parameters(key, p.transport.has_remote()) else {
            return;
        };
        let Some(p) = self.peers.get_mut(key) else {
            return;
        };
        let Peer {
            negotiation, ssrcs, ..
        } = p;
        match negotiation.handle_offer(description, &local, || ssrcs.fresh()) {
            // What there is goes on as it is.
            Err(NegotiationError::SetupUnusable) if p.transport.has_remote() => {
                tracing::debug!(participant = %p.sid, id, "offer with an unusable DTLS role ignored");
            }
            Err(error) => {
                let event = Event::NegotiationFailed {
                    peer: p.sid,
                    reason: error.to_string(),
                };
                self.events.push_back(event);
            }
            Ok(negotiated) => self.take_over(key, id, negotiated, now),
        }
    }

    /// What our descriptions say of us, with fresh ICE credentials or with those in use.
    pub(crate) fn local_parameters(
        &mut self,
        key: PeerKey,
        fresh: bool,
    ) -> Option<LocalParameters> {
        let p = self.peers.get(key)?;
        let mut candidates = self.config.addresses.clone();
        let mut tcp_candidates = self.config.tcp_addresses.clone();
        match p.candidates {
            Some(TransportProtocol::Udp) => tcp_candidates.clear(),
            Some(TransportProtocol::Tcp) if !tcp_candidates.is_empty() => candidates.clear(),
            _ => {}
        }
        let ice = match fresh {
            true => random_credentials(self.config.index, &mut self.rng),
            false => IceCredentials {
                ufrag: p.transport.ice_ufrag().to_owned(),
                pwd: p.transport.ice_pwd().to_owned(),
            },
        };
        Some(LocalParameters {
            ice,
            ice_lite: true,
            fingerprint: self.context.fingerprint(),
            candidates,
            tcp_candidates,
            max_message_size: MAX_MESSAGE_SIZE.into(),
        })
    }

    fn take_over(&mut self, key: PeerKey, id: u32, negotiated: Negotiated, now: Instant) {
        let Some(p) = self.peers.get_mut(key) else {
            return;
        };
        let remote = negotiated.remote;
        if remote.ice_restarted {
            self.demux.remove_ufrag(p.transport.ice_ufrag());
            self.demux.add_ufrag(&negotiated.local_ice.ufrag, key);
            p.transport.restart_ice(&negotiated.local_ice, now);
        }
        p.transport.set_remote(&self.context, &remote, now);
        p.asked = negotiated.missing;
        p.take_over_sections();
        let sid = p.sid;
        self.take_over_payload_types(key);
        // Clients know a backup by the sid of its track.
        let known = |(mid, track): (String, TrackSid)| {
            let up = self.tracks.get(&track).map(|up| self.first_of(*up));
            let first = up.and_then(|up| self.ups.get(up));
            (mid, first.map_or(track, |first| first.sid))
        };
        let event = Event::Answer {
            peer: sid,
            id,
            sdp: negotiated.answer,
            mid_to_track: negotiated.mid_to_track.into_iter().map(known).collect(),
            missing: negotiated.missing,
        };
        self.events.push_back(event);
        for track in negotiated.unbound {
            self.events
                .push_back(Event::TrackUnbound { peer: sid, track });
            if let Some(up) = self.tracks.get(&track).copied() {
                self.backup_unbound(up);
            }
        }
        if remote.ice_restarted {
            self.quality_restarted(key, now);
        }
        for bound in negotiated.newly_bound {
            self.bind(key, bound);
        }
        for track in negotiated.refused {
            self.events
                .push_back(Event::TrackRefused { peer: sid, track });
        }
        self.take_over_subscriptions(key, now);
        self.tell_failures(key);
        // Sections that must be added are in the answer. A subscription that fits but was not in it waits for a section
        // that has just become free: one more offer settles it.
        let waits = |down: &DownTrackKey| {
            self.downs
                .get(*down)
                .is_some_and(|d| d.parameters.is_none())
        };
        let is_waiting = self
            .peers
            .get(key)
            .is_some_and(|p| p.downs.iter().any(waits));
        if is_waiting && negotiated.missing == MediaSections::default() {
            self.ask_for_offer(key);
        }
        self.reschedule(key, now);
    }

    /// A track found its section: its codec is known, and its SSRCs where they are declared.
    pub(crate) fn bind(&mut self, key: PeerKey, bound: Bound) {
        let Some(p) = self.peers.get_mut(key) else {
            return;
        };
        let Some(up) = self.tracks.get(&bound.track).copied() else {
            return;
        };
        let Some(track) = self.ups.get_mut(up) else {
            return;
        };
        let mut sections = p.sections.iter();
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
            if p.incoming.len() + 2 <= MAX_INCOMING {
                p.incoming
                    .insert(declared.ssrc, Incoming::Media { up, layer });
                if let Some(rtx) = declared.rtx {
                    p.incoming.insert(rtx, Incoming::Rtx { up, layer });
                }
            }
        }
        self.events.push_back(Event::TrackBound {
            peer: p.sid,
            track: bound.track,
            mid: bound.mid,
            codec: TrackCodec {
                mime_type: bound.mime_type.to_owned(),
                fmtp: bound.fmtp,
                red: bound.red,
            },
            layers: bound.layers.iter().map(|layer| layer.layer).collect(),
        });
        self.backup_bound(up);
    }

    /// Payload types are the client's choice, anew in each offer.
    fn take_over_payload_types(&mut self, key: PeerKey) {
        let Some(p) = self.peers.get(key) else {
            return;
        };
        for section in &p.sections {
            let up = self.tracks.get(&section.track);
            let up = up.and_then(|up| self.ups.get_mut(*up));
            if let Some(track) = up.filter(|track| track.codec.is_some()) {
                track.payload_types = Some(PayloadTypes::new(&section.codecs));
            }
        }
    }

    /// Somebody sends another codec than its track's, though it may: the next answer says which one it is, and no other.
    pub(crate) fn insist_on_codec(&mut self, key: PeerKey, up: UpTrackKey, now: Instant) {
        let Some(track) = self.ups.get_mut(up) else {
            return;
        };
        if !track.insist(now) {
            return;
        }
        let sid = track.sid;
        if let Some(p) = self.peers.get_mut(key) {
            p.negotiation.insist(sid);
        }
        self.ask_for_offer(key);
    }

    /// Which subscriptions the client's sections carry now.
    pub(crate) fn take_over_subscriptions(&mut self, key: PeerKey, now: Instant) {
        let Some(p) = self.peers.get_mut(key) else {
            return;
        };
        let is_controlled = self.config.congestion_control;
        let sections = p.negotiation.send_sections();
        let sections: FxHashMap<TrackSid, &SendSection> = sections
            .iter()
            .map(|section| (section.track, section))
            .collect();
        for down in p.downs.clone() {
            let track = self.downs.get(down).map(|d| d.track);
            let section = track.and_then(|track| sections.get(&track));
            if let Some(section) = section {
                self.follow_codec(down, section.codec.mime_type, now);
            }
        }
        let Some(p) = self.peers.get_mut(key) else {
            return;
        };
        let mut changed = Vec::new();
        for down in p.downs.iter().copied() {
            let Some(d) = self.downs.get_mut(down) else {
                continue;
            };
            let section = sections.get(&d.track);
            let parameters = section.map(|section| SendParameters {
                payload_type: section.codec.payload_type,
                rtx_payload_type: section.codec.rtx_payload_type,
                mid: section
                    .extensions
                    .mid
                    .and_then(|id| MidElement::new(id, &section.mid)),
                transport_cc: section
                    .extensions
                    .transport_cc
                    .filter(|_| section.codec.transport_cc),
                dependencies: section.extensions.dependency_descriptor,
                red: section.red.as_ref().map(|red| red.payload_type),
            });
            let reports =
                section.is_some_and(|section| section.codec.transport_cc || section.codec.remb);
            if is_controlled && reports && p.estimator.is_none() {
                p.estimator = Some(Box::new(BandwidthEstimator::new(now)));
            }
            if d.set_parameters(parameters) {
                changed.push(down);
            }
            if let Some(section) = section.filter(|section| section.ssrc != d.ssrc) {
                p.outgoing.remove(&d.ssrc);
                p.outgoing.remove(&d.rtx_ssrc);
                let rtx_ssrc = section.rtx_ssrc.unwrap_or_else(|| p.ssrcs.fresh());
                d.renew(section.ssrc, rtx_ssrc, now);
                p.outgoing.insert(d.ssrc, down);
                p.outgoing.insert(d.rtx_ssrc, down);
                if let Some(track) = self.ups.get_mut(d.up) {
                    track.fanout.set_current(d.slot, NO_LAYER);
                }
                changed.push(down);
            }
        }
        changed.into_iter().for_each(|down| self.retarget(down));
    }

    /// Subscriptions that got no section: the participant is told.
    pub(crate) fn tell_failures(&mut self, key: PeerKey) {
        let Some(p) = self.peers.get_mut(key) else {
            return;
        };
        let (peer, failures) = (p.sid, p.negotiation.take_failures());
        let event = |(track, failure)| Event::SubscriptionFailed {
            peer,
            track,
            failure,
        };
        self.events.extend(failures.into_iter().map(event));
    }

    /// Subscriptions changed: where a description must say so, we offer or the client is told to.
    pub(crate) fn negotiate(&mut self, key: PeerKey) {
        match self.peers.get(key).map(|p| p.negotiation.is_subscriber()) {
            Some(true) => self.offer_changes(key),
            Some(false) => self.ask_for_offer(key),
            None => {}
        }
    }

    /// Tells the client to offer again, where its subscriptions changed after its first offer was answered.
    pub(crate) fn ask_for_offer(&mut self, key: PeerKey) {
        self.tell_failures(key);
        let Some(p) = self.peers.get_mut(key) else {
            return;
        };
        if !p.negotiation.needs_renegotiation() {
            return;
        }
        // What was asked for and has not been offered yet is not asked for again.
        let missing = p.negotiation.missing();
        let more = MediaSections {
            audios: missing.audios.saturating_sub(p.asked.audios),
            videos: missing.videos.saturating_sub(p.asked.videos),
        };
        p.asked.audios += more.audios;
        p.asked.videos += more.videos;
        self.events.push_back(Event::NegotiationNeeded {
            peer: p.sid,
            missing: more,
        });
    }
}
