//! The settings of the administrator: one TOML file, then environment variables. An empty file is a working single
//! node.
//!
//! `CONCLAVE_<SECTION>_<KEY>` overrides a key (`CONCLAVE_HTTP_PORT=8080`); lists are written as in TOML.
//! `CONCLAVE_KEYS` holds API keys, `id: secret` separated by commas.

mod secrets;
mod sections;
mod variables;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use protocol::token::Keys;
use serde::Deserialize;

use crate::meetings::OWN_KEY;
use secrets::parse_keys;
pub use sections::{
    Encryption, Http, JoinMeetings, Limits, Log, Media, Meetings, Metrics, Shutdown, StartMeetings,
    Tls, Turn, Webhook, origin,
};

/// API key of the development mode, as LiveKit's has it.
pub const DEV_KEY: &str = "devkey";

/// API secret of the development mode, as LiveKit's has it.
pub const DEV_SECRET: &str = "secret";

/// The shortest secret of an API key, bytes; not in development mode. As long as a digest of HMAC-SHA-256 (RFC 7518,
/// section 3.2).
pub const MIN_SECRET: usize = 32;

/// The most candidates that are offered. A machine full of container networks has more, and none of the further ones
/// works.
const MAX_ADDRESSES: usize = 16;

/// All settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The port of pages, API and signal connections.
    pub http: Http,
    /// The one public port.
    pub tls: Tls,
    /// Audio, video and data.
    pub media: Media,
    /// Our relay for clients whose network lets nothing else through.
    pub turn: Turn,
    /// API keys with their secrets.
    #[serde(deserialize_with = "secrets::keys")]
    pub keys: Keys,
    /// Rooms and participants.
    pub room: signaling::Config,
    /// Meetings by link, without an application.
    pub meetings: Meetings,
    /// Encryption between participants.
    pub encryption: Encryption,
    /// The applications that hear of rooms.
    pub webhook: Webhook,
    /// The limits of this server.
    pub limits: Limits,
    /// Figures for Prometheus.
    pub metrics: Metrics,
    /// Logging.
    pub log: Log,
    /// The end of the server.
    pub shutdown: Shutdown,
    /// Development mode: the server gives tokens to anybody. Only the command line can ask for it.
    #[serde(skip)]
    pub dev: bool,
}

