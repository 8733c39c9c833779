//! The second connection of a participant, on which the participant receives; and when one with two is connected.

use std::time::Instant;

use protocol::ParticipantSid;

use crate::{
    api::{DisconnectReason, Event, SendBatch},
    keys::{ConnectionKey, MemberKey},
    shard::Shard,
};

impl Shard {
    /// [`MemberCommand::AddSecondConnection`](crate::MemberCommand::AddSecondConnection).
    pub(crate) fn add_second_connection(
        &mut self,
        sid: ParticipantSid,
        is_primary: bool,
        now: Instant,
    ) {
        let Some(member) = self.sids.get(&sid).copied() else {
            return;
        };
        let m = self.members.get(member).filter(|m| m.second().is_none());
        let Some(first) = m.and_then(|m| m.sends) else {
            return;
        };
        let second = self.connect(member, sid, true, now);
        if let Some(m) = self.members.get_mut(member) {
            m.receives = Some(second);
        }
        if let Some(c) = self.connections.get_mut(second) {
            c.is_primary = is_primary;
        }
        if let Some(c) = self.connections.get_mut(first) {
            debug_assert!(c.downs.is_empty(), "it receives on the first one already");
            c.is_primary = !is_primary;
        }
    }

    /// A connection came up.
    pub(crate) fn transport_up(
        &mut self,
        key: ConnectionKey,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(c) = self.connections.get_mut(key) else {
            return;
        };
        let (member, news) = (c.member, c.is_primary || c.lost);
        c.lost = false;
        let Some(m) = self.members.get(member).filter(|_| news) else {
            return;
        };
        let is_well = |key: ConnectionKey| {
            let c = self.connections.get(key);
            c.is_some_and(|c| !c.lost && (!c.is_primary || c.transport.is_connected()))
        };
        if m.connections().all(is_well) {
            self.events.push_back(Event::Connected { peer: m.sid });
            self.begin_to_count(member, now, out);
        }
    }

    /// The member is there from now on. Its packets on a connection that was up sooner have waited for this.
    fn begin_to_count(&mut self, member: MemberKey, now: Instant, out: &mut impl SendBatch) {
        let Some(m) = self.members.get_mut(member) else {
            return;
        };
        m.is_there = true;
        for key in m.connections() {
            if let Some(c) = self.connections.get_mut(key) {
                c.transport.take_data();
            }
            self.drain_transport(key, now, out);
        }
    }

    /// A connection is gone.
    pub(crate) fn transport_down(&mut self, key: ConnectionKey, reason: DisconnectReason) {
        if let Some(c) = self.connections.get_mut(key) {
            c.lost = true;
            let peer = c.sid;
            self.events.push_back(Event::Disconnected { peer, reason });
        }
    }
}
