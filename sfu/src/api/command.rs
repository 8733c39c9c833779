//! Commands to a shard.

use protocol::{DataTrackSid, ParticipantIdentity, ParticipantSid, RoomSid, TrackSid};

use super::{
    datagram::TransportProtocol,
    parameters::{Bound, IceCredentials, ReceiveSection, RemoteParameters, SendStream, Target},
    track::{DataChannel, PublishedTrack, SpatialLayer, TrackCodec, TrackSetting},
};
use crate::{
    data_track::Handle as DataTrackHandle,
    sdp::{SdpError, SessionDescription},
};

/// Rights of a participant over media. The shard enforces them again, since packets do not pass by the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerPermissions {
    /// The participant may send data packets.
    pub can_publish_data: bool,
    /// The participant is invisible: its data packets carry no sender, and others are not told of it.
    pub hidden: bool,
    /// The participant may send transcriptions and other packets reserved for agents.
    pub agent: bool,
    /// The participant gets every voice, not the loudest only. Counts for subscriptions made from then on.
    pub hears_all: bool,
}

/// A request of the control side to a shard.
///
/// Every variant says which [`Event`](super::Event) answers it. "No event" means that nothing comes back, also where
/// the shard ignores the command: one about an unknown peer, room or track crossed with an event, or with another
/// command, that removed it.
///
/// Order:
/// - The commands of one room are carried out in the order in which the room gave them. Between rooms, and between
///   commands and datagrams, there is no order.
/// - The events of one room arrive in the order in which they happened. Those of the [`Negotiator`](crate::Negotiator)
///   (`Answer`, `Offer`, `TrackBound` and the like) are made in the room's task: they may be there before the shard has
///   the commands that belong to them.
/// - An event may cross with a command. The room ignores an event about what it has removed.
/// - What a shard asks of another one (`Shard::poll_request`) keeps its order too. Relayed packets do not wait for it.
///
/// Losses:
/// - Commands, also those from shard to shard: none.
/// - Events: none, except those of a room that has ended.
/// - Relayed packets (`Shard::drain_relayed`): lost as on a network, and repaired by [`Command::RelayMissing`] where
///   they are media.
/// - Datagrams: lost as on a network.
#[derive(Debug, Clone)]
pub enum Command {
    /// A participant joined the room; its transport comes to life with its first [`Command::Offer`]. No event, but
    /// [`Event::NegotiationFailed`](super::Event::NegotiationFailed) where the shard has as many peers as it may.
    AddPeer {
        /// The room; created when it is new.
        room: RoomSid,
        /// The participant.
        peer: ParticipantSid,
        /// Stamped on its data packets, and matched against `destination_identities`.
        identity: ParticipantIdentity,
        /// The person behind the participant: the participant's own identity, or that of the participant whose
        /// companion it is. A person and their companions count as one voice.
        principal: ParticipantIdentity,
        /// Rights of the participant.
        permissions: PeerPermissions,
    },
    /// The participant has a second PeerConnection, on which it receives, and which we offer; what it sends comes on
    /// the first one (LiveKit's older protocol). Given before its first subscription. No event.
    AddSubscriber {
        /// The participant.
        peer: ParticipantSid,
        /// The second PeerConnection is the primary one: the participant is connected when this one is, and may need no
        /// other.
        primary: bool,
    },
    /// The participant left: its transport is closed at once, its tracks vanish. No event.
    RemovePeer {
        /// The participant.
        peer: ParticipantSid,
    },
    /// The participant's permissions changed. No event.
    SetPermissions {
        /// The participant.
        peer: ParticipantSid,
        /// Rights of the participant from now on.
        permissions: PeerPermissions,
    },
    /// The client's SDP offer. Answered by [`Event::Answer`](super::Event::Answer) or
    /// [`Event::NegotiationFailed`](super::Event::NegotiationFailed). An offer whose DTLS role cannot be used is
    /// ignored once there is a connection.
    Offer {
        /// The participant.
        peer: ParticipantSid,
        /// The offer's id, echoed in the answer.
        id: u32,
        /// The offer, parsed. Parsing takes longer than media may wait: it is done in the room's task.
        description: Box<SessionDescription>,
    },
    /// Starts the offers of all subscriptions to a participant with a second PeerConnection. Answered by
    /// [`Event::Offer`](super::Event::Offer). From then on, changes are offered without a command.
    OfferSubscriber {
        /// The participant.
        peer: ParticipantSid,
        /// ICE is restarted: the client's network may have changed. An offer that is not answered is given up.
        restart_ice: bool,
    },
    /// The client's SDP answer to an [`Event::Offer`](super::Event::Offer). An answer to another than the last offer is
    /// ignored. A bad one is answered by [`Event::NegotiationFailed`](super::Event::NegotiationFailed); otherwise there
    /// is no event, or the next [`Event::Offer`](super::Event::Offer) where something changed meanwhile.
    Answer {
        /// The participant.
        peer: ParticipantSid,
        /// The offer's id; 0 from clients that know none.
        id: u32,
        /// The answer, parsed.
        description: Box<SessionDescription>,
    },
    /// A track is published: `add_track` was accepted. Answered by [`Event::TrackBound`](super::Event::TrackBound) or
    /// [`Event::TrackRefused`](super::Event::TrackRefused) when the client's offer is there too, then by
    /// [`Event::TrackActive`](super::Event::TrackActive). May come before or after the offer that carries it. A backup
    /// is announced with its track, and once more when the publisher is about to send it.
    Publish {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: PublishedTrack,
    },
    /// The track ends (by the client, or by a permission that was revoked). No event for the publisher; subscribers are
    /// negotiated with, as for [`Command::Unsubscribe`].
    Unpublish {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// The publisher muted or unmuted; muted packets are not forwarded. No event.
    SetMuted {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// Muted now.
        muted: bool,
    },
    /// `peer` receives `track` from its next answer on. Answered by
    /// [`Event::NegotiationNeeded`](super::Event::NegotiationNeeded) or [`Event::Offer`](super::Event::Offer) where an
    /// offer is needed, by [`Event::SubscriptionFailed`](super::Event::SubscriptionFailed) where no section can carry
    /// the track, and by [`Event::TrackSubscribed`](super::Event::TrackSubscribed) with the first packet.
    Subscribe {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track, published by another peer of the same room (in [`Command::Publish`] before this).
        track: TrackSid,
        /// Initial setting.
        setting: TrackSetting,
    },
    /// `peer` receives `track` no longer. No event of its own;
    /// [`Event::NegotiationNeeded`](super::Event::NegotiationNeeded) or [`Event::Offer`](super::Event::Offer) may
    /// follow.
    Unsubscribe {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// The subscriber's wish changed. No event of its own; the publisher hears of it by
    /// [`Event::WantedLayersChanged`](super::Event::WantedLayersChanged) where it should send more or less.
    SetTrackSetting {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// The wish.
        setting: TrackSetting,
    },
    /// The number of the room's voices, the loudest, that are forwarded from now on; 0: all. Sound of shared screens
    /// always is. No event.
    SetAudioTopN {
        /// The room; ignored while nobody is in it.
        room: RoomSid,
        /// The number; 0: all.
        limit: usize,
    },
    /// A data packet from the server (an encoded `DataPacket`, already stamped). No event.
    SendData {
        /// The room.
        room: RoomSid,
        /// Receivers; empty means everybody.
        to: Vec<ParticipantSid>,
        /// Channel.
        channel: DataChannel,
        /// Encoded `livekit.DataPacket`.
        payload: Vec<u8>,
    },
    /// A participant came back, and has each publisher's reliable data packets up to a number. The later ones are sent
    /// to it once more, as far as they are kept (30 s, and half a megabyte for each room). No event.
    ReplayData {
        /// The participant.
        peer: ParticipantSid,
        /// Publishers, and the last sequence number of each.
        received: Vec<(ParticipantSid, u32)>,
    },
    /// Our descriptions for this participant list candidates of this protocol only, if there are any. Given before its
    /// first offer, and before ours. No event. For tests of clients.
    RestrictCandidates {
        /// The participant.
        peer: ParticipantSid,
        /// UDP or TCP.
        protocol: TransportProtocol,
    },
    /// The network of this participant is taken to carry no more than this, however much it does. No event. For tests
    /// of clients.
    LimitBandwidth {
        /// The participant.
        peer: ParticipantSid,
        /// Bits per second towards it; `None`: as much as it carries.
        limit: Option<u64>,
    },
    /// The participant publishes a data track. No event.
    PublishData {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
        /// Name of the track in the publisher's packets.
        handle: DataTrackHandle,
    },
    /// The data track ends. No event.
    UnpublishData {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
    },
    /// `peer` receives this data track of another peer of its room. No event.
    SubscribeData {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
        /// Name of the track in the packets to this subscriber. No other track that it receives has the same.
        handle: DataTrackHandle,
    },
    /// `peer` receives this data track no longer. No event.
    UnsubscribeData {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
    },
    /// The participant is about to acknowledge and to answer a call: its next two reliable packets that are addressed
    /// to nobody but itself become [`Event::Reply`](super::Event::Reply). The packets are counted, so that a
    /// participant cannot flood the control side.
    AwaitReply {
        /// The participant.
        peer: ParticipantSid,
    },
    /// From now on, copies of the packets of `track` go to a room of another shard (or of this one). No event.
    Relay {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// The track's sid in that room ([`Command::PublishRelayed`]).
        relayed: TrackSid,
        /// [`Config::index`](super::Config::index) of that room's shard.
        shard: u16,
    },
    /// No more copies go to the other room. No event.
    StopRelay {
        /// The track's sid in the other room.
        relayed: TrackSid,
    },
    /// From now on, copies of the packets of all data tracks of a participant go to a room of another shard (or of this
    /// one). The data tracks have the same handles there ([`Command::PublishData`]). No event.
    RelayData {
        /// The publisher.
        peer: ParticipantSid,
        /// The publisher's sid in that room ([`Command::AddRelayedPeer`]).
        relayed: ParticipantSid,
        /// [`Config::index`](super::Config::index) of that room's shard; `None`: no more copies.
        shard: Option<u16>,
    },
    /// From the shard of the other room: the layers that somebody there wants. No event of its own;
    /// [`Event::WantedLayersChanged`](super::Event::WantedLayersChanged) where the publisher should send more or less.
    RelayWanted {
        /// The track's sid in the other room.
        relayed: TrackSid,
        /// Layers up to this one; `None`: nobody wants any.
        wanted: Option<SpatialLayer>,
    },
    /// From the shard of the other room: somebody there needs a key frame. No event: the publisher is asked by RTCP.
    RelayKeyFrame {
        /// The track's sid in the other room.
        relayed: TrackSid,
        /// The layer of which a key frame is needed.
        layer: SpatialLayer,
    },
    /// From the shard of the other room: packets were lost on the way there. Those that are kept go there once more, as
    /// far as they do not outweigh what went there. No event.
    RelayMissing {
        /// The track's sid in the other room.
        relayed: TrackSid,
        /// The layer of the packets.
        layer: SpatialLayer,
        /// SSRC of their stream, which the layer may not have any more.
        ssrc: u32,
        /// Sequence numbers of the packets.
        seqs: Vec<u16>,
    },
    /// Somebody who is connected to another shard is in this room too. What this participant publishes comes from that
    /// shard ([`Shard::handle_relayed`](crate::Shard::handle_relayed)); it receives nothing. Answered by
    /// [`Event::Connected`](super::Event::Connected) or [`Event::NegotiationFailed`](super::Event::NegotiationFailed).
    AddRelayedPeer {
        /// The room; created when it is new.
        room: RoomSid,
        /// The participant, by its sid in this room.
        peer: ParticipantSid,
        /// Stamped on the participant's data packets.
        identity: ParticipantIdentity,
        /// The person behind the participant, as in [`Command::AddPeer`].
        principal: ParticipantIdentity,
        /// [`Config::index`](super::Config::index) of the shard that the participant is connected to.
        source: u16,
    },
    /// A track of a participant who is connected elsewhere. It can be subscribed to at once. No event but
    /// [`Event::TrackActive`](super::Event::TrackActive), with its first packet.
    PublishRelayed {
        /// The publisher.
        peer: ParticipantSid,
        /// The track, by its sid in this room.
        track: PublishedTrack,
        /// The codec of the track.
        codec: TrackCodec,
    },
    /// From the [`Negotiator`](crate::Negotiator): ICE credentials under which the client reaches a PeerConnection from
    /// now on. No event.
    SetIce {
        /// The participant.
        peer: ParticipantSid,
        /// The PeerConnection.
        target: Target,
        /// Our credentials.
        ice: IceCredentials,
        /// The client restarts ICE, or is to: media goes on along the old path until another one is nominated.
        restart: bool,
    },
    /// From the [`Negotiator`](crate::Negotiator): the client's side of a PeerConnection, as the client described it
    /// last. The PeerConnection comes to life with the first of these. Answered by
    /// [`Event::Connected`](super::Event::Connected), or [`Event::Disconnected`](super::Event::Disconnected).
    SetRemote {
        /// The participant.
        peer: ParticipantSid,
        /// The PeerConnection.
        target: Target,
        /// The client's side of the transport.
        remote: Box<RemoteParameters>,
    },
    /// From the [`Negotiator`](crate::Negotiator): the sections in which the client sends, all of them. No event.
    Receive {
        /// The publisher.
        peer: ParticipantSid,
        /// The sections, in the order of the client's description.
        sections: Vec<ReceiveSection>,
    },
    /// From the [`Negotiator`](crate::Negotiator): a track found its section, one of the last [`Command::Receive`].
    /// Answered by [`Event::TrackActive`](super::Event::TrackActive), with the first packet of each layer.
    Bind {
        /// The publisher.
        peer: ParticipantSid,
        /// The track, and what it is encoded with.
        bound: Box<Bound>,
    },
    /// From the [`Negotiator`](crate::Negotiator): a backup lost its section, and is again as it was when it was
    /// announced. No event.
    Unbind {
        /// The publisher.
        peer: ParticipantSid,
        /// The backup.
        track: TrackSid,
    },
    /// From the [`Negotiator`](crate::Negotiator): a subscription, made from [`Command::Subscribe`]. Nothing is sent
    /// before [`Command::Send`] says how. No event.
    AddDownTrack {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// Initial setting.
        setting: TrackSetting,
        /// SSRCs of the media and of its retransmissions. This subscriber has had them for nothing else.
        ssrcs: (u32, u32),
        /// The subscription begins with the track's backup.
        in_backup: bool,
        /// The subscription takes the place of one that did not arrive
        /// ([`Event::Undelivered`](super::Event::Undelivered)).
        repaired: bool,
    },
    /// From the [`Negotiator`](crate::Negotiator): how subscriptions are sent from now on, as far as that changed.
    /// Answered by [`Event::TrackSubscribed`](super::Event::TrackSubscribed), with the first packet of each
    /// subscription.
    Send {
        /// The subscriber.
        peer: ParticipantSid,
        /// Subscriptions whose section is new, or differs from before.
        changed: Vec<SendStream>,
        /// Subscriptions that have no section any more.
        stopped: Vec<TrackSid>,
    },
    /// The room ended; peers that are still in it are removed. No event, for these peers and from then on.
    CloseRoom {
        /// The room.
        room: RoomSid,
    },
}

impl Command {
    /// The participant that the command is about; `None` where it is about a whole room, or about a copy of a track.
    pub fn peer(&self) -> Option<ParticipantSid> {
        match self {
            Self::SetAudioTopN { .. }
            | Self::SendData { .. }
            | Self::StopRelay { .. }
            | Self::RelayWanted { .. }
            | Self::RelayKeyFrame { .. }
            | Self::RelayMissing { .. }
            | Self::CloseRoom { .. } => None,
            Self::AddPeer { peer, .. }
            | Self::AddSubscriber { peer, .. }
            | Self::RemovePeer { peer }
            | Self::SetPermissions { peer, .. }
            | Self::Offer { peer, .. }
            | Self::OfferSubscriber { peer, .. }
            | Self::Answer { peer, .. }
            | Self::Publish { peer, .. }
            | Self::Unpublish { peer, .. }
            | Self::SetMuted { peer, .. }
            | Self::Subscribe { peer, .. }
            | Self::Unsubscribe { peer, .. }
            | Self::SetTrackSetting { peer, .. }
            | Self::ReplayData { peer, .. }
            | Self::RestrictCandidates { peer, .. }
            | Self::LimitBandwidth { peer, .. }
            | Self::PublishData { peer, .. }
            | Self::UnpublishData { peer, .. }
            | Self::SubscribeData { peer, .. }
            | Self::UnsubscribeData { peer, .. }
            | Self::AwaitReply { peer }
            | Self::Relay { peer, .. }
            | Self::RelayData { peer, .. }
            | Self::AddRelayedPeer { peer, .. }
            | Self::SetIce { peer, .. }
            | Self::SetRemote { peer, .. }
            | Self::Receive { peer, .. }
            | Self::Bind { peer, .. }
            | Self::Unbind { peer, .. }
            | Self::AddDownTrack { peer, .. }
            | Self::Send { peer, .. }
            | Self::PublishRelayed { peer, .. } => Some(*peer),
        }
    }

    /// [`Command::Offer`] from SDP.
    ///
    /// # Errors
    /// [`SdpError`] when the text cannot be read.
    pub fn offer(peer: ParticipantSid, id: u32, sdp: &str) -> Result<Self, SdpError> {
        let description = Box::new(SessionDescription::parse(sdp)?);
        Ok(Self::Offer {
            peer,
            id,
            description,
        })
    }

    /// [`Command::Answer`] from SDP.
    ///
    /// # Errors
    /// [`SdpError`] when the text cannot be read.
    pub fn answer(peer: ParticipantSid, id: u32, sdp: &str) -> Result<Self, SdpError> {
        let description = Box::new(SessionDescription::parse(sdp)?);
        Ok(Self::Answer {
            peer,
            id,
            description,
        })
    }
}
