//! The tables of the file, one struct each, with their defaults.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Pages, API and signal connections, all on one port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// The addresses to listen on.
    pub bind: Vec<IpAddr>,
    /// The port, 0 for one that the system chooses.
    pub port: u16,
    /// A path that a proxy before us leaves in front of ours, like `/livekit/sfu`: the server API is answered there
    /// too. (The signal connection `/rtc` may follow any path, the server API `/twirp/` this one only.) Pages are at
    /// /// the root.
    pub prefix: String,
    /// Addresses of reverse proxies before this server: their connections count for no address, and for the limits of
    /// meetings by link the client's address that they name (the last entry of `X-Forwarded-For` that is no proxy) is
    /// believed. Without them, all clients behind a proxy count as one address.
    pub trusted_proxies: Vec<IpAddr>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            bind: vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            port: 7880,
            prefix: String::new(),
            trusted_proxies: Vec::new(),
        }
    }
}

/// One public port for everything: HTTPS and WebSocket, media over TCP, and TURN over TLS. Off until a certificate is
/// named.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The addresses to listen on.
    pub bind: Vec<IpAddr>,
    /// The port, 0 for one that the system chooses.
    pub port: u16,
    /// The port as clients reach it, where a proxy or NAT before us moves it. 0: the same.
    pub public_port: u16,
    /// The name of this server for clients, which the certificate is for. TURN over TLS needs it.
    pub host: String,
    /// File with the certificate and those of its issuers (PEM). Read again when it changes.
    pub certificate: PathBuf,
    /// File with the private key (PEM).
    pub key: PathBuf,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            bind: vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            port: 443,
            public_port: 0,
            host: String::new(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
        }
    }
}

impl Tls {
    /// Whether the port is wanted.
    pub fn is_enabled(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }
}

/// A TURN server (RFC 8656) that relays to our own media addresses and nowhere else. Clients get credentials for it
/// when they join.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// Serve it over TLS, on the one public port (`tls.port`), where there is one.
    pub tls: bool,
    /// Serve it over UDP.
    pub udp: bool,
    /// The UDP port. 0: the system chooses.
    pub port: u16,
    /// The most allocations of one participant. A browser makes one for each of its interfaces and each of our
    /// addresses.
    pub max_allocations_per_participant: usize,
    /// The most allocations in all.
    pub max_allocations: usize,
    /// Credentials can be used for this long to make allocations, seconds; allocations that are made may be kept.
    pub credential_lifetime: u32,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            tls: true,
            udp: false,
            port: 3478,
            max_allocations_per_participant: 32,
            max_allocations: 10_000,
            credential_lifetime: 43_200,
        }
    }
}

/// Audio, video and data.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// UDP port of the first shard; each further shard has the next one. 0: the system chooses.
    pub port: u16,
    /// Number of shards, each a thread with a port of its own. 0: one for each processor core.
    pub shards: u16,
    /// The addresses under which clients reach this machine. Empty: those of its interfaces, without loopback ones.
    /// Behind a NAT that maps ports one to one, name its outer address.
    pub addresses: Vec<IpAddr>,
    /// Take media over TCP too (RFC 6544), from clients whose network lets no UDP through.
    pub tcp: bool,
    /// The TCP port for it, shared by all shards. 0: the system chooses.
    pub tcp_port: u16,
    /// A participant whose ICE and DTLS do not finish within this many milliseconds is closed.
    pub connect_timeout_ms: u32,
    /// A connection without a valid STUN check for this many milliseconds is closed (RFC 7675).
    pub consent_timeout_ms: u32,
    /// Estimate what each participant's network carries, and send smaller pictures, or none, where it is little.
    pub congestion_control: bool,
    /// The number of voices of a room, the loudest, that are forwarded; 0: all. A room may have its own number: the tag
    /// `audio_top_n` of `CreateRoom`, or of the room configuration in a token.
    pub audio_top_n: u16,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            port: 7882,
            shards: 0,
            addresses: Vec::new(),
            tcp: true,
            tcp_port: 7881,
            connect_timeout_ms: 30_000,
            consent_timeout_ms: 30_000,
            congestion_control: true,
            audio_top_n: 5,
        }
    }
}

/// The people who may start a meeting by link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StartMeetings {
    /// Nobody: meetings are started by applications, with tokens.
    #[default]
    Nobody,
    /// Anybody who opens the start page.
    Anyone,
}

/// The ways into meetings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JoinMeetings {
    /// A token of an application.
    Token,
    /// For meetings by link, also the link. Other rooms still need a token.
    Link,
}

/// Meetings by link, for people without an application. Rooms of applications are no such meetings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Meetings {
    /// The people who may start a meeting.
    pub start: StartMeetings,
    /// The ways into meetings. Unset: `link` where anyone may start one, else `token`.
    pub join: Option<JoinMeetings>,
    /// The database (SQLite) of the meetings. Made where there is none, and only if it is needed. Empty:
    /// `conclave-meetings.db`; in development mode none.
    pub file: PathBuf,
    /// A meeting that nobody entered for this many days is forgotten; one that was never entered, after a week; one
    /// that was ended, after a day.
    pub keep_days: u32,
}

impl Default for Meetings {
    fn default() -> Self {
        Self {
            start: StartMeetings::default(),
            join: None,
            file: PathBuf::new(),
            keep_days: 90,
        }
    }
}

