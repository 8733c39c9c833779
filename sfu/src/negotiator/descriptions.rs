//! Offers and answers: taken, made, and asked for.

use protocol::{ParticipantSid, TrackSid};
use rustc_hash::FxHashSet;

use super::Negotiator;
use crate::{
    api::{
        ConnectionCommand, DownTrackCommand, Event, MediaSections, MidElement, SendParameters,
        SendStream, Target,
    },
    negotiate::{Negotiated, NegotiationError, SendSection},
    sdp::SessionDescription,
    transport::random_credentials,
};

impl Negotiator {
    /// [`DescriptionCommand::Offer`](crate::DescriptionCommand::Offer): answers the offer and takes over its contents.
    pub(super) fn offer(
        &mut self,
        peer: ParticipantSid,
        id: u32,
        description: &SessionDescription,
    ) {
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        let connection = &mut member.publisher;
        let ice = match connection.has_remote {
            true => random_credentials(self.shard, &mut self.rng),
            false => connection.ice.clone(),
        };
        let local = self.local.with(ice, member.candidates);
        let ssrcs = &mut connection.ssrcs;
        let negotiation = &mut connection.negotiation;
        match negotiation.handle_offer(description, &local, || ssrcs.fresh()) {
            // The connection goes on as it is.
            Err(NegotiationError::SetupUnusable) if connection.has_remote => {
                tracing::debug!(participant = %peer, id, "offer with an unusable DTLS role ignored");
            }
            Err(error) => self.tell(Event::NegotiationFailed {
                peer,
                reason: error.to_string(),
            }),
            Ok(negotiated) => self.take_over(peer, id, negotiated),
        }
    }

    fn take_over(&mut self, peer: ParticipantSid, id: u32, negotiated: Negotiated) {
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        member.publisher.has_remote = true;
        member.asked = negotiated.missing;
        let (target, remote) = (Target::Publisher, negotiated.remote);
        if remote.ice_restarted {
            member.publisher.ice = negotiated.local_ice;
            self.tell_ice(peer, target, true);
        }
        self.pass(ConnectionCommand::SetRemote {
            peer,
            target,
            remote: Box::new(remote),
        });
        self.receive(peer);
        // Clients know a backup by the sid of its track.
        let known = |(mid, track): (String, TrackSid)| (mid, self.first_of(track));
        let mid_to_track = negotiated.mid_to_track.into_iter().map(known).collect();
        self.tell(Event::Answer {
            peer,
            id,
            sdp: negotiated.answer,
            mid_to_track,
            missing: negotiated.missing,
        });
        for track in negotiated.unbound {
            self.tell(Event::TrackUnbound { peer, track });
            self.backup_unbound(peer, track);
        }
        for bound in negotiated.newly_bound {
            self.bind(peer, bound);
        }
        for track in negotiated.refused {
            self.tell(Event::TrackRefused { peer, track });
        }
        self.send(peer);
        self.tell_failures(peer);
        // Sections that must be added are in the answer. A subscription that fits but was not in it waits for a section
        // that has just become free: one more offer settles it.
        let is_waiting = self.members.get(&peer).is_some_and(|member| {
            let negotiation = &member.publisher.negotiation;
            member.subscriber.is_none() && member.sending.len() < negotiation.subscriptions()
        });
        if is_waiting && negotiated.missing == MediaSections::default() {
            self.ask_for_offer(peer);
        }
    }

    /// [`DescriptionCommand::OfferSubscriber`](crate::DescriptionCommand::OfferSubscriber).
    pub(super) fn make_offer(&mut self, peer: ParticipantSid, restart_ice: bool) {
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        let Some(connection) = member.connection(Target::Subscriber) else {
            return;
        };
        // Before the first answer there is nothing to restart.
        if restart_ice && connection.has_remote {
            connection.ice = random_credentials(self.shard, &mut self.rng);
            self.tell_ice(peer, Target::Subscriber, true);
        }
        self.send_offer(peer);
    }

    fn send_offer(&mut self, peer: ParticipantSid) {
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        let only = member.candidates;
        let Some(connection) = &mut member.subscriber else {
            return;
        };
        let local = self.local.with(connection.ice.clone(), only);
        let ssrcs = &mut connection.ssrcs;
        let offer = connection
            .negotiation
            .create_offer(&local, || ssrcs.fresh());
        self.tell(Event::Offer {
            peer,
            id: offer.id,
            sdp: offer.sdp,
            mid_to_track: offer.mid_to_track,
        });
    }

    /// [`DescriptionCommand::Answer`](crate::DescriptionCommand::Answer).
    pub(super) fn answer(&mut self, peer: ParticipantSid, id: u32, answer: &SessionDescription) {
        let target = Target::Subscriber;
        let member = self.members.get_mut(&peer);
        let Some(connection) = member.and_then(|member| member.connection(target)) else {
            return;
        };
        match connection.negotiation.handle_answer(id, answer) {
            // The connection goes on as it is.
            Err(NegotiationError::SetupUnusable) if connection.has_remote => {
                tracing::debug!(participant = %peer, id, "answer with an unusable DTLS role ignored");
            }
            Err(error) => self.tell(Event::NegotiationFailed {
                peer,
                reason: error.to_string(),
            }),
            Ok(None) => {
                tracing::debug!(participant = %peer, id, "answer to no offer of now ignored");
            }
            Ok(Some(answered)) => {
                connection.has_remote = true;
                self.pass(ConnectionCommand::SetRemote {
                    peer,
                    target,
                    remote: Box::new(answered.remote),
                });
                self.send(peer);
                self.offer_changes(peer);
            }
        }
    }

