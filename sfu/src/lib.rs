//! The media engine: a state machine that turns datagrams into datagrams.
//!
//! Pure: no socket, no thread, no clock, no global randomness. Start with [`api`].

pub mod api;
pub mod rtp;
mod shard;

pub use api::*;
pub use shard::Shard;
