//! What the administrator may set: one TOML file, then environment variables. An empty file is a working single node.
//!
//! `CONCLAVE_<SECTION>_<KEY>` overrides a key (`CONCLAVE_HTTP_PORT=8080`); lists are written as in TOML. `CONCLAVE_KEYS`
//! holds API keys, `id: secret` separated by commas.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use protocol::token::Keys;
use serde::{Deserialize, Deserializer, Serialize};

/// API key of the development mode, as LiveKit's has it.
pub const DEV_KEY: &str = "devkey";

/// Its secret.
pub const DEV_SECRET: &str = "secret";

/// The most candidates we offer. A machine full of container networks has more, and none of the further ones works.
const MAX_ADDRESSES: usize = 16;

/// The tables of the file. There is no key outside of them: where Kubernetes has a service named `conclave` it sets
/// `CONCLAVE_PORT` to something else.
const SECTIONS: [&str; 11] = [
    "http", "media", "tls", "turn", "room", "meetings", "webhook", "limits", "metrics", "log",
    "shutdown",
];

/// All settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Pages, API and signal connections.
    pub http: Http,
    /// The one public port.
    pub tls: Tls,
    /// Audio, video and data.
    pub media: Media,
    /// Our relay for clients whose network lets nothing else through.
    pub turn: Turn,
    /// API keys with their secrets.
    #[serde(deserialize_with = "keys")]
    pub keys: Keys,
    /// Rooms and participants.
    pub room: signaling::Config,
    /// Meetings by link, without an application.
    pub meetings: Meetings,
    /// Which applications hear of rooms.
    pub webhook: Webhook,
    /// How much this server takes.
    pub limits: Limits,
    /// Figures for Prometheus.
    pub metrics: Metrics,
    /// What is logged.
    pub log: Log,
    /// How the server stops.
    pub shutdown: Shutdown,
    /// Development mode: the server hands out tokens to whoever asks. Only the command line can ask for it.
    #[serde(skip)]
    pub dev: bool,
}

/// Pages, API and signal connections, all on one port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// The addresses to listen on.
    pub bind: Vec<IpAddr>,
    /// The port, 0 for one that the system chooses.
    pub port: u16,
    /// Addresses of reverse proxies before this server: what they say of a client's address (the last entry of
    /// `X-Forwarded-For`) is believed. Without them, all clients behind a proxy count as one address.
    pub trusted_proxies: Vec<IpAddr>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            bind: vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            port: 7880,
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
    /// The port as clients reach it, where something before us moves it. 0: the same.
    pub public_port: u16,
    /// The name under which clients reach this server, for which the certificate is. TURN over TLS needs it.
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
    /// Is it wanted?
    pub fn is_enabled(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }
}

/// A TURN server (RFC 8656) that relays to our own media addresses and nowhere else. Clients get credentials for it when
/// they join.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// Serve it over TLS, on the one public port (`tls.port`), where there is one.
    pub tls: bool,
    /// Serve it over UDP.
    pub udp: bool,
    /// The UDP port. 0: the system chooses.
    pub port: u16,
    /// The most allocations of one participant. A browser makes one for each of its interfaces and each of our addresses.
    pub max_allocations_per_participant: usize,
    /// The most allocations in all.
    pub max_allocations: usize,
    /// Credentials can be used for this long to make allocations, seconds; those that are made may be kept.
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
    /// Voices of a room that are forwarded: the loudest. 0: all. A room may have its own number: the tag `audio_top_n` of
    /// `CreateRoom`, or of the room configuration in a token.
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

/// Who may start a meeting by link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StartMeetings {
    /// Meetings are started by applications, with tokens.
    #[default]
    Nobody,
    /// Whoever opens the start page.
    Anyone,
}

/// How meetings are entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JoinMeetings {
    /// With a token of an application.
    Token,
    /// Meetings by link also by whoever has the link. Other rooms still need a token.
    Link,
}

/// Meetings by link, for people without an application. Rooms of applications are none of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Meetings {
    /// Who may start one.
    pub start: StartMeetings,
    /// How they are entered. Unset: `link` where anyone may start one, else `token`.
    pub join: Option<JoinMeetings>,
    /// The database (SQLite) that remembers them. Made where there is none, and only if it is needed. Empty:
    /// `conclave-meetings.db`; in development mode none.
    pub file: PathBuf,
    /// A meeting that nobody entered for so many days is forgotten; one that nobody entered ever, after a week.
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
    /// How they are entered.
    pub fn join(&self) -> JoinMeetings {
        self.join.unwrap_or(match self.start {
            StartMeetings::Nobody => JoinMeetings::Token,
            StartMeetings::Anyone => JoinMeetings::Link,
        })
    }
}

