//! Rooms and sessions: state machines that turn messages into messages.
//!
//! Pure: no tokio, no socket, no clock, no global randomness. Start with [`api`].

mod announce;
pub mod api;
mod backup;
mod budget;
mod clock;
mod cost;
mod data_tracks;
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

pub use api::*;
pub use forward::ForwardedParticipant;
pub use room::Room;
pub use session::Session;
