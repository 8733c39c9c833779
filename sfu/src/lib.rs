//! The media engine: a state machine that turns datagrams into datagrams.
//!
//! Pure: no socket, no thread, no clock, no global randomness. Start with [`api`].

// The crate is pure. Its tests may take a first instant from the clock.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::iter_over_hash_type
    )
)]

mod allocator;
pub mod api;
pub mod av1;
pub mod budget;
pub mod bwe;
mod codec;
pub mod data_track;
mod delivery;
mod demux;
pub mod dependency_descriptor;
mod down_track;
mod dynacast;
pub mod fanout;
pub mod gaps;
pub mod h264;
pub mod history;
mod keys;
pub mod layers;
mod loudest;
pub mod nack;
pub mod negotiate;
mod pacer;
mod peer;
mod quality;
mod rate_meter;
pub mod receive_stats;
mod received;
pub mod red;
mod relay;
mod replay;
pub mod rewrite;
mod router;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
mod sealed;
mod sent_headers;
mod shard;
pub mod simd;
mod slow_readers;
mod spatial;
pub mod speakers;
pub mod srtp;
pub mod stats;
mod timers;
mod transport;
pub mod twcc;
mod up_track;
pub mod vp8;
pub mod vp9;
mod waiting_data;

pub use api::*;
pub use shard::Shard;
pub use transport::{MAX_MESSAGE_SIZE, stream_shard};
