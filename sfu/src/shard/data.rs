//! Data packets: taken from a participant's data channel, stamped with the sender, passed to the receivers. Packets of
//! data tracks have no sender in them, but a handle.

use std::time::Instant;

use protocol::{
    ParticipantSid, RoomSid,
    data_packet::{self, DataPacketView, RefusedDataPacket},
};

use crate::{
    api::{DataChannel, DataCommand, Event, SendBatch},
    data_track::{self, DataTracks},
    keys::{ConnectionKey, MemberKey},
    shard::Shard,
    stats::DropReason,
    transport::{MAX_MESSAGE_SIZE, MAX_SENT_MESSAGE, SendOutcome},
};

/// The outcome of routing a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Routed {
    Sent,
    /// Some receivers are not ready for the packet, and nobody got it.
    NotYet {
        awaits: ConnectionKey,
    },
}

impl Shard {
    /// Handles a packet from a data channel. A packet on a channel that we do not know is a user's packet for
    /// everybody.
    pub(crate) fn handle_data(
        &mut self,
        connection: ConnectionKey,
        channel: Option<DataChannel>,
        message: &[u8],
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(sender) = self.connections.get(connection).map(|c| c.member) else {
            return;
        };
        let routed = match channel {
            Some(DataChannel::DataTrack) => self
                .route_data_track(sender, message, now, out)
                .ok_or(DropReason::Data),
            Some(channel) => self.route_data(sender, channel, message, now, out),
            None => {
                let packet = data_packet::of_user(message);
                self.route_data(sender, DataChannel::Reliable, &packet, now, out)
            }
        };
        match routed {
            Ok(Routed::Sent) => {}
            Ok(Routed::NotYet { awaits }) => self.hold(connection, channel, message, awaits, now),
            Err(reason) => self.stats.drop(reason),
        }
    }

    /// Carries out a command about data packets and data tracks.
    pub(super) fn data_command(
        &mut self,
        command: DataCommand,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        match command {
            DataCommand::Send {
                room,
                to,
                channel,
                payload,
            } => self.send_data(room, &to, channel, payload, now, out),
            DataCommand::Replay { peer, received } => self.replay_data(peer, &received, now, out),
            DataCommand::AwaitReply { peer } => {
                if let Some(m) = self.member_mut(peer) {
                    // An acknowledgement and an answer.
                    m.awaited_replies = m.awaited_replies.saturating_add(2);
                }
            }
            DataCommand::Publish {
                peer,
                track,
                handle,
            } => self.with_data_tracks(peer, |key, tracks| tracks.publish(track, key, handle)),
            DataCommand::Unpublish { peer, track } => {
                self.with_data_tracks(peer, |key, tracks| tracks.unpublish(track, key));
            }
            DataCommand::Subscribe {
                peer,
                track,
                handle,
            } => self.with_data_tracks(peer, |key, tracks| tracks.subscribe(track, key, handle)),
            DataCommand::Unsubscribe { peer, track } => {
                self.with_data_tracks(peer, |key, tracks| tracks.unsubscribe(track, key));
            }
        }
    }

    /// Runs `change` on the data tracks of the participant's room.
    fn with_data_tracks(
        &mut self,
        peer: ParticipantSid,
        change: impl FnOnce(MemberKey, &mut DataTracks<MemberKey>),
    ) {
        let Some(key) = self.sids.get(&peer).copied() else {
            return;
        };
        let router = self.members.get(key).map(|m| m.router);
        if let Some(router) = router.and_then(|router| self.routers.get_mut(router)) {
            change(key, &mut router.data_tracks);
        }
    }

    /// [`DataCommand::Send`].
    fn send_data(
        &mut self,
        room: RoomSid,
        to: &[ParticipantSid],
        channel: DataChannel,
        payload: Vec<u8>,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        // The limit is the one for participants.
        if payload.len() > MAX_MESSAGE_SIZE as usize {
            return self.stats.drop(DropReason::Data);
        }
        let Some(key) = self.rooms.get(&room).copied() else {
            return;
        };
        let Some(router) = self.routers.get(key) else {
            return;
        };
        let is_for = |member: &MemberKey| {
            let m = self.members.get(*member);
            m.is_some_and(|m| to.is_empty() || to.contains(&m.sid))
        };
        let members = router.members.iter().copied().filter(is_for);
        let receivers: Vec<_> = members.map(|member| (member, None)).collect();
        self.broadcast(key, channel, payload, receivers, now, out);
    }

