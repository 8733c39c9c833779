//! Which peer a datagram belongs to, and what it is (RFC 7983).

use rustc_hash::FxHashMap;

use crate::{api::Destination, shard::PeerKey};

/// What a datagram is, by its first byte (RFC 7983 section 7).
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

/// The ways to a peer. Neither map can be filled from outside: paths enter after a STUN check with a valid MAC, ufrags
/// are our own; so a fast hash without a secret will do.
#[derive(Debug, Default)]
pub struct Demux {
    paths: FxHashMap<Destination, PeerKey>,
    ufrags: FxHashMap<String, PeerKey>,
}

impl Demux {
    /// The peer that was validated on this path.
    pub fn by_path(&self, path: Destination) -> Option<PeerKey> {
        self.paths.get(&path).copied()
    }

    /// The peer whose local ufrag this is.
    pub fn by_ufrag(&self, ufrag: &str) -> Option<PeerKey> {
        self.ufrags.get(ufrag).copied()
    }

    /// `path` leads to `peer` from now on.
    pub fn add_path(&mut self, path: Destination, peer: PeerKey) {
        self.paths.insert(path, peer);
    }

    /// Checks with this ufrag are for `peer`.
    pub fn add_ufrag(&mut self, ufrag: &str, peer: PeerKey) {
        self.ufrags.insert(ufrag.to_owned(), peer);
    }

    /// Forgets a ufrag that an ICE restart replaced.
    pub fn remove_ufrag(&mut self, ufrag: &str) {
        self.ufrags.remove(ufrag);
    }

    /// `path` leads to `peer` no longer.
    pub fn remove_path(&mut self, path: Destination, peer: PeerKey) {
        if self.by_path(path) == Some(peer) {
            self.paths.remove(&path);
        }
    }

    /// Number of known paths.
    pub fn paths(&self) -> usize {
        self.paths.len()
    }

    /// Forgets `peer`.
    pub fn remove_peer(&mut self, peer: PeerKey, ufrag: &str, paths: &[Destination]) {
        self.ufrags.remove(ufrag);
        for path in paths {
            self.remove_path(*path, peer);
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
    fn a_path_that_moved_to_another_peer_stays_with_it() {
        let mut keys = SlotMap::<PeerKey, ()>::with_key();
        let (a, b) = (keys.insert(()), keys.insert(()));
        let path = Destination {
            remote: "10.0.0.1:1".parse().unwrap(),
            local: "10.0.0.2:2".parse().unwrap(),
            protocol: crate::api::TransportProtocol::Udp,
        };
        let mut demux = Demux::default();
        demux.add_path(path, a);
        demux.add_path(path, b);
        demux.remove_peer(a, "ufrag", &[path]);
        assert_eq!(demux.by_path(path), Some(b));
    }
}
