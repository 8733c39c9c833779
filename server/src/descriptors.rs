//! File descriptors: each connection is one, and a process may have few of them unless it asks for more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// The number of descriptors that are no connections: sockets of the media ports, the database, the log and the like.
const OTHERS: u64 = 256;

/// Raises the limit of descriptors as far as the system allows, and logs where that is less than the limits of the
/// configuration need.
pub fn take(config: &Config) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the number of open files cannot be raised");
    }
    // `None` means no limit.
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let wanted = wanted(config);
    if allowed < wanted {
        tracing::warn!(
            allowed,
            wanted,
            "this process may have fewer files open than limits.max_connections and limits.max_media_connections add up to: \
             when they are used up nobody can connect. Raise the limit (LimitNOFILE= of systemd, ulimit -Hn) or lower these settings"
        );
    }
}

/// The number of descriptors that the limits need: the one public port takes both kinds of connections.
fn wanted(config: &Config) -> u64 {
    let limits = &config.limits;
    let connections = limits.max_connections + limits.max_media_connections;
    let ports = if config.tls.is_enabled() { 2 } else { 1 };
    (connections as u64).saturating_mul(ports) + u64::from(config.shards()) * 16 + OTHERS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ports_and_both_kinds_of_connections_count() {
        let mut config = Config::default();
        config.limits.max_connections = 1000;
        config.limits.max_media_connections = 500;
        let plain = wanted(&config);
        assert!((1500..2500).contains(&(plain - 16 * u64::from(config.shards()))));
        config.tls.certificate = "fullchain.pem".into();
        assert_eq!(wanted(&config), plain + 1500);
    }
}