    /// [`DataCommand::Replay`]. Where the channel is not open yet, every packet for it waits already.
    fn replay_data(
        &mut self,
        peer: ParticipantSid,
        received: &[(ParticipantSid, u32)],
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(key) = self.sids.get(&peer).copied() else {
            return;
        };
        let receiver = self.receiver(peer);
        let c = receiver.and_then(|key| self.connections.get(key));
        if c.is_some_and(|c| c.transport.is_open(DataChannel::Reliable)) {
            self.replay(key, received, None, now, out);
        }
    }

    /// Sends the packets that went through the room since `since`, or since the participant joined, once more.
    fn replay(
        &mut self,
        key: MemberKey,
        received: &[(ParticipantSid, u32)],
        since: Option<Instant>,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(m) = self.members.get(key) else {
            return;
        };
        let Some(router) = self.routers.get(m.router) else {
            return;
        };
        let missed = router
            .replay
            .missed(received, since.unwrap_or(m.joined), now);
        let addressed = missed
            .filter(|packet| packet.from != m.sid)
            .filter(|packet| {
                DataPacketView::parse(&packet.payload)
                    .is_ok_and(|view| view.is_addressed_to(m.identity.as_str(), m.sid.as_str()))
            });
        let packets: Vec<_> = addressed.map(|packet| packet.payload.to_vec()).collect();
        for packet in packets {
            self.deliver(key, DataChannel::Reliable, &packet, now, out);
        }
    }

    /// A client's channel is open. Packets that waited for it go out, and those that found no room to wait, as far as
    /// the room keeps them.
    pub(crate) fn channel_opened(
        &mut self,
        connection: ConnectionKey,
        channel: DataChannel,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        if channel != DataChannel::Reliable {
            return;
        }
        let Some(c) = self.connections.get_mut(connection) else {
            return;
        };
        let (member, (waiting, full_since)) = (c.member, c.waiting.take());
        for packet in waiting {
            self.deliver(member, channel, &packet, now, out);
        }
        if full_since.is_some() {
            self.replay(member, &[], full_since, now, out);
        }
    }

    fn route_data(
        &mut self,
        sender: MemberKey,
        channel: DataChannel,
        message: &[u8],
        now: Instant,
        out: &mut impl SendBatch,
    ) -> Result<Routed, DropReason> {
        let view = DataPacketView::parse(message).map_err(|refused| match refused {
            RefusedDataPacket::Malformed(_) => DropReason::Data,
            RefusedDataPacket::TooManyDestinations => DropReason::TooManyReceivers,
        })?;
        self.route_parsed(sender, channel, message, &view, now, out)
            .ok_or(DropReason::Data)
    }

