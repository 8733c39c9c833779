//! A participant without a browser: a pure core and a thin driver.
//!
//! Three layers, each usable alone:
//! - [`PeerConnection`]: WebRTC as LiveKit's clients use it, on SDP strings and datagrams; no signalling.
//! - [`media`]: frames to packets and back; [`fixtures`]: canned media.

pub mod fixtures;
pub mod media;

mod error;
mod peer_connection;

pub use error::Error;
pub use peer_connection::{
    DataChannel, PeerConfig, PeerConnection, PeerEvent, SendStats, SendTrack, Transmit,
};
