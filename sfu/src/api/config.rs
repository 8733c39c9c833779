//! The configuration of a shard.

use std::net::SocketAddr;

/// Configuration of a shard, constant over its life.
#[derive(Debug, Clone)]
pub struct Config {
    /// The addresses under which this shard's socket is reachable: its ICE host candidates. Not empty.
    pub addresses: Vec<SocketAddr>,
    /// The addresses at which connections for this shard are taken: its passive TCP candidates (RFC 6544). May be
    /// empty.
    pub tcp_addresses: Vec<SocketAddr>,
    /// Number of this shard in the process. The shard's ufrags contain it, so that a port that the shards share can be
    /// sorted ([`stream_shard`](crate::stream_shard)).
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
    /// Bytes of data packets that one peer may send per second in the long run, and twice as many at once. Packets
    /// above that are not read until they fit: their sender's SCTP window closes.
    pub max_data_rate: u32,
    /// Estimate what each subscriber's network carries, and send no more.
    pub congestion_control: bool,
    /// Number of voices of a room, the loudest, that are forwarded; 0: all.
    /// [`RoomCommand::SetAudioTopN`](super::RoomCommand::SetAudioTopN) overrides it for a room.
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
