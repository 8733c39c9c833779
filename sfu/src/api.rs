//! The boundary of the media engine: what goes in ([`Datagram`], [`Command`]) and what comes out
//! ([`SendBatch`], [`Event`]). Read this file first.
//!
//! A [`Shard`](crate::Shard) is a state machine. Its owner calls
//! `handle_datagram` for each datagram of a receive batch, then `flush` once; `handle_command` for each
//! command; `handle_timeout` when the instant of `poll_timeout` has come; and drains `poll_event` after each. Where a
//! participant is in rooms of several shards, the owner also carries what `drain_relayed` and `poll_request` have for other
//! shards to their `handle_relayed` and `handle_command`.
//! The shard never blocks, never asks a clock, and writes ciphertext straight into the owner's send buffer.

mod command;
mod event;

use std::net::SocketAddr;

use protocol::TrackSid;

pub use self::{
    command::Command,
    event::{DisconnectReason, Event, MediaSections, Quality, Speaker, SubscriptionFailure},
};
pub use crate::data_track::Handle as DataTrackHandle;

/// How a datagram travels between a client and us. Part of every path: the same addresses mean something else over
/// another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportProtocol {
    /// As it is.
    Udp,
    /// In a frame (RFC 4571) of a connection that the client opened (RFC 6544).
    Tcp,
    /// Through an allocation of our own TURN server (RFC 8656): the client's address is the relayed one, which no
    /// socket has.
    Relay,
}

/// One received datagram, borrowed from the owner's receive buffer.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Where it came from.
    pub remote: SocketAddr,
    /// The local address it was sent to (one of [`Config::addresses`], or of [`Config::tcp_addresses`] over TCP).
    pub local: SocketAddr,
    /// How it came.
    pub protocol: TransportProtocol,
    /// Its bytes. The shard opens SRTP elsewhere: the buffer is never written.
    pub payload: &'a [u8],
}

/// Where a datagram goes, and from which of our addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The peer's address.
    pub remote: SocketAddr,
    /// Our address, as the peer knows it.
    pub local: SocketAddr,
    /// How it goes.
    pub protocol: TransportProtocol,
}

impl Datagram<'_> {
    /// The way it came, which is the way back.
    pub fn path(&self) -> Destination {
        Destination {
            remote: self.remote,
            local: self.local,
            protocol: self.protocol,
        }
    }
}

/// The send buffer, owned by the caller. Consecutive reservations for one destination become one GSO run.
pub trait SendBatch {
    /// Room for one datagram of at most `len` bytes to `to`, or `None` when the buffer is full (the datagram is
    /// then dropped and counted). The content of the slice is unspecified.
    fn reserve(&mut self, to: Destination, len: usize) -> Option<&mut [u8]>;
    /// The first `len` bytes of the last reservation are a datagram. A reservation that is not committed is not sent.
    fn commit(&mut self, len: usize);
}

/// What a shard needs to know at birth.
#[derive(Debug, Clone)]
pub struct Config {
    /// The addresses under which this shard's socket is reachable: its ICE host candidates. Not empty.
    pub addresses: Vec<SocketAddr>,
    /// The addresses at which connections for this shard are taken: its passive TCP candidates (RFC 6544). May be empty.
    pub tcp_addresses: Vec<SocketAddr>,
    /// Which shard of the process this is. Its ufrags tell it, so that a port that the shards share can be sorted
    /// ([`stream_shard`](crate::stream_shard)).
    pub index: u16,
    /// Seed of the shard's random numbers (SSRCs, ICE credentials): from the operating system, or fixed in tests.
    pub seed: [u8; 32],
    /// DTLS certificate, shared by all peers of the process.
    pub certificate: Certificate,
    /// Peers that did not finish ICE and DTLS this many milliseconds after their first description are closed.
    pub connect_timeout_ms: u32,
    /// A connected peer without a valid STUN check for this long is closed (RFC 7675 consent, milliseconds).
    pub consent_timeout_ms: u32,
    /// The most peers of one shard.
    pub max_peers: usize,
    /// The most tracks one peer may publish.
    pub max_tracks_per_peer: usize,
    /// Bytes of data packets that one peer may send per second in the long run, and twice as many at once. What is
    /// above is not read until it fits: its sender's SCTP window closes.
    pub max_data_rate: u32,
    /// Estimate what each subscriber's network carries, and send no more.
    pub congestion_control: bool,
    /// Voices of a room that are forwarded: the loudest. 0: all. [`Command::SetAudioTopN`] decides otherwise for a room.
    pub audio_top_n: usize,
}

