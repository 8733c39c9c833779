//! Data packets: taken from a participant's data channel, stamped with the sender, passed to the receivers. Packets of
//! data tracks have no sender in them, but a handle.

use std::time::Instant;

use protocol::{
    ParticipantSid,
    data_packet::{self, DataPacketView, RefusedDataPacket},
};

use crate::{
    api::{Command, DataChannel, Event, SendBatch},
    data_track::{self, DataTracks},
    keys::PeerKey,
    peer::Peer,
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
        awaits: PeerKey,
    },
}

impl Shard {
    /// Handles a packet from a data channel. A packet on a channel that we do not know is a user's packet for
    /// everybody.
    pub(crate) fn handle_data(
        &mut self,
        connection: PeerKey,
        channel: Option<DataChannel>,
        message: &mut [u8],
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        // The sender is the participant, on whichever of its PeerConnections the packet came.
        let sid = self.peers.get(connection).map(|p| p.sid);
        let Some(peer) = sid.and_then(|sid| self.sids.get(&sid).copied()) else {
            return;
        };
        let routed = match channel {
            Some(DataChannel::DataTrack) => self
                .route_data_track(peer, message, now, out)
                .ok_or(DropReason::Data),
            Some(channel) => self.route_data(peer, channel, message, now, out),
            None => {
                let packet = data_packet::of_user(message);
                self.route_data(peer, DataChannel::Reliable, &packet, now, out)
            }
        };
        match routed {
            Ok(Routed::Sent) => {}
            Ok(Routed::NotYet { awaits }) => self.hold(connection, channel, message, awaits, now),
            Err(reason) => self.stats.drop(reason),
        }
    }

    /// Commands about data tracks.
    pub(crate) fn change_data_tracks(&mut self, command: Command) {
        match command {
            Command::PublishData {
                peer,
                track,
                handle,
            } => self.with_data_tracks(peer, |key, tracks| tracks.publish(track, key, handle)),
            Command::UnpublishData { peer, track } => {
                self.with_data_tracks(peer, |key, tracks| tracks.unpublish(track, key));
            }
            Command::SubscribeData {
                peer,
                track,
                handle,
            } => self.with_data_tracks(peer, |key, tracks| tracks.subscribe(track, key, handle)),
            Command::UnsubscribeData { peer, track } => {
                self.with_data_tracks(peer, |key, tracks| tracks.unsubscribe(track, key));
            }
            _ => {}
        }
    }

    /// Runs `change` on the data tracks of the participant's room.
    fn with_data_tracks(
        &mut self,
        peer: ParticipantSid,
        change: impl FnOnce(PeerKey, &mut DataTracks<PeerKey>),
    ) {
        let Some(key) = self.sids.get(&peer).copied() else {
            return;
        };
        let router = self.peers.get(key).map(|p| p.router);
        if let Some(router) = router.and_then(|router| self.routers.get_mut(router)) {
            change(key, &mut router.data_tracks);
        }
    }

    /// [`Command::SendData`].
    pub(crate) fn send_data(&mut self, command: Command, now: Instant, out: &mut impl SendBatch) {
        let Command::SendData {
            room,
            to,
            channel,
            payload,
        } = command
        else {
            return;
        };
        // The limit is the one for participants.
        if payload.len() > MAX_MESSAGE_SIZE as usize {
            return self.stats.drop(DropReason::Data);
        }
        let Some(router) = self.rooms.get(&room).and_then(|key| self.routers.get(*key)) else {
            return;
        };
        for member in router.members.clone() {
            if self
                .peers
                .get(member)
                .is_some_and(|p| to.is_empty() || to.contains(&p.sid))
            {
                self.deliver(member, channel, &payload, now, out);
            }
        }
    }

    /// [`Command::ReplayData`]. Where the channel is not open yet, every packet for it waits already.
    pub(crate) fn replay_data(
        &mut self,
        peer: ParticipantSid,
        received: &[(ParticipantSid, u32)],
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(key) = self.sids.get(&peer).copied() else {
            return;
        };
        let receiving = self.receiving(key);
        let is_open = |p: &Peer| p.transport.is_open(DataChannel::Reliable);
        if self.peers.get(receiving).is_some_and(is_open) {
            self.replay(key, received, None, now, out);
        }
    }