    fn route_parsed(
        &mut self,
        sender: MemberKey,
        channel: DataChannel,
        message: &[u8],
        view: &DataPacketView<'_>,
        now: Instant,
        out: &mut impl SendBatch,
    ) -> Option<Routed> {
        let m = self.members.get(sender)?;
        if !m.permissions.can_publish_data {
            return None;
        }
        let members = self.routers.get(m.router)?.members.clone();
        let is_reliable = channel == DataChannel::Reliable;
        // The sender came back and repeats packets that have arrived already.
        if is_reliable && view.sequence != 0 && view.sequence <= m.last_reliable {
            return Some(Routed::Sent);
        }
        if view.is_reserved_for_agents() && !m.permissions.agent {
            return None;
        }
        let receivers = members.into_iter().filter(|member| {
            let receiver = self.members.get(*member).filter(|_| *member != sender);
            receiver.is_some_and(|m| view.is_addressed_to(m.identity.as_str(), m.sid.as_str()))
        });
        let mut receivers: Vec<_> = receivers.collect();
        if is_reliable && m.leaves {
            receivers.retain(|receiver| {
                let is_ready = !self
                    .receiving(*receiver)
                    .is_some_and(|key| self.is_full(key));
                if !is_ready {
                    self.stats.drop(DropReason::DataUndelivered);
                }
                is_ready
            });
        } else if is_reliable && let Some(awaits) = self.not_ready(&receivers, now) {
            return Some(Routed::NotYet { awaits });
        }
        let m = self.members.get_mut(sender)?;
        if is_reliable && view.sequence != 0 {
            m.last_reliable = view.sequence;
        }
        if is_reliable && m.awaited_replies > 0 && view.is_addressed_only_to(m.identity.as_str()) {
            m.awaited_replies -= 1;
            self.events.push_back(Event::Reply {
                peer: m.sid,
                payload: message.to_vec(),
            });
            return Some(Routed::Sent);
        }
        let identity = m.identity.as_str();
        let (own, sid) = match m.permissions.hidden {
            true => ("", ""),
            false => (identity, m.sid.as_str()),
        };
        // Agents transcribe what others say, in their names. Nobody else speaks for anybody.
        let other = view.speaks_for(identity);
        let stamped = match other.filter(|_| m.permissions.agent) {
            Some(other) => view.stamp_generated(other, sid).ok()?,
            None => view.stamp(own, sid).ok()?,
        };
        // No receiver would take a larger packet.
        if stamped.len() > MAX_SENT_MESSAGE {
            return None;
        }
        let (from, router) = (m.sid, m.router);
        if is_reliable && let Some(router) = self.routers.get_mut(router) {
            router.replay.keep(from, view.sequence, &stamped, now);
        }
        let receivers = receivers.into_iter().map(|member| (member, None));
        self.broadcast(router, channel, stamped, receivers, now, out);
        Some(Routed::Sent)
    }

    /// Sends a packet of one of the sender's data tracks to each subscriber, under its own handle.
    fn route_data_track(
        &mut self,
        sender: MemberKey,
        message: &[u8],
        now: Instant,
        out: &mut impl SendBatch,
    ) -> Option<Routed> {
        let m = self.members.get(sender)?;
        if !m.permissions.can_publish_data {
            return None;
        }
        self.forward_data_track(sender, message, now, out)?;
        Some(Routed::Sent)
    }

    /// Does so wherever the sender is connected.
    pub(crate) fn forward_data_track(
        &mut self,
        sender: MemberKey,
        message: &[u8],
        now: Instant,
        out: &mut impl SendBatch,
    ) -> Option<()> {
        let m = self.members.get(sender)?;
        let handle = data_track::handle(message)?;
        let router = m.router;
        let tracks = &self.routers.get(router)?.data_tracks;
        let subscribers = tracks.subscribers(sender, handle)?.to_vec();
        self.tap_data(sender, message);
        let receivers = subscribers
            .into_iter()
            .map(|(member, handle)| (member, Some(handle)));
        self.broadcast(
            router,
            DataChannel::DataTrack,
            message.to_vec(),
            receivers,
            now,
            out,
        );
        Some(())
    }

    pub(super) fn deliver(
        &mut self,
        member: MemberKey,
        channel: DataChannel,
        message: &[u8],
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(key) = self.receiving(member) else {
            return;
        };
        let Some(c) = self.connections.get_mut(key) else {
            return;
        };
        let is_reliable = channel == DataChannel::Reliable;
        if is_reliable && !c.transport.is_open(channel) {
            if !c.waiting.push(message, now) {
                self.stats.drop(DropReason::DataUndelivered);
            }
            return;
        }
        if is_reliable && self.is_given_up(key, now) {
            return self.stats.drop(DropReason::DataUndelivered);
        }
        let Some(c) = self.connections.get_mut(key) else {
            return;
        };
        let outcome = c.transport.send_data(channel, message);
        if outcome != SendOutcome::Sent {
            // Too much waits for this reader, and nobody could keep it back: the reader is told. A packet that its
            // channel refuses for another reason is no fault of its reading.
            if is_reliable && outcome == SendOutcome::Full {
                self.cut_off(key, now);
            }
            return self.stats.drop(DropReason::DataUndelivered);
        }
        if is_reliable {
            c.reader.wrote(message.len());
        }
        c.transport.flush_data(now, out);
        self.stats.data_out += 1;
        self.reschedule(key, now);
    }

    /// The connection on which a member receives.
    pub(super) fn receiving(&self, member: MemberKey) -> Option<ConnectionKey> {
        self.members.get(member)?.receives
    }
}
