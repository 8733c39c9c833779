//! Commands about the members of a room.

use protocol::{ParticipantIdentity, ParticipantSid, RoomSid};

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

/// A command about a member of a room.
#[derive(Debug, Clone)]
pub enum MemberCommand {
    /// A participant joined the room; its transport comes to life with its first [`DescriptionCommand::Offer`](crate::DescriptionCommand::Offer). No event, but
    /// [`Event::NegotiationFailed`](crate::Event::NegotiationFailed) where the shard has as many peers as it may.
    Add {
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
    /// Somebody who is connected to another shard is in this room too. What this participant publishes comes from that
    /// shard ([`Shard::handle_relayed`](crate::Shard::handle_relayed)); it receives nothing. Answered by
    /// [`Event::Connected`](crate::Event::Connected) or [`Event::NegotiationFailed`](crate::Event::NegotiationFailed).
    AddRelayed {
        /// The room; created when it is new.
        room: RoomSid,
        /// The participant, by its sid in this room.
        peer: ParticipantSid,
        /// Stamped on the participant's data packets.
        identity: ParticipantIdentity,
        /// The person behind the participant, as in [`MemberCommand::Add`](crate::MemberCommand::Add).
        principal: ParticipantIdentity,
        /// [`Config::index`](crate::Config::index) of the shard that the participant is connected to.
        source: u16,
    },
    /// The participant has a second PeerConnection, on which it receives, and which we offer; what it sends comes on
    /// the first one (LiveKit's older protocol). Given before its first subscription. No event.
    AddSecondConnection {
        /// The participant.
        peer: ParticipantSid,
        /// The second PeerConnection is the primary one: the participant is connected when this one is, and may need no
        /// other.
        primary: bool,
    },
    /// The participant left: its transport is closed at once, its tracks vanish. No event.
    Remove {
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
    /// The network of this participant is taken to carry no more than this, however much it does. No event. For tests
    /// of clients.
    LimitBandwidth {
        /// The participant.
        peer: ParticipantSid,
        /// Bits per second towards it; `None`: as much as it carries.
        limit: Option<u64>,
    },
}
