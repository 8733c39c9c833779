//! What a shard is told.

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

/// What a participant may do with media; enforced here again, since packets do not pass by the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerPermissions {
    /// May send data packets.
    pub can_publish_data: bool,
    /// Its data packets carry no sender, and nobody hears of it.
    pub hidden: bool,
    /// May send transcriptions and other packets reserved for agents.
    pub agent: bool,
    /// Gets every voice, not the loudest only. Counts for what it subscribes to from then on.
    pub hears_all: bool,
}

/// What the control side asks of a shard. Every command about an unknown peer, room or track is ignored: it crossed
/// with an event that removed it.
#[derive(Debug, Clone)]
pub enum Command {
    /// A participant joined the room; its transport comes to life with its first [`Command::Offer`].
    AddPeer {
        /// The room; created when it is new.
        room: RoomSid,
        /// The participant.
        peer: ParticipantSid,
        /// Stamped on its data packets, and matched against `destination_identities`.
        identity: ParticipantIdentity,
        /// Whose participant it is: its own identity, or that of the one whose companion it is. Together they have the voice
        /// of one.
        principal: ParticipantIdentity,
        /// What it may do.
        permissions: PeerPermissions,
    },
    /// The participant has a second PeerConnection, on which it receives, and which we offer; what it sends comes on the
    /// first one (LiveKit's older protocol). Said before its first subscription.
    AddSubscriber {
        /// The participant.
        peer: ParticipantSid,
        /// This one is the primary: the participant is connected when it is, and may need no other.
        primary: bool,
    },
    /// The participant left: its transport is closed at once, its tracks vanish.
    RemovePeer {
        /// The participant.
        peer: ParticipantSid,
    },
    /// Permissions changed.
    SetPermissions {
        /// The participant.
        peer: ParticipantSid,
        /// What it may do now.
        permissions: PeerPermissions,
    },
    /// The client's offer. Answered by [`Event::Answer`](super::Event::Answer) or
    /// [`Event::NegotiationFailed`](super::Event::NegotiationFailed).
    Offer {
        /// The participant.
        peer: ParticipantSid,
        /// The offer's id, echoed in the answer.
        id: u32,
        /// What it says. Reading its text takes longer than media may wait: that is done elsewhere.
        description: Box<SessionDescription>,
    },
    /// Offer all subscriptions to a participant with a second PeerConnection ([`Event::Offer`]). From then on, changes are
    /// offered by themselves.
    OfferSubscriber {
        /// The participant.
        peer: ParticipantSid,
        /// Restart ICE: its network may have changed. An offer that is not answered is given up.
        restart_ice: bool,
    },
    /// The client's SDP answer to an [`Event::Offer`]. One to another than the last offer is ignored; for a bad one there is
    /// [`Event::NegotiationFailed`].
    Answer {
        /// The participant.
        peer: ParticipantSid,
        /// The offer's id; 0 from clients that know none.
        id: u32,
        /// What it says.
        description: Box<SessionDescription>,
    },
    /// `add_track` was accepted. May come before or after the offer that carries it. A backup is announced with its track,
    /// and once more when the publisher is about to send it.
    Publish {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: PublishedTrack,
    },
    /// The track ends (by the client, or by a permission that was revoked).
    Unpublish {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// The publisher muted or unmuted; muted packets are not forwarded.
    SetMuted {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// Muted now.
        muted: bool,
    },
    /// `peer` receives `track` from its next answer on; [`Event::NegotiationNeeded`] or [`Event::Offer`] follows where an
    /// offer is needed.
    Subscribe {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track, published by another peer of the same room (in [`Command::Publish`] before this).
        track: TrackSid,
        /// Initial setting.
        setting: TrackSetting,
    },
    /// `peer` receives `track` no longer.
    Unsubscribe {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
    },
    /// The subscriber's wish changed.
    SetTrackSetting {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// The wish.
        setting: TrackSetting,
    },
    /// So many voices of the room, the loudest, are forwarded from now on; 0: all. Sound of shared screens always is.
    SetAudioTopN {
        /// The room; ignored while nobody is in it.
        room: RoomSid,
        /// How many.
        limit: usize,
    },
    /// A data packet from the server (an encoded `DataPacket`, already stamped).
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
    /// A participant came back and says up to which of each publisher's reliable data packets it got: it gets the later
    /// ones once more, as far as they are kept (30 s, and half a megabyte for each room).
    ReplayData {
        /// The participant.
        peer: ParticipantSid,
        /// Publishers, and the last sequence number of each.
        received: Vec<(ParticipantSid, u32)>,
    },
    /// Our descriptions name to this participant candidates of this protocol only, if there are any. Said before its first
    /// offer, and before ours. For tests of clients.
    RestrictCandidates {
        /// The participant.
        peer: ParticipantSid,
        /// UDP or TCP.
        protocol: TransportProtocol,
    },
    /// The network of this participant is taken to carry no more than this, however much it does. For tests of clients.
    LimitBandwidth {
        /// The participant.
        peer: ParticipantSid,
        /// Bits per second towards it; `None`: as much as it carries.
        limit: Option<u64>,
    },
    /// The participant publishes a data track.
    PublishData {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
        /// What names it in the publisher's packets.
        handle: DataTrackHandle,
    },
    /// The data track ends.
    UnpublishData {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
    },
    /// `peer` receives this data track of another peer of its room.
    SubscribeData {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
        /// What names it in the packets to this subscriber; no other track it receives has it.
        handle: DataTrackHandle,
    },
    /// `peer` receives this data track no longer.
    UnsubscribeData {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: DataTrackSid,
    },
    /// The participant is about to acknowledge and to answer something: its next two reliable packets that are addressed
    /// to nobody but itself become [`Event::Reply`]. Counted, so that a participant cannot flood the control side.
    AwaitReply {
        /// The participant.
        peer: ParticipantSid,
    },
    /// From now on, copies of the packets of `track` go to a room of another shard (or of this one).
    Relay {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// Its sid there ([`Command::PublishRelayed`]).
        relayed: TrackSid,
        /// [`Config::index`] of that shard.
        shard: u16,
    },
    /// No more copies.
    StopRelay {
        /// The track's sid in the other room.
        relayed: TrackSid,
    },
    /// From now on, copies of the packets of all data tracks of a participant go to a room of another shard (or of this
    /// one). They are the same there, under the same handles ([`Command::PublishData`]).
    RelayData {
        /// The publisher.
        peer: ParticipantSid,
        /// Its sid there ([`Command::AddRelayedPeer`]).
        relayed: ParticipantSid,
        /// [`Config::index`] of that shard; `None`: no more copies.
        shard: Option<u16>,
    },
    /// From the other shard: the layers that somebody there wants.
    RelayWanted {
        /// The track's sid there.
        relayed: TrackSid,
        /// Layers up to this one; `None`: nobody wants any.
        wanted: Option<SpatialLayer>,
    },
    /// From the other shard: somebody there needs a key frame.
    RelayKeyFrame {
        /// The track's sid there.
        relayed: TrackSid,
        /// Of this layer.
        layer: SpatialLayer,
    },
    /// From the other shard: packets were lost on the way there. Those that are kept go there once more, as far as they do
    /// not outweigh what went there.
    RelayMissing {
        /// The track's sid there.
        relayed: TrackSid,
        /// Of this layer.
        layer: SpatialLayer,
        /// Of this stream, which the layer may not have any more.
        ssrc: u32,
        /// Sequence numbers.
        seqs: Vec<u16>,
    },
    /// Somebody who is connected elsewhere is in the room too. What it publishes comes from the shard it is connected to
    /// ([`Shard::handle_relayed`](crate::Shard::handle_relayed)); it receives nothing. Answered by [`Event::Connected`] or
    /// [`Event::NegotiationFailed`].
    AddRelayedPeer {
        /// The room; created when it is new.
        room: RoomSid,
        /// The participant, by its sid in this room.
        peer: ParticipantSid,
        /// Who it is.
        identity: ParticipantIdentity,
        /// As in [`Command::AddPeer`].
        principal: ParticipantIdentity,
        /// [`Config::index`] of the shard it is connected to.
        source: u16,
    },
    /// A track of a participant who is connected elsewhere. It can be subscribed to at once.
    PublishRelayed {
        /// The publisher.
        peer: ParticipantSid,
        /// The track, by its sid in this room.
        track: PublishedTrack,
        /// What it is encoded with.
        codec: TrackCodec,
    },
    /// From the [`Negotiator`](crate::Negotiator): ICE credentials under which the client reaches a PeerConnection from now on.
    SetIce {
        /// The participant.
        peer: ParticipantSid,
        /// Which PeerConnection.
        target: Target,
        /// Ours.
        ice: IceCredentials,
        /// The client restarts ICE, or is to: media goes on along the old path until another one is nominated.
        restart: bool,
    },
    /// From the [`Negotiator`](crate::Negotiator): the client's side of a PeerConnection, as it described it last. It comes to
    /// life with the first of these. Followed by [`Event::Connected`](super::Event::Connected), or
    /// [`Event::Disconnected`](super::Event::Disconnected).
    SetRemote {
        /// The participant.
        peer: ParticipantSid,
        /// Which PeerConnection.
        target: Target,
        /// Its transport.
        remote: Box<RemoteParameters>,
    },
    /// From the [`Negotiator`](crate::Negotiator): the sections in which the client sends, all of them.
    Receive {
        /// The publisher.
        peer: ParticipantSid,
        /// In the order of its description.
        sections: Vec<ReceiveSection>,
    },
    /// From the [`Negotiator`](crate::Negotiator): a track found its section, one of the last [`Command::Receive`].
    Bind {
        /// The publisher.
        peer: ParticipantSid,
        /// The track, and what it is encoded with.
        bound: Box<Bound>,
    },
    /// From the [`Negotiator`](crate::Negotiator): a backup lost its section. It is as it was when it was announced.
    Unbind {
        /// The publisher.
        peer: ParticipantSid,
        /// The backup.
        track: TrackSid,
    },
    /// From the [`Negotiator`](crate::Negotiator): what [`Command::Subscribe`] comes to. Nothing is sent before
    /// [`Command::Send`] says how.
    AddDownTrack {
        /// The subscriber.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// Initial setting.
        setting: TrackSetting,
        /// SSRCs of the media and of its retransmissions, which this subscriber has had for nothing else.
        ssrcs: (u32, u32),
        /// It begins with the track's backup.
        in_backup: bool,
        /// It takes the place of one that did not arrive ([`Event::Undelivered`](super::Event::Undelivered)).
        repaired: bool,
    },
    /// From the [`Negotiator`](crate::Negotiator): how subscriptions are sent from now on, as far as that changed.
    Send {
        /// The subscriber.
        peer: ParticipantSid,
        /// Subscriptions whose section is new, or says something else than before.
        changed: Vec<SendStream>,
        /// Subscriptions that have no section any more.
        stopped: Vec<TrackSid>,
    },
    /// The room ended; peers that are still in it are removed without further events.
    CloseRoom {
        /// The room.
        room: RoomSid,
    },
}

impl Command {
    /// The participant it is about; `None` where it is about a whole room, or about a copy of a track.
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
    /// It cannot be read.
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
    /// It cannot be read.
    pub fn answer(peer: ParticipantSid, id: u32, sdp: &str) -> Result<Self, SdpError> {
        let description = Box::new(SessionDescription::parse(sdp)?);
        Ok(Self::Answer {
            peer,
            id,
            description,
        })
    }
}