    /// Gives the shard our ICE credentials.
    pub(super) fn tell_ice(&mut self, peer: ParticipantSid, target: Target, restart: bool) {
        let member = self.members.get_mut(&peer);
        if let Some(connection) = member.and_then(|member| member.connection(target)) {
            let ice = connection.ice.clone();
            self.pass(ConnectionCommand::SetIce {
                peer,
                target,
                ice,
                restart,
            });
        }
    }

    /// Tells the shard how subscriptions are sent, where that changed.
    fn send(&mut self, peer: ParticipantSid) {
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        let receiver = member.subscriber.as_mut().unwrap_or(&mut member.publisher);
        let (mut changed, mut now) = (Vec::new(), FxHashSet::default());
        for section in receiver.negotiation.send_sections() {
            now.insert(section.track);
            let known = member.sending.get(&section.track);
            // A retransmission SSRC that is not used now may be used later: it stays.
            let kept = known.filter(|known| known.ssrc == section.ssrc);
            let rtx_ssrc = section
                .rtx_ssrc
                .or(kept.map(|known| known.rtx_ssrc))
                .unwrap_or_else(|| receiver.ssrcs.fresh());
            let track = self.tracks.get(&section.track);
            let in_backup = track.is_some_and(|track| {
                let first = track.codec.as_ref().map(|codec| codec.mime_type.as_str());
                let is_first =
                    first.is_some_and(|m| m.eq_ignore_ascii_case(section.codec.mime_type));
                track.backup.is_some() && !is_first
            });
            let stream = stream(&section, rtx_ssrc, in_backup);
            if known != Some(&stream) {
                changed.push(stream);
            }
        }
        let known = member.sending.keys().copied();
        let stopped: Vec<_> = known.filter(|track| !now.contains(track)).collect();
        for track in &stopped {
            member.sending.remove(track);
        }
        member
            .sending
            .extend(changed.iter().map(|stream| (stream.track, *stream)));
        if !changed.is_empty() || !stopped.is_empty() {
            self.pass(DownTrackCommand::Send {
                peer,
                changed,
                stopped,
            });
        }
    }

    /// A publisher sends another codec than its track's, which our answer allowed: the next answer allows the track's
    /// codec only.
    pub(super) fn insist_on_codec(&mut self, peer: ParticipantSid, track: TrackSid) {
        if let Some(member) = self.members.get_mut(&peer) {
            member.publisher.negotiation.insist(track);
            self.ask_for_offer(peer);
        }
    }

    /// Subscriptions changed: where a description must say so, we offer, or the client is asked to.
    pub(super) fn negotiate(&mut self, peer: ParticipantSid) {
        match self.members.get(&peer).map(|m| m.subscriber.is_some()) {
            Some(true) => self.offer_changes(peer),
            Some(false) => self.ask_for_offer(peer),
            None => {}
        }
    }

    /// Offers what changed, if the client knows of the connection and no offer is under way.
    fn offer_changes(&mut self, peer: ParticipantSid) {
        let subscriber = self.members.get(&peer).map(|m| m.subscriber.as_ref());
        if subscriber
            .flatten()
            .is_some_and(|connection| connection.negotiation.wants_offer())
        {
            self.send_offer(peer);
        }
        self.tell_failures(peer);
    }

    /// Tells the client to offer again, where its subscriptions changed after its first offer was answered.
    fn ask_for_offer(&mut self, peer: ParticipantSid) {
        self.tell_failures(peer);
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        let negotiation = &member.publisher.negotiation;
        if !negotiation.needs_renegotiation() {
            return;
        }
        // Sections that the client was asked for and has not offered yet are not asked for again.
        let missing = negotiation.missing();
        let more = MediaSections {
            audios: missing.audios.saturating_sub(member.asked.audios),
            videos: missing.videos.saturating_sub(member.asked.videos),
        };
        member.asked.audios += more.audios;
        member.asked.videos += more.videos;
        self.tell(Event::NegotiationNeeded {
            peer,
            missing: more,
        });
    }

    /// Reports the subscriptions that got no section to the room.
    fn tell_failures(&mut self, peer: ParticipantSid) {
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        for (track, failure) in member.receiver().negotiation.take_failures() {
            self.tell(Event::SubscriptionFailed {
                peer,
                track,
                failure,
            });
        }
    }
}

/// The parameters of a section in which we send, for the shard.
fn stream(section: &SendSection, rtx_ssrc: u32, in_backup: bool) -> SendStream {
    let extensions = &section.extensions;
    SendStream {
        track: section.track,
        in_backup,
        ssrc: section.ssrc,
        rtx_ssrc,
        reports: section.codec.transport_cc || section.codec.remb,
        parameters: SendParameters {
            payload_type: section.codec.payload_type,
            rtx_payload_type: section.codec.rtx_payload_type,
            mid: extensions
                .mid
                .and_then(|id| MidElement::new(id, &section.mid)),
            transport_cc: extensions
                .transport_cc
                .filter(|_| section.codec.transport_cc),
            dependencies: extensions.dependency_descriptor,
            red: section.red.as_ref().map(|red| red.payload_type),
        },
    }
}