/// A file or variable that cannot be understood. The text says where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {file}: {source}")]
    Unreadable {
        /// Path of the file.
        file: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A line of the file is wrong.
    #[error("{file}, line {line}: {message}")]
    Line {
        /// Path of the file.
        file: String,
        /// Number of the line, from 1.
        line: usize,
        /// The fault.
        message: String,
    },
    /// An environment variable is wrong.
    #[error("environment variable {name}: {message}")]
    Variable {
        /// Name of the variable.
        name: String,
        /// The fault.
        message: String,
    },
    /// An environment variable looks like one of ours and is none: it is misspelt, or of another version.
    #[error(
        "environment variable {name}: there is no such setting{}",
        meant.as_ref().map(|meant| format!(", did you mean {meant}?")).unwrap_or_default()
    )]
    UnknownVariable {
        /// Name of the variable.
        name: String,
        /// The variable that was meant, where one is close.
        meant: Option<String>,
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

    /// Merges one variable into the file's table, so that an error names its variable.
    fn overridden(
        self,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut config = self;
        // The file was parsed once already, without an error.
        let mut table: toml::Table = toml::from_str(text).unwrap_or_default();
        for (name, value) in environment {
            if !name.starts_with(variables::PREFIX) || variables::is_others(&name, &value) {
                continue;
            }
            if name == variables::KEYS {
                config.keys = parse_keys(&value)
                    .map_err(|message| ConfigError::Variable { name, message })?;
                table.remove("keys");
                continue;
            }
            let Some((section, key)) = variables::setting(&name) else {
                let meant = variables::closest(&name);
                return Err(ConfigError::UnknownVariable { name, meant });
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
        } else if !is_prefix(&self.http.prefix) {
            "http.prefix must be a path like /livekit/sfu: / and then letters, digits, . - _ ~ and further /"
        } else if self.media.port != 0 && self.media.port.checked_add(self.shards()).is_none() {
            "media.port leaves too few ports for all shards"
        } else if self.media.addresses.iter().any(IpAddr::is_unspecified) {
            "media.addresses must name addresses that clients can reach, not 0.0.0.0 or ::"
        } else if self.tls.is_enabled() && self.tls.key.as_os_str().is_empty() {
            "tls.key names no file, while tls.certificate does"
        } else if !self.tls.is_enabled() && !self.tls.key.as_os_str().is_empty() {
            "tls.certificate names no file, while tls.key does"
        } else if self.tls.is_enabled() && self.tls.bind.is_empty() {
            "tls.bind names no address"
        } else if !is_host(&self.tls.host) {
            "tls.host must be a name like meet.example.org, without scheme and port"
        } else if self.keys.ids().any(|id| id == OWN_KEY) {
            "~meetings is this server's own API key: name yours otherwise"
        } else if self.meetings.keep_days == 0 {
            "meetings.keep_days must be at least 1"
        } else if !self.webhook.urls.iter().all(|url| is_web_address(url)) {
            "webhook.urls must be http: or https: addresses"
        } else if has_twice(&self.webhook.urls) {
            "webhook.urls names an address twice"
        } else if self.webhook.max_queued_mb == 0 {
            "webhook.max_queued_mb must be at least 1"
        } else if !self.webhook.urls.is_empty() && self.webhook.file == self.meetings.path() {
            "webhook.file and meetings.file must be two files"
        } else if [&*self.webhook.file, self.meetings.path()].contains(&&*self.encryption.file) {
            "encryption.file must be another file than webhook.file and meetings.file"
        } else if let Some(limit) = self.limits.zero() {
            return Err(ConfigError::Value(format!("{limit} must be at least 1")));
        } else {
            return Ok(());
        };
        Err(ConfigError::Value(problem.to_owned()))
    }

    /// Checks the length of secrets. Anybody who has a token can try out secrets at home, as fast as they like: short
    /// ones are found.
    ///
    /// # Errors
    /// [`ConfigError`] when a secret is shorter than [`MIN_SECRET`].
    pub fn check_secrets(&self) -> Result<(), ConfigError> {
        match self.keys.shorter_than(MIN_SECRET) {
            None => Ok(()),
            Some(id) => Err(ConfigError::Value(format!(
                "the secret of API key {id} is shorter than {MIN_SECRET} bytes: make one with `openssl rand -base64 32`"
            ))),
        }
    }

    /// The development mode: known keys, therefore HTTP on loopback addresses only, unless `bind` says otherwise. Media
    /// is on the interfaces' addresses too, for Firefox, which sends none over loopback: without the secrets of a
    /// signal connection nobody gets anything there. Anyone may start a meeting.
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
            // On a machine without a network, its own browsers can still meet.
            addresses.push(Ipv4Addr::LOCALHOST.into());
        }
        addresses.truncate(MAX_ADDRESSES);
        addresses
    }
}

impl Config {
    /// The addresses on which connections for media are taken: as for datagrams, on loopback addresses only where there
    /// are no others.
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

/// Whether the text is empty, or a path that needs no escaping.
fn is_prefix(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/.-_~".contains(c);
    text.is_empty() || text.starts_with('/') && text.chars().all(is_plain) && !text.contains("//")
}

fn has_twice(texts: &[String]) -> bool {
    let mut seen = std::collections::HashSet::new();
    !texts.iter().all(|text| seen.insert(text))
}

fn is_host(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
}

fn is_web_address(url: &str) -> bool {
    url.parse::<hyper::Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}

/// The addresses of this machine's interfaces, without loopback and link-local ones (the latter mean nothing without an
/// interface).
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
    // IPv4 comes first: where both work, more of the networks in between let it through.
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

#[cfg(test)]
mod tests;
