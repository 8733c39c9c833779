//! The boundary of the media engine: what goes in ([`Datagram`], [`Command`], [`ShardCommand`]) and what comes out
//! ([`SendBatch`], [`Event`]). Read this file first.
//!
//! A [`Shard`](crate::Shard) is a state machine. Its owner calls `handle_datagram` for each datagram of a receive
//! batch, then `flush` once; `handle_command` for each command; `handle_timeout` when the instant of `poll_timeout` has
//! come; and drains `poll_event` after each. Where a participant is in rooms of several shards, the owner also carries
//! what `drain_relayed` and `poll_request` have for other shards to their `handle_relayed` and `handle_command`. What
//! is answered, in which order, and what may be lost: see [`Command`]. The shard never blocks, never asks a clock, and
//! writes ciphertext straight into the owner's send buffer.

mod command;
mod config;
mod datagram;
mod event;
mod parameters;
mod track;

pub use self::{
    command::{
        Command, ShardCommand,
        connection::ConnectionCommand,
        data::DataCommand,
        description::DescriptionCommand,
        member::{MemberCommand, PeerPermissions},
        relay::{RelayCommand, RelayRequest},
        room::RoomCommand,
        subscription::{DownTrackCommand, SubscriptionCommand},
        track::TrackCommand,
    },
    config::{Certificate, Config},
    datagram::{Datagram, Destination, SendBatch, TransportProtocol},
    event::{
        DisconnectReason, Event, MediaSections, Quality, Reason, Speaker, SubscriptionFailure,
    },
    parameters::{
        Bound, CodecParameters, DeclaredSsrc, ExtensionIds, IceCredentials, MidElement,
        ReceiveSection, RemoteParameters, RidLayer, SctpParameters, SendParameters, SendStream,
        Target,
    },
    track::{
        AudioFeatures, BackupOf, DataChannel, LayerSize, MediaKind, PublishedTrack, SpatialLayer,
        TrackCodec, TrackSetting,
    },
};
pub use crate::data_track::Handle as DataTrackHandle;