/// A DTLS certificate with its private key, DER.
#[derive(Clone)]
pub struct Certificate {
    /// X.509 certificate.
    pub certificate: Vec<u8>,
    /// PKCS#8 private key.
    pub private_key: Vec<u8>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate(…)")
    }
}

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Audio.
    Audio,
    /// Video.
    Video,
}

/// Layer of a simulcast or SVC video, lowest first; LiveKit's rids `q`, `h`, `f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SpatialLayer {
    /// `q`, a quarter of the height.
    Low = 0,
    /// `h`, half of the height.
    Medium = 1,
    /// `f`, or the only layer there is.
    High = 2,
}

/// What a participant may do with media; enforced here again, since packets do not pass by the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerPermissions {
    /// May send data packets.
    pub can_publish_data: bool,
    /// Its data packets carry no sender, and nobody hears of it.
    pub hidden: bool,
    /// May send transcriptions and other packets reserved for agents.
    pub agent: bool,
    /// Gets every voice, not the loudest only. Counts for what it subscribes to from then on.
    pub hears_all: bool,
}

/// A published track, as announced by `add_track`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedTrack {
    /// Its sid.
    pub sid: TrackSid,
    /// Audio or video.
    pub kind: MediaKind,
    /// The client's ids of the track: the track part of `a=msid` in its offer. None of a backup that is not sent yet.
    pub cids: Vec<String>,
    /// Stream part of the msid given to subscribers: `camera`, `screen`, or the name the client gave.
    pub stream: String,
    /// Sends silence or black on purpose.
    pub muted: bool,
    /// Opus: DTX wanted, stereo wanted.
    pub audio: AudioFeatures,
    /// The codec the client announced, for example `video/vp9`, which it may offer behind others. Empty when it named none.
    pub mime_type: String,
    /// Sizes of the announced layers (`VideoLayer`), used to map a subscriber's wanted size to a layer. May be empty.
    pub layers: Vec<LayerSize>,
    /// It is another track once more, in another codec.
    pub backup_of: Option<BackupOf>,
}

/// A backup is a picture in a second codec, for subscribers that cannot decode the first. It is a track of its own, with
/// a sid that no client sees; nobody subscribes to it, but who subscribes to the first track may get it instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupOf {
    /// The track, of the same publisher.
    pub track: TrackSid,
    /// As soon as it is sent to somebody, everybody gets it who can decode it, so that the publisher encodes once.
    pub for_all: bool,
}

/// Wishes for an Opus track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AudioFeatures {
    /// `stereo=1` is negotiated.
    pub stereo: bool,
    /// `usedtx=1` is negotiated.
    pub dtx: bool,
    /// Redundant encoding (RFC 2198) is negotiated.
    pub red: bool,
}

/// What a track is encoded with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrackCodec {
    /// For example `video/VP8`.
    pub mime_type: String,
    /// What was answered for it, which tells variants apart.
    pub fmtp: String,
    /// Payload type of RED (RFC 2198), where the publisher may send it.
    pub red: Option<u8>,
}

/// Announced size of one layer, pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSize {
    /// Which layer.
    pub layer: SpatialLayer,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// A subscriber's wish for one track (`track_setting`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackSetting {
    /// Send nothing of it.
    pub disabled: bool,
    /// The highest layer wanted.
    pub max_layer: SpatialLayer,
    /// The size wanted, pixels; 0 when unknown. When known it wins over `max_layer`.
    pub width: u32,
    /// See `width`.
    pub height: u32,
}

impl Default for TrackSetting {
    fn default() -> Self {
        Self {
            disabled: false,
            max_layer: SpatialLayer::High,
            width: 0,
            height: 0,
        }
    }
}

/// What a data packet's delivery promises: the data channel it travels on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataChannel {
    /// `_reliable`: ordered, retransmitted.
    Reliable,
    /// `_lossy`: unordered, never retransmitted.
    Lossy,
    /// `_data_track`: unordered, never retransmitted; packets of data tracks, which go to subscribers only.
    DataTrack,
}

/// Why `poll_timeout` wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// ICE, DTLS or SCTP of a peer.
    Transport,
    /// NACK, PLI, receiver reports or TWCC feedback are due.
    Feedback,
    /// Packets waited for a subscriber's network.
    Pacing,
    /// Active speakers are due.
    Speakers,
    /// Nothing in particular: housekeeping.
    Housekeeping,
}