impl Meetings {
    /// Path of the database, outside development mode.
    pub fn path(&self) -> &Path {
        match self.file.as_os_str().is_empty() {
            true => Path::new("conclave-meetings.db"),
            false => &self.file,
        }
    }

    /// The ways into meetings.
    pub fn join(&self) -> JoinMeetings {
        self.join.unwrap_or(match self.start {
            StartMeetings::Nobody => JoinMeetings::Token,
            StartMeetings::Anyone => JoinMeetings::Link,
        })
    }
}

/// Encryption between participants.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Encryption {
    /// The database (SQLite) in which the groups of encrypted meetings are kept, so that they go on when the server starts
    /// anew. Made where there is none. It holds nothing by which anything could be decrypted. In development mode none.
    pub file: PathBuf,
}

impl Default for Encryption {
    fn default() -> Self {
        Self {
            file: "conclave-groups.db".into(),
        }
    }
}

/// The applications that hear of rooms, and the events that wait for them.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// The addresses to which events are posted: `http:` or `https:`. Empty: none.
    pub urls: Vec<String>,
    /// The API key whose secret signs the events. Empty: the first one.
    pub api_key: String,
    /// The database (SQLite) in which events wait until they are delivered. Made where there is none.
    pub file: PathBuf,
    /// The most events that wait, megabytes in all. Further ones are dropped, and receivers are told how many.
    pub max_queued_mb: u32,
    /// An event that could not be delivered for this many hours is dropped.
    pub max_age_hours: u32,
}

impl fmt::Debug for Webhook {
    /// Writes no addresses: they often have passwords and keys in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<String> = self.urls.iter().map(|url| origin(url)).collect();
        f.debug_struct("Webhook")
            .field("urls", &urls)
            .field("api_key", &self.api_key)
            .field("file", &self.file)
            .field("max_queued_mb", &self.max_queued_mb)
            .field("max_age_hours", &self.max_age_hours)
            .finish()
    }
}

/// Scheme, host and port of a web address, which may be printed.
pub fn origin(url: &str) -> String {
    let uri = url.parse::<hyper::Uri>().unwrap_or_default();
    let (scheme, host) = (uri.scheme_str().unwrap_or("?"), uri.host().unwrap_or("?"));
    match uri.port_u16() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            api_key: String::new(),
            file: "conclave.db".into(),
            max_queued_mb: 256,
            max_age_hours: 24,
        }
    }
}

/// The limits of this server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most open rooms.
    pub max_rooms: usize,
    /// The most participants of one shard.
    pub max_participants_per_shard: usize,
    /// The most open rooms that were opened with tokens of one API key.
    pub max_rooms_per_key: usize,
    /// The most HTTP connections, signal connections among them.
    pub max_connections: usize,
    /// The most HTTP connections of one client address (of IPv6 addresses, of one /64 network). A school or a reverse
    /// proxy before this server counts as one.
    pub max_connections_per_address: usize,
    /// The most of these that have not shown a valid token: pages being loaded, and clients that only hold a connection
    /// open. Connections that wait for a further request are closed where others need their place. A reverse proxy is a
    /// stranger too, unless it is one of `http.trusted_proxies`.
    pub max_strangers_per_address: usize,
    /// Bytes of data packets (chat, files, remote calls) that one participant may send per second in the long run, and
    /// twice as many at once. Further packets wait at their sender.
    pub max_data_rate: u32,
    /// The most connections that carry media over TCP.
    pub max_media_connections: usize,
}

impl Limits {
    /// Name of a limit that is 0, by which nothing would be taken at all.
    pub(super) fn zero(&self) -> Option<&'static str> {
        let limits = [
            ("limits.max_rooms", self.max_rooms),
            (
                "limits.max_participants_per_shard",
                self.max_participants_per_shard,
            ),
            ("limits.max_rooms_per_key", self.max_rooms_per_key),
            ("limits.max_connections", self.max_connections),
            (
                "limits.max_connections_per_address",
                self.max_connections_per_address,
            ),
            (
                "limits.max_strangers_per_address",
                self.max_strangers_per_address,
            ),
            ("limits.max_data_rate", self.max_data_rate as usize),
            ("limits.max_media_connections", self.max_media_connections),
        ];
        let zero = limits.into_iter().find(|(_, limit)| *limit == 0);
        zero.map(|(name, _)| name)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_rooms: 10_000,
            max_participants_per_shard: 5_000,
            max_rooms_per_key: 5_000,
            max_connections: 20_000,
            max_connections_per_address: 10_000,
            max_strangers_per_address: 256,
            max_data_rate: 2 << 20,
            max_media_connections: 10_000,
        }
    }
}

/// Figures for Prometheus, on a listener of their own: they are not for participants.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Whether the figures are served.
    pub enabled: bool,
    /// The address at which `GET /metrics` is answered.
    pub address: SocketAddr,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            enabled: true,
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 7889),
        }
    }
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A filter as `tracing` has them, for example `info` or `warn,signaling=debug`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
        }
    }
}

/// The end of the server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// After SIGTERM, clients have this many seconds to take their leave.
    pub drain_seconds: u32,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { drain_seconds: 10 }
    }
}
