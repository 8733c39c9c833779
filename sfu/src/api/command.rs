//! Commands: what a room wants ([`Command`]), and what its shard needs for it ([`ShardCommand`]), each grouped by the
//! noun that it is about.

pub mod connection;
pub mod data;
pub mod description;
pub mod member;
pub mod relay;
pub mod room;
pub mod subscription;
pub mod track;

use self::{
    connection::ConnectionCommand,
    data::DataCommand,
    description::DescriptionCommand,
    member::MemberCommand,
    relay::{RelayCommand, RelayRequest},
    room::RoomCommand,
    subscription::{DownTrackCommand, SubscriptionCommand},
    track::TrackCommand,
};

/// A request of a room to its [`Negotiator`](crate::Negotiator), which carries it out, or passes it on to the shard.
///
/// Every variant says which [`Event`](crate::Event) answers it. "No event" means that nothing comes back, also where it
/// is ignored: a command about an unknown peer, room or track crossed with an event, or with another command, that
/// removed it.
///
/// Order:
/// - The commands of one room are carried out in the order in which the room gave them. Between rooms, and between
///   commands and datagrams, there is no order.
/// - The events of one room arrive in the order in which they happened. Those of the negotiator (`Answer`, `Offer`,
///   `TrackBound` and the like) are made in the room's task: they may be there before the shard has the commands that
///   belong to them.
/// - An event may cross with a command. The room ignores an event about what it has removed.
/// - What a shard asks of another one (`Shard::poll_request`) keeps its order too. Relayed packets do not wait for it.
///
/// Losses:
/// - Commands, also those from shard to shard: none.
/// - Events: none, except those of a room that has ended.
/// - Relayed packets (`Shard::drain_relayed`): lost as on a network, and repaired by [`RelayRequest::Resend`] where they
///   are media.
/// - Datagrams: lost as on a network.
#[derive(Debug, Clone)]
pub enum Command {
    /// About a member.
    Member(MemberCommand),
    /// About descriptions. The negotiator keeps it.
    Description(DescriptionCommand),
    /// About a published track.
    Track(TrackCommand),
    /// About a subscription. The shard gets a [`DownTrackCommand`].
    Subscription(SubscriptionCommand),
    /// About data packets.
    Data(DataCommand),
    /// About copies for rooms of other shards.
    Relay(RelayCommand),
    /// About the whole room.
    Room(RoomCommand),
}

/// A request of a [`Negotiator`](crate::Negotiator) to its shard, or of another shard.
#[derive(Debug, Clone)]
pub enum ShardCommand {
    /// About a member.
    Member(MemberCommand),
    /// About what a client has agreed on with us.
    Connection(ConnectionCommand),
    /// About a published track.
    Track(TrackCommand),
    /// About a subscription.
    DownTrack(DownTrackCommand),
    /// About data packets.
    Data(DataCommand),
    /// About copies for rooms of other shards.
    Relay(RelayCommand),
    /// About a copy that another shard gets.
    Requested(RelayRequest),
    /// About a whole room.
    Room(RoomCommand),
}

macro_rules! from {
    ($to:ident: $($group:ident($command:ident)),*) => {
        $(impl From<$command> for $to {
            fn from(command: $command) -> Self {
                Self::$group(command)
            }
        })*
    };
}

from!(Command: Member(MemberCommand), Description(DescriptionCommand), Track(TrackCommand));
from!(Command: Subscription(SubscriptionCommand), Data(DataCommand), Relay(RelayCommand), Room(RoomCommand));
from!(ShardCommand: Member(MemberCommand), Connection(ConnectionCommand), Track(TrackCommand));
from!(ShardCommand: DownTrack(DownTrackCommand), Data(DataCommand), Relay(RelayCommand), Room(RoomCommand));
from!(ShardCommand: Requested(RelayRequest));
