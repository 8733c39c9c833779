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
mod backup;
pub mod bwe;
mod congestion;
mod control;
mod data;
pub mod data_track;
mod demux;
pub mod dependency_descriptor;
mod down_track;
mod dynacast;
pub mod fanout;
mod feedback;
mod forward;
pub mod gaps;
pub mod h264;
pub mod history;
mod ingress;
pub mod layers;
mod loudest;
pub mod nack;
pub mod negotiate;
mod offer;
mod pacer;
mod peer;
mod quality;
pub mod receive_stats;
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
mod subscriber;
mod timers;
mod transport;
pub mod twcc;
mod up_track;
pub mod vp8;
pub mod vp9;
mod watch;

pub use api::*;
pub use shard::Shard;
pub use transport::{MAX_MESSAGE_SIZE, stream_shard};
