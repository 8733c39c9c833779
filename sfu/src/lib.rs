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
mod api;
mod av1;
mod backlog;
mod bwe;
mod codec;
mod connection;
pub mod data_track;
mod delivery;
mod demux;
mod dependency_descriptor;
mod down_track;
mod dynacast;
mod fanout;
mod gaps;
mod h264;
mod history;
mod keys;
mod layers;
mod loudest;
mod member;
mod nack;
mod negotiate;
pub mod negotiator;
mod pacer;

mod quality;
mod rate_meter;
mod receive_stats;
mod received;
mod red;
mod relay;
mod replay;
mod rewrite;
mod router;
mod rtcp;
mod rtp;
pub mod sdp;
mod sealed;
mod sent_headers;
mod shard;
mod simd;
mod slow_readers;
mod spatial;
mod speakers;
mod srtp;
mod ssrcs;
pub mod stats;
mod timers;
mod transport;
mod twcc;
mod up_track;
mod vp8;
mod vp9;
mod waiting_data;
mod workspace;

pub use api::*;
pub use negotiator::Negotiator;
pub use shard::Shard;
pub use transport::{MAX_MESSAGE_SIZE, stream_shard};

/// Parsers of strangers' bytes, and writers of packets: for fuzzers, attackers in tests, and clients of tests.
#[doc(hidden)]
pub mod internals {
    pub mod av1 {
        pub use crate::av1::*;
    }
    pub mod dependency_descriptor {
        pub use crate::dependency_descriptor::*;
    }
    pub mod h264 {
        pub use crate::h264::*;
    }
    pub mod layers {
        pub use crate::layers::*;
    }
    pub mod red {
        pub use crate::red::*;
    }
    pub mod rtcp {
        pub use crate::rtcp::*;
    }
    pub mod rtp {
        pub use crate::rtp::*;
    }
    pub mod srtp {
        pub use crate::srtp::*;
    }
    pub mod vp8 {
        pub use crate::vp8::*;
    }
    pub mod vp9 {
        pub use crate::vp9::*;
    }
    pub mod relay {
        pub use crate::{received::Received, relay::wire::*};
    }
}
