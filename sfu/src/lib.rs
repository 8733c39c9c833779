//! The media engine: a state machine that turns datagrams into datagrams.
//!
//! Pure: no socket, no thread, no clock, no global randomness. Start with [`api`].

pub mod api;
pub mod history;
pub mod nack;
pub mod negotiate;
pub mod receive_stats;
pub mod rtcp;
pub mod rtp;
pub mod speakers;
pub mod srtp;
pub mod twcc;
pub mod vp8;
pub mod sdp;
mod shard;

pub use api::*;
pub use shard::Shard;