    /// Sends the packets that went through the room since `since`, or since the participant joined, once more.
    fn replay(
        &mut self,
        key: PeerKey,
        received: &[(ParticipantSid, u32)],
        since: Option<Instant>,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(p) = self.peers.get(key) else { return };
        let Some(router) = self.routers.get(p.router) else {
            return;
        };
        let missed = router
            .replay
            .missed(received, since.unwrap_or(p.joined), now);
        let addressed = missed
            .filter(|packet| packet.from != p.sid)
            .filter(|packet| {
                DataPacketView::parse(&packet.payload)
                    .is_ok_and(|view| view.is_addressed_to(p.identity.as_str(), p.sid.as_str()))
            });
        let packets: Vec<_> = addressed.map(|packet| packet.payload.to_vec()).collect();
        for packet in packets {
            self.deliver(key, DataChannel::Reliable, &packet, now, out);
        }
    }

    /// The peer's channel is open. Packets that waited for it go out, and those that found no room to wait, as far as
    /// the room keeps them.
    pub(crate) fn channel_opened(
        &mut self,
        peer: PeerKey,
        channel: DataChannel,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        if channel != DataChannel::Reliable {
            return;
        }
        let Some(p) = self.peers.get_mut(peer) else {
            return;
        };
        let (sid, (waiting, full_since)) = (p.sid, p.waiting.take());
        for packet in waiting {
            self.deliver(peer, channel, &packet, now, out);
        }
        if let (Some(since), Some(key)) = (full_since, self.sids.get(&sid).copied()) {
            self.replay(key, &[], Some(since), now, out);
        }
    }

    fn route_data(
        &mut self,
        peer: PeerKey,
        channel: DataChannel,
        message: &[u8],
        now: Instant,
        out: &mut impl SendBatch,
    ) -> Result<Routed, DropReason> {
        let view = DataPacketView::parse(message).map_err(|refused| match refused {
            RefusedDataPacket::Malformed(_) => DropReason::Data,
            RefusedDataPacket::TooManyDestinations => DropReason::TooManyReceivers,
        })?;
        self.route_parsed(peer, channel, message, &view, now, out)
            .ok_or(DropReason::Data)
    }

    fn route_parsed(
        &mut self,
        peer: PeerKey,
        channel: DataChannel,
        message: &[u8],
        view: &DataPacketView<'_>,
        now: Instant,
        out: &mut impl SendBatch,
    ) -> Option<Routed> {
        let sender = self.peers.get(peer)?;
        if !sender.permissions.can_publish_data {
            return None;
        }
        let members = self.routers.get(sender.router)?.members.clone();
        let is_reliable = channel == DataChannel::Reliable;
        // The sender came back and repeats packets that have arrived already.
        if is_reliable && view.sequence != 0 && view.sequence <= sender.last_reliable {
            return Some(Routed::Sent);
        }
        if view.is_reserved_for_agents() && !sender.permissions.agent {
            return None;
        }
        let receivers = members.into_iter().filter(|member| {
            let receiver = self.peers.get(*member).filter(|_| *member != peer);
            receiver.is_some_and(|p| view.is_addressed_to(p.identity.as_str(), p.sid.as_str()))
        });
        let mut receivers: Vec<_> = receivers.collect();
        if is_reliable && sender.leaves {
            receivers.retain(|receiver| {
                let is_ready = !self.is_full(self.receiving(*receiver));
                if !is_ready {
                    self.stats.drop(DropReason::DataUndelivered);
                }
                is_ready
            });
        } else if is_reliable && let Some(awaits) = self.not_ready(&receivers, now) {
            return Some(Routed::NotYet { awaits });
        }
        let sender = self.peers.get_mut(peer)?;
        if is_reliable && view.sequence != 0 {
            sender.last_reliable = view.sequence;
        }
        if is_reliable
            && sender.awaited_replies > 0
            && view.is_addressed_only_to(sender.identity.as_str())
        {
            sender.awaited_replies -= 1;
            self.events.push_back(Event::Reply {
                peer: sender.sid,
                payload: message.to_vec(),
            });
            return Some(Routed::Sent);
        }
        let identity = sender.identity.as_str();
        let (own, sid) = match sender.permissions.hidden {
            true => ("", ""),
            false => (identity, sender.sid.as_str()),
        };
        // Agents transcribe what others say, in their names. Nobody else speaks for anybody.
        let other = view.speaks_for(identity);
        let stamped = match other.filter(|_| sender.permissions.agent) {
            Some(other) => view.stamp_generated(other, sid).ok()?,
            None => view.stamp(own, sid).ok()?,
        };
        // No receiver would take a larger packet.
        if stamped.len() > MAX_SENT_MESSAGE {
            return None;
        }
        let (from, router) = (sender.sid, sender.router);
        if is_reliable && let Some(router) = self.routers.get_mut(router) {
            router.replay.keep(from, view.sequence, &stamped, now);
        }
        for member in receivers {
            self.deliver(member, channel, &stamped, now, out);
        }
        Some(Routed::Sent)
    }

