//! Rooms and sessions: state machines that turn messages into messages.
//!
//! Pure: no tokio, no socket, no clock, no global randomness. Start with [`api`].

// The crate is pure. Its tests may take a first instant from the clock.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::iter_over_hash_type
    )
)]

mod add_track;
pub mod agents;
mod announcements;
pub mod api;
mod audience;
mod backup;
mod budget;
mod clock;
mod data_tracks;
mod deadlines;
pub mod delivery_service;
mod descriptions;
mod encryption;
mod farewell;
mod forwarded_participant;
mod forwarding;
mod metadata;
mod participant;
mod people;
mod revocations;
mod room;
mod room_news;
mod rpc;
mod server_info;
mod session;
mod speakers;
mod track;

pub use agents::{
    Agents, AgentsInput, AgentsOutput, MAX_WORKER_FRAME, WorkerFault, WorkerId,
    dispatches::check_dispatches,
};
pub use api::*;
pub use encryption::Encryption;
pub use forwarded_participant::ForwardedParticipant;
pub use revocations::Revocations;
pub use room::Room;
pub use room_news::RoomNews;
pub use session::Session;
