//! The sorting of datagrams: the connection that one belongs to, and its kind (RFC 7983).

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::{
    api::{Destination, TransportProtocol},
    keys::ConnectionKey,
};

/// A path on which nothing valid came for this long may be somebody else's by now. Browsers check theirs every six
/// seconds at the latest (RFC 7675, section 5.1).
const SILENCE: Duration = Duration::from_secs(7);

/// The kind of a datagram, by its first byte (RFC 7983 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatagramKind {
    /// STUN.
    Stun,
    /// DTLS.
    Dtls,
    /// SRTP or SRTCP.
    Srtp,
}

/// Sorts a datagram; `None` for anything that has no business here.
pub fn classify(datagram: &[u8]) -> Option<DatagramKind> {
    match datagram.first()? {
        0..=3 => Some(DatagramKind::Stun),
        20..=63 => Some(DatagramKind::Dtls),
        128..=191 => Some(DatagramKind::Srtp),
        _ => None,
    }
}

/// The index of connections, by path and by ufrag. Neither map can be filled from outside: paths enter after a STUN
/// check with a valid MAC, ufrags are our own; so a fast hash without a secret will do.
#[derive(Debug, Default)]
pub struct Demux {
    paths: FxHashMap<Destination, Way>,
    ufrags: FxHashMap<String, ConnectionKey>,
}

/// The owner of a path.
#[derive(Debug)]
struct Way {
    connection: ConnectionKey,
    /// The connection that had the path first, and may have it back.
    first: ConnectionKey,
    /// When the last valid check or packet came on the path.
    heard: Instant,
}

impl Demux {
    /// The connection that was validated on this path.
    pub fn by_path(&self, path: Destination) -> Option<ConnectionKey> {
        self.paths.get(&path).map(|way| way.connection)
    }

    /// Whether a valid check may make `path` lead to `connection`. A source address can be forged, so nobody takes the
    /// path of a connection that is there; one that lost its path by a silence has it back at once. Over TCP nobody else
    /// can have the address: the connection that had it is gone.
    pub fn may_have(&self, path: Destination, connection: ConnectionKey, now: Instant) -> bool {
        self.paths.get(&path).is_none_or(|way| {
            path.protocol == TransportProtocol::Tcp
                || [way.connection, way.first].contains(&connection)
                || now.saturating_duration_since(way.heard) >= SILENCE
        })
    }

    /// A valid packet came from `connection` on this path.
    pub fn heard(&mut self, path: Destination, now: Instant) {
        if let Some(way) = self.paths.get_mut(&path) {
            way.heard = now;
        }
    }

    /// The connection whose local ufrag this is.
    pub fn by_ufrag(&self, ufrag: &str) -> Option<ConnectionKey> {
        self.ufrags.get(ufrag).copied()
    }

    /// `path` leads to `connection` from now on.
    pub fn add_path(&mut self, path: Destination, connection: ConnectionKey, now: Instant) {
        let way = self.paths.entry(path).or_insert(Way {
            connection,
            first: connection,
            heard: now,
        });
        (way.connection, way.heard) = (connection, now);
    }

    /// Checks with this ufrag are for `connection`.
    pub fn add_ufrag(&mut self, ufrag: &str, connection: ConnectionKey) {
        self.ufrags.insert(ufrag.to_owned(), connection);
    }

    /// Forgets a ufrag that an ICE restart replaced.
    pub fn remove_ufrag(&mut self, ufrag: &str) {
        self.ufrags.remove(ufrag);
    }

    /// `path` leads to `connection` no longer.
    pub fn remove_path(&mut self, path: Destination, connection: ConnectionKey) {
        let Some(way) = self.paths.get_mut(&path) else {
            return;
        };
        if way.connection == connection {
            self.paths.remove(&path);
        } else if way.first == connection {
            way.first = way.connection;
        }
    }

    /// Number of known paths.
    pub fn paths(&self) -> usize {
        self.paths.len()
    }

    /// Forgets `connection`.
    pub fn remove(&mut self, connection: ConnectionKey, ufrag: &str, paths: &[Destination]) {
        self.ufrags.remove(ufrag);
        for path in paths {
            self.remove_path(*path, connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    #[test]
    fn first_bytes_are_sorted_as_rfc_7983_says() {
        let kinds = [
            (0, Some(DatagramKind::Stun)),
            (3, Some(DatagramKind::Stun)),
            (4, None),
            (19, None),
        ];
        let more = [
            (22, Some(DatagramKind::Dtls)),
            (63, Some(DatagramKind::Dtls)),
            (64, None),
            (127, None),
        ];
        let rest = [
            (128, Some(DatagramKind::Srtp)),
            (191, Some(DatagramKind::Srtp)),
            (192, None),
            (255, None),
        ];
        for (byte, kind) in kinds.into_iter().chain(more).chain(rest) {
            assert_eq!(classify(&[byte, 0]), kind, "{byte}");
        }
        assert_eq!(classify(&[]), None);
    }

    #[test]
    fn a_path_that_moved_to_another_connection_stays_with_it() {
        let mut keys = SlotMap::<ConnectionKey, ()>::with_key();
        let (a, b) = (keys.insert(()), keys.insert(()));
        let path = Destination {
            remote: "10.0.0.1:1".parse().unwrap(),
            local: "10.0.0.2:2".parse().unwrap(),
            protocol: crate::api::TransportProtocol::Udp,
        };
        let (mut demux, now) = (Demux::default(), Instant::now());
        demux.add_path(path, a, now);
        demux.add_path(path, b, now);
        demux.remove(a, "ufrag", &[path]);
        assert_eq!(demux.by_path(path), Some(b));
    }

    #[test]
    fn a_path_is_given_away_when_it_is_silent_and_back_to_who_had_it_first() {
        let mut keys = SlotMap::<ConnectionKey, ()>::with_key();
        let (a, b, c) = (keys.insert(()), keys.insert(()), keys.insert(()));
        let mut path = Destination {
            remote: "10.0.0.1:1".parse().unwrap(),
            local: "10.0.0.2:2".parse().unwrap(),
            protocol: TransportProtocol::Udp,
        };
        let (mut demux, start) = (Demux::default(), Instant::now());
        let later = |ms| start + Duration::from_millis(ms);
        assert!(demux.may_have(path, a, start));
        demux.add_path(path, a, start);
        assert!(demux.may_have(path, a, start) && !demux.may_have(path, b, later(6999)));
        demux.heard(path, later(5000));
        assert!(!demux.may_have(path, b, later(11_999)) && demux.may_have(path, b, later(12_000)));
        demux.add_path(path, b, later(12_000));
        assert!(!demux.may_have(path, c, later(13_000)) && demux.may_have(path, a, later(13_000)));
        demux.add_path(path, a, later(13_000));
        assert!(!demux.may_have(path, b, later(13_000)));
        // A connection is its owner's.
        path.protocol = TransportProtocol::Tcp;
        demux.add_path(path, a, start);
        assert!(demux.may_have(path, b, start));
    }
}
