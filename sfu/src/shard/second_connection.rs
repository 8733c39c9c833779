//! The second PeerConnection of a participant, on which it receives. We offer it, the client answers.

use std::time::Instant;

use protocol::ParticipantSid;

use crate::{
    api::{DisconnectReason, Event, SendBatch},
    keys::PeerKey,
    negotiate::{Negotiation, NegotiationError},
    peer::Peer,
    sdp::SessionDescription,
    shard::Shard,
};

impl Shard {
    /// The PeerConnection on which a participant receives.
    pub(crate) fn receiver(&self, sid: ParticipantSid) -> Option<PeerKey> {
        let key = *self.sids.get(&sid)?;
        Some(self.peers.get(key)?.subscriber.unwrap_or(key))
    }

    /// The second PeerConnection of a participant that has one. Who has not, answers what nobody offered.
    pub(crate) fn subscriber(&self, sid: ParticipantSid) -> Option<PeerKey> {
        self.peers.get(*self.sids.get(&sid)?)?.subscriber
    }

    pub(crate) fn add_subscriber(&mut self, sid: ParticipantSid, primary: bool, now: Instant) {
        let Some(key) = self.sids.get(&sid).copied() else {
            return;
        };
        let Some(p) = self.peers.get(key).filter(|p| p.subscriber.is_none()) else {
            return;
        };
        debug_assert!(p.downs.is_empty(), "it receives on the first one already");
        let (identity, permissions, router) = (p.identity.clone(), p.permissions, p.router);
        let negotiation = Negotiation::subscriber(sid);
        let subscriber = self.insert_peer(sid, identity, permissions, router, negotiation, now);
        if let Some(other) = self.peers.get_mut(subscriber) {
            other.primary = primary;
        }
        if let Some(p) = self.peers.get_mut(key) {
            p.subscriber = Some(subscriber);
            p.primary = !primary;
        }
    }

    /// Offers what changed, if the client knows of the connection and no offer is under way.
    pub(crate) fn offer_changes(&mut self, key: PeerKey) {
        if self
            .peers
            .get(key)
            .is_some_and(|p| p.negotiation.wants_offer())
        {
            self.send_offer(key, false);
        }
        self.tell_failures(key);
    }

    /// [`Command::OfferSubscriber`](crate::Command::OfferSubscriber).
    pub(crate) fn make_offer(&mut self, key: PeerKey, restart_ice: bool, now: Instant) {
        // Before the first answer there is nothing to restart.
        let restart_ice = restart_ice
            && self
                .peers
                .get(key)
                .is_some_and(|p| p.transport.has_remote());
        let before = self
            .peers
            .get(key)
            .map(|p| p.transport.ice_ufrag().to_owned());
        let Some(ice) = self.send_offer(key, restart_ice) else {
            return;
        };
        let Some(p) = self.peers.get_mut(key) else {
            return;
        };
        if restart_ice {
            self.demux.remove_ufrag(&before.unwrap_or_default());
            self.demux.add_ufrag(&ice.ufrag, key);
            p.transport.restart_ice(&ice, now);
            self.quality_restarted(key, now);
        }
        self.reschedule(key, now);
    }

    /// Returns the ICE credentials it names.
    fn send_offer(
        &mut self,
        key: PeerKey,
        fresh_ice: bool,
    ) -> Option<crate::negotiate::IceCredentials> {
        let local = self.local_parameters(key, fresh_ice)?;
        let p = self.peers.get_mut(key)?;
        let Peer {
            negotiation, ssrcs, ..
        } = p;
        let offer = negotiation.create_offer(&local, || ssrcs.fresh());
        self.events.push_back(Event::Offer {
            peer: p.sid,
            id: offer.id,
            sdp: offer.sdp,
            mid_to_track: offer.mid_to_track,
        });
        Some(local.ice)
    }

    /// [`Command::Answer`](crate::Command::Answer).
    pub(crate) fn answer(
        &mut self,
        key: PeerKey,
        id: u32,
        answer: &SessionDescription,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(p) = self.peers.get_mut(key) else {
            return;
        };
        match p.negotiation.handle_answer(id, answer) {
            // What there is goes on as it is.
            Err(NegotiationError::SetupUnusable) if p.transport.has_remote() => {
                tracing::debug!(participant = %p.sid, id, "answer with an unusable DTLS role ignored");
            }
            Err(error) => {
                let event = Event::NegotiationFailed {
                    peer: p.sid,
                    reason: error.to_string(),
                };
                self.events.push_back(event);
            }
            Ok(None) => {
                tracing::debug!(participant = %p.sid, id, "answer to no offer of now ignored")
            }
            Ok(Some(answered)) => {
                p.transport.set_remote(&self.context, &answered.remote, now);
                self.take_over_subscriptions(key, now);
                self.offer_changes(key);
                self.drain_transport(key, now, out);
            }
        }
    }

    /// A transport of the participant came up.
    pub(crate) fn transport_up(&mut self, key: PeerKey, now: Instant, out: &mut impl SendBatch) {
        let Some(p) = self.peers.get_mut(key) else {
            return;
        };
        let (sid, news) = (p.sid, p.primary || p.lost);
        p.lost = false;
        let is_well = |key: PeerKey| {
            self.peers
                .get(key)
                .is_some_and(|p| !p.lost && (!p.primary || p.transport.is_connected()))
        };
        let both = [self.sids.get(&sid).copied(), self.subscriber(sid)];
        if news && both.into_iter().flatten().all(is_well) {
            self.events.push_back(Event::Connected { peer: sid });
            for key in both.into_iter().flatten() {
                self.begin_to_count(key, now, out);
            }
        }
    }

    /// The participant is there. What it said before, on a connection that was up sooner, has waited for this.
    fn begin_to_count(&mut self, key: PeerKey, now: Instant, out: &mut impl SendBatch) {
        let Some(p) = self.peers.get_mut(key).filter(|p| !p.is_there) else {
            return;
        };
        p.is_there = true;
        p.transport.take_data();
        self.drain_transport(key, now, out);
    }

    /// A transport of the participant is gone.
    pub(crate) fn transport_down(&mut self, key: PeerKey, reason: DisconnectReason) {
        if let Some(p) = self.peers.get_mut(key) {
            p.lost = true;
            let peer = p.sid;
            self.events.push_back(Event::Disconnected { peer, reason });
        }
    }
}
