//! Rooms and sessions: state machines that turn messages into messages.
//!
//! Pure: no tokio, no socket, no clock, no global randomness. Start with [`api`].

pub mod api;
mod room;
mod session;

pub use api::*;
pub use room::Room;
pub use session::Session;
