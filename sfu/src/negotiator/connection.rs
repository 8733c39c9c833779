//! The negotiation state of one PeerConnection.

use std::net::SocketAddr;

use rand::Rng;

use crate::{
    api::{IceCredentials, TransportProtocol},
    negotiate::{LocalParameters, Negotiation},
    ssrcs::Ssrcs,
    transport::random_credentials,
};

/// The part of our descriptions that is the same for everybody.
pub(super) struct Local {
    pub fingerprint: [u8; 32],
    pub candidates: Vec<SocketAddr>,
    pub tcp_candidates: Vec<SocketAddr>,
    pub max_message_size: u64,
}

/// The state of one PeerConnection.
pub(super) struct Connection {
    pub negotiation: Negotiation,
    /// The source of SSRCs for further subscriptions.
    pub ssrcs: Ssrcs,
    /// Our ICE credentials.
    pub ice: IceCredentials,
    /// A description of the client was taken.
    pub has_remote: bool,
}

impl Local {
    /// The parameters for one description: with these credentials, and with candidates of one protocol only, where
    /// there are any.
    pub fn with(&self, ice: IceCredentials, only: Option<TransportProtocol>) -> LocalParameters {
        let (mut candidates, mut tcp_candidates) =
            (self.candidates.clone(), self.tcp_candidates.clone());
        match only {
            Some(TransportProtocol::Udp) => tcp_candidates.clear(),
            Some(TransportProtocol::Tcp) if !tcp_candidates.is_empty() => candidates.clear(),
            _ => {}
        }
        LocalParameters {
            ice,
            ice_lite: true,
            fingerprint: self.fingerprint,
            candidates,
            tcp_candidates,
            max_message_size: self.max_message_size,
        }
    }
}

impl Connection {
    /// A connection that waits for its first description.
    pub fn new(negotiation: Negotiation, shard: u16, rng: &mut impl Rng) -> Self {
        Self {
            negotiation,
            ssrcs: Ssrcs::new(rng.random()),
            ice: random_credentials(shard, rng),
            has_remote: false,
        }
    }
}
