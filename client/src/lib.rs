//! A participant without a browser: a pure core and a thin driver.
//!
//! Three layers, each usable alone:
//! - [`Client`]: with sockets, on tokio.
//! - [`Participant`]: the conversation with a LiveKit server on top of it, still without sockets or clock.
//! - [`PeerConnection`]: WebRTC as LiveKit's clients use it, on SDP strings and datagrams; no signalling.
//! - [`media`]: frames to packets and back; [`fixtures`]: canned media.

pub mod fixtures;
pub mod media;

mod driver;
mod dtls;
mod error;
mod participant;
mod peer_connection;

pub use driver::{Client, ConnectOptions, GroupOptions, Handle, play_picture, play_tone};
pub use error::Error;
pub use participant::{
    EncryptionStats, Event, LayerSpec, Options, Participant, Publish, PublishedStats, Reconnect,
    Stats, SubscribedStats, TrackSetting,
};
pub use peer_connection::{
    DataChannel, PeerConfig, PeerConnection, PeerEvent, SendStats, SendTrack, Transmit,
};
