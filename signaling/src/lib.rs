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

pub mod agents;
mod announce;
pub mod api;
mod backup;
mod budget;
mod clock;
mod cost;
mod data_tracks;
mod descriptions;
mod door;
mod dynacast;
mod forward;
mod forwarded;
mod join;
mod leave;
mod metadata;
mod moderate;
mod negotiate;
mod participant;
mod presence;
mod principal;
mod publish;
mod resume;
mod room;
mod rpc;
mod session;
mod simulate;
mod subscribe;
mod webhook;

pub use agents::{
    Agents, AgentsInput, AgentsOutput, MAX_WORKER_FRAME, RoomNews, WorkerFault, WorkerId,
    check_dispatches,
};
pub use api::*;
pub use forward::ForwardedParticipant;
pub use room::Room;
pub use session::Session;
