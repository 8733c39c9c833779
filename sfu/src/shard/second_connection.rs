//! The second PeerConnection of a participant, on which the participant receives.

use std::time::Instant;

use protocol::ParticipantSid;

use crate::{
    api::{DisconnectReason, Event, SendBatch},
    keys::PeerKey,
    shard::Shard,
};

impl Shard {
    /// The PeerConnection on which a participant receives.
    pub(crate) fn receiver(&self, sid: ParticipantSid) -> Option<PeerKey> {
        let key = *self.sids.get(&sid)?;
        Some(self.peers.get(key)?.subscriber.unwrap_or(key))
    }

    /// The second PeerConnection. `None` for a participant with one: an answer from it matches no offer and is ignored.
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
        let subscriber = self.insert_peer(sid, identity, permissions, router, true, now);
        if let Some(other) = self.peers.get_mut(subscriber) {
            other.primary = primary;
        }
        if let Some(p) = self.peers.get_mut(key) {
            p.subscriber = Some(subscriber);
            p.primary = !primary;
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

    /// The participant is there from now on. Its packets on a connection that was up sooner have waited for this.
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