/// Which applications hear of rooms, and the events that wait for them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// Where events are posted: `http:` or `https:`. Empty: nowhere.
    pub urls: Vec<String>,
    /// The API key whose secret signs them. Empty: the first one.
    pub api_key: String,
    /// The database (SQLite) in which events wait until they are delivered. Made where there is none.
    pub file: PathBuf,
    /// The most events that wait, megabytes in all. What comes on top is dropped, and receivers are told how many.
    pub max_queued_mb: u32,
    /// An event that could not be delivered for so many hours is dropped.
    pub max_age_hours: u32,
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

/// How much this server takes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open rooms.
    pub max_rooms: usize,
    /// Participants of one shard.
    pub max_participants_per_shard: usize,
    /// Open rooms that were opened with tokens of one API key.
    pub max_rooms_per_key: usize,
    /// HTTP connections, signal connections among them.
    pub max_connections: usize,
    /// HTTP connections of one client address (of IPv6 addresses, of one /64 network). A school or a reverse proxy before
    /// this server counts as one.
    pub max_connections_per_address: usize,
    /// Bytes of data packets (chat, files, remote calls) that one participant may send per second in the long run, and
    /// twice as many at once. What is above waits at its sender.
    pub max_data_rate: u32,
    /// Connections that carry media over TCP.
    pub max_media_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_rooms: 10_000,
            max_participants_per_shard: 5_000,
            max_rooms_per_key: 5_000,
            max_connections: 20_000,
            max_connections_per_address: 10_000,
            max_data_rate: 2 << 20,
            max_media_connections: 10_000,
        }
    }
}

/// Figures for Prometheus, on a listener of their own: they are not for participants.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Whether to serve them.
    pub enabled: bool,
    /// Where `GET /metrics` is answered.
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

/// What is logged.
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

/// How the server stops.
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

/// A file or variable that cannot be understood. Its text says where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {file}: {source}")]
    Unreadable {
        /// Its path.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line of the file is wrong.
    #[error("{file}, line {line}: {message}")]
    Line {
        /// Its path.
        file: String,
        /// From 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// An environment variable is wrong.
    #[error("environment variable {name}: {message}")]
    Variable {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// Values that make no sense together, or no sense at all.
    #[error("{0}")]
    Value(String),
}

impl Config {
    /// Reads `file` (nothing: all defaults), then applies `environment`.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let (name, text) = match file {
            None => (String::new(), String::new()),
            Some(path) => {
                let name = path.display().to_string();
                let text =
                    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
                        file: name.clone(),
                        source,
                    })?;
                (name, text)
            }
        };
        let config = Self::parse(&name, &text)?.overridden(&text, environment)?;
        config.validate()?;
        Ok(config)
    }

    fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text.as_bytes()[..start]
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count();
            ConfigError::Line {
                file: file.to_owned(),
                line,
                message: error.message().to_owned(),
            }
        })
    }

    /// Variables are merged into the file's table one by one, so that an error names its variable.
    fn overridden(
        self,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut config = self;
        // It was read once already.
        let mut table: toml::Table = toml::from_str(text).unwrap_or_default();
        for (name, value) in environment {
            let Some(rest) = name.strip_prefix("CONCLAVE_") else {
                continue;
            };
            if rest == "KEYS" {
                config.keys = parse_keys(&value)
                    .map_err(|message| ConfigError::Variable { name, message })?;
                table.remove("keys");
                continue;
            }
            let lower = rest.to_ascii_lowercase();
            let Some((section, key)) = lower
                .split_once('_')
                .filter(|(section, _)| SECTIONS.contains(section))
            else {
                continue;
            };
            let entry = table
                .entry(section)
                .or_insert_with(|| toml::Table::new().into());
            if let Some(entry) = entry.as_table_mut() {
                entry.insert(key.to_owned(), parse_value(&value));
            }
            let keys = std::mem::take(&mut config.keys);
            config = table.clone().try_into().map_err(|error: toml::de::Error| {
                ConfigError::Variable {
                    name,
                    message: error.message().to_owned(),
                }
            })?;
            config.keys = keys;
        }
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let problem = if self.http.bind.is_empty() {
            "http.bind names no address"
        } else if self.media.port != 0 && self.media.port.checked_add(self.shards()).is_none() {
            "media.port leaves too few ports for all shards"
        } else if self.media.addresses.iter().any(IpAddr::is_unspecified) {
            "media.addresses must name addresses that clients can reach, not 0.0.0.0 or ::"
        } else if self.tls.is_enabled() && self.tls.key.as_os_str().is_empty() {
            "tls.key names no file, while tls.certificate does"
        } else if self.tls.is_enabled() && self.tls.bind.is_empty() {
            "tls.bind names no address"
        } else if !is_host(&self.tls.host) {
            "tls.host must be a name like meet.example.org, without scheme and port"
        } else if !self.webhook.urls.iter().all(|url| is_web_address(url)) {
            "webhook.urls must be http: or https: addresses"
        } else {
            return Ok(());
        };
        Err(ConfigError::Value(problem.to_owned()))
    }

    /// The development mode: known keys, therefore HTTP on loopback addresses only, unless `bind` says otherwise. Media is
    /// on the interfaces' addresses too, for Firefox, which sends none over loopback: without the secrets of a signal
    /// connection nobody gets anything there. Anyone may start a meeting.
    pub fn into_dev(mut self, bind: Option<IpAddr>) -> Self {
        let loopback = [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ];
        self.dev = true;
        if self.keys.is_empty() {
            self.keys = Keys::new([(DEV_KEY, DEV_SECRET)]);
        }
        self.meetings.start = StartMeetings::Anyone;
        self.meetings.join = Some(JoinMeetings::Link);
        self.http.bind = bind.map_or(loopback.to_vec(), |bind| vec![bind]);
        if self.media.addresses.is_empty() {
            self.media.addresses = match bind {
                Some(bind) if !bind.is_unspecified() && !bind.is_loopback() => vec![bind],
                _ => loopback.into_iter().chain(interface_addresses()).collect(),
            };
        }
        self
    }

    /// The number of shards.
    pub fn shards(&self) -> u16 {
        match self.media.shards {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get().min(256) as u16),
            shards => shards,
        }
    }

    /// The addresses to offer to clients: those of the file, else those of this machine.
    pub fn media_addresses(&self) -> Vec<IpAddr> {
        let mut addresses = match self.media.addresses.as_slice() {
            [] => interface_addresses(),
            named => named.to_vec(),
        };
        if addresses.is_empty() {
            // A machine without a network: its own browsers can still meet.
            addresses.push(Ipv4Addr::LOCALHOST.into());
        }
        addresses.truncate(MAX_ADDRESSES);
        addresses
    }
}

