//! Commands about packets for rooms of other shards, and the requests of those shards.

use protocol::{ParticipantSid, TrackSid};

use crate::api::track::SpatialLayer;

/// A command about copies of a member's packets for a room of another shard (or of this one).
#[derive(Debug, Clone)]
pub enum RelayCommand {
    /// From now on, copies of the packets of `track` go to a room of another shard (or of this one). No event.
    Start {
        /// The publisher.
        peer: ParticipantSid,
        /// The track.
        track: TrackSid,
        /// The track's sid in that room ([`TrackCommand::PublishRelayed`](crate::TrackCommand::PublishRelayed)).
        relayed: TrackSid,
        /// [`Config::index`](crate::Config::index) of that room's shard.
        shard: u16,
    },
    /// No more copies go to the other room. No event.
    Stop {
        /// The track's sid in the other room.
        relayed: TrackSid,
    },
    /// From now on, copies of the packets of all data tracks of a participant go to a room of another shard (or of this
    /// one). The data tracks have the same handles there ([`DataCommand::Publish`](crate::DataCommand::Publish)). No event.
    SetData {
        /// The publisher.
        peer: ParticipantSid,
        /// The publisher's sid in that room ([`MemberCommand::AddRelayed`](crate::MemberCommand::AddRelayed)).
        relayed: ParticipantSid,
        /// [`Config::index`](crate::Config::index) of that room's shard; `None`: no more copies.
        shard: Option<u16>,
    },
}

/// A request of another shard, about a copy of a track that it gets ([`RelayCommand::Start`]).
#[derive(Debug, Clone)]
pub enum RelayRequest {
    /// Somebody there wants these layers. No event of its own;
    /// [`Event::WantedLayersChanged`](crate::Event::WantedLayersChanged) where the publisher should send more or less.
    Want {
        /// The track's sid in the other room.
        relayed: TrackSid,
        /// Layers up to this one; `None`: nobody wants any.
        wanted: Option<SpatialLayer>,
    },
    /// Somebody there needs a key frame. No event: the publisher is asked by RTCP.
    KeyFrame {
        /// The track's sid in the other room.
        relayed: TrackSid,
        /// The layer of which a key frame is needed.
        layer: SpatialLayer,
    },
    /// Packets were lost on the way there. Those that are kept go there once more, as far as they do not outweigh what
    /// went there. No event.
    Resend {
        /// The track's sid in the other room.
        relayed: TrackSid,
        /// The layer of the packets.
        layer: SpatialLayer,
        /// SSRC of their stream, which the layer may not have any more.
        ssrc: u32,
        /// Sequence numbers of the packets.
        seqs: Vec<u16>,
    },
}