    /// Sends a packet of one of the sender's data tracks to each subscriber, under its own handle.
    fn route_data_track(
        &mut self,
        peer: PeerKey,
        message: &mut [u8],
        now: Instant,
        out: &mut impl SendBatch,
    ) -> Option<Routed> {
        let sender = self.peers.get(peer)?;
        if !sender.permissions.can_publish_data {
            return None;
        }
        self.forward_data_track(peer, message, now, out)?;
        Some(Routed::Sent)
    }

    /// Does so wherever the sender is connected.
    pub(crate) fn forward_data_track(
        &mut self,
        peer: PeerKey,
        message: &mut [u8],
        now: Instant,
        out: &mut impl SendBatch,
    ) -> Option<()> {
        let sender = self.peers.get(peer)?;
        let handle = data_track::handle(message)?;
        let tracks = &self.routers.get(sender.router)?.data_tracks;
        let subscribers = tracks.subscribers(peer, handle)?.to_vec();
        self.tap_data(peer, message);
        for (member, handle) in subscribers {
            data_track::set_handle(message, handle);
            self.deliver(member, DataChannel::DataTrack, message, now, out);
        }
        Some(())
    }

    fn deliver(
        &mut self,
        member: PeerKey,
        channel: DataChannel,
        message: &[u8],
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let member = self.receiving(member);
        let Some(p) = self.peers.get_mut(member).filter(|p| p.source.is_none()) else {
            return;
        };
        if channel == DataChannel::Reliable && !p.transport.is_open(channel) {
            if !p.waiting.push(message, now) {
                self.stats.drop(DropReason::DataUndelivered);
            }
            return;
        }
        let is_reliable = channel == DataChannel::Reliable;
        if is_reliable && self.is_given_up(member, now) {
            return self.stats.drop(DropReason::DataUndelivered);
        }
        let Some(p) = self.peers.get_mut(member) else {
            return;
        };
        let outcome = p.transport.send_data(channel, message);
        if outcome != SendOutcome::Sent {
            // Too much waits for this reader, and nobody could keep it back: the reader is told. A packet that its
            // channel refuses for another reason is no fault of its reading.
            if is_reliable && outcome == SendOutcome::Full {
                self.cut_off(member, now);
            }
            return self.stats.drop(DropReason::DataUndelivered);
        }
        if is_reliable {
            p.reader.wrote(message.len());
        }
        p.transport.flush_data(now, out);
        self.stats.data_out += 1;
        self.reschedule(member, now);
    }

    /// The PeerConnection on which a participant receives.
    pub(crate) fn receiving(&self, member: PeerKey) -> PeerKey {
        let subscriber = self.peers.get(member).and_then(|p| p.subscriber);
        subscriber.unwrap_or(member)
    }
}