impl Config {
    /// Where connections for media are taken: as for datagrams, on loopback addresses only where there are no others.
    pub fn tcp_bind(&self) -> Vec<IpAddr> {
        let addresses = self.media_addresses();
        if addresses.iter().all(IpAddr::is_loopback) {
            return addresses;
        }
        let mut bind = Vec::new();
        for ip in addresses {
            let any: IpAddr = match ip {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            if !bind.contains(&any) {
                bind.push(any);
            }
        }
        bind
    }
}

fn is_host(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
}

fn is_web_address(url: &str) -> bool {
    url.parse::<hyper::Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}

/// Addresses of the interfaces, without loopback and link-local ones (the latter mean nothing without an interface).
fn interface_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addresses = Vec::new();
    for ip in interfaces.iter().map(if_addrs::Interface::ip) {
        let link_local = match ip {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if !ip.is_loopback() && !link_local && !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    // IPv4 first: where both work it is the one that more of the networks in between let through.
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses
}

/// A value as TOML has it, or else a string.
fn parse_value(text: &str) -> toml::Value {
    let line = format!("value = {text}");
    let parsed = toml::from_str::<toml::Table>(&line)
        .ok()
        .and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

fn parse_keys(text: &str) -> Result<Keys, String> {
    let pairs = text.split(',').map(|pair| {
        let (key, secret) = pair
            .split_once(':')
            .ok_or("expected `id: secret`, separated by commas")?;
        check_key(key.trim(), secret.trim())
    });
    Ok(Keys::new(pairs.collect::<Result<Vec<_>, _>>()?))
}

fn check_key(key: &str, secret: &str) -> Result<(String, String), String> {
    match (key, secret) {
        ("", _) => Err("an API key needs an id".to_owned()),
        (_, "") => Err(format!("API key {key} needs a secret")),
        _ => Ok((key.to_owned(), secret.to_owned())),
    }
}

/// A secret whose text no error message repeats.
struct Secret(String);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret in quotes")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret(text.to_owned()))
            }
            fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Secret, E> {
                Err(E::custom("expected a secret in quotes"))
            }
            fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Secret, E> {
                Err(E::custom("expected a secret in quotes"))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
    let pairs = BTreeMap::<String, Secret>::deserialize(deserializer)?;
    let pairs = pairs.iter().map(|(key, secret)| check_key(key, &secret.0));
    Ok(Keys::new(
        pairs
            .collect::<Result<Vec<_>, _>>()
            .map_err(serde::de::Error::custom)?,
    ))
}

#[cfg(test)]
mod tests;
