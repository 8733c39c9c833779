//! The words of the wire: LiveKit's messages, ids and names, access tokens, the table of errors; and limits of
//! everything that is taken.
//!
//! Pure: no socket, no clock, no global randomness. Everything else of the project speaks through
//! these types; only this crate names `livekit-protocol`.

// The crate is pure. Its tests may take a first instant from the clock.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::iter_over_hash_type
    )
)]

pub mod api;
pub mod budget;
pub mod codec;
pub mod data_packet;
pub mod error;
pub mod ids;
pub mod join_query;
pub mod json;
pub mod lenient;
pub mod limits;
mod narrow;
pub mod prescan;
pub mod signal;
pub mod token;
pub mod turn;

pub use ids::{
    DataTrackSid, DispatchSid, JobSid, ParticipantIdentity, ParticipantSid, RoomName, RoomSid,
    TrackSid, WebhookSid, WorkerSid,
};

/// LiveKit's protobuf messages, under the names they have on the wire.
pub mod livekit {
    pub use livekit_protocol::*;
}

pub use prost;
