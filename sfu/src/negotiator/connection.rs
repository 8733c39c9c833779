//! One PeerConnection, as far as it is negotiated.

use std::net::SocketAddr;

use protocol::ParticipantSid;
use rand::Rng;

use super::Negotiator;
use crate::{
    api::{Command, IceCredentials, Target, TransportProtocol},
    negotiate::{LocalParameters, Negotiation},
    ssrcs::Ssrcs,
    transport::random_credentials,
};

/// What all our descriptions say of us.
pub(super) struct Local {
    pub fingerprint: [u8; 32],
    pub candidates: Vec<SocketAddr>,
    pub tcp_candidates: Vec<SocketAddr>,
    pub max_message_size: u64,
}

/// The state of one PeerConnection.
pub(super) struct Connection {
    pub negotiation: Negotiation,
    /// SSRCs for its further subscriptions.
    pub ssrcs: Ssrcs,
    /// Our credentials.
    pub ice: IceCredentials,
    /// A description of the client was taken over.
    pub has_remote: bool,
}

impl Local {
    /// With these credentials, and candidates of one protocol where there are any of it.
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

impl Negotiator {
    /// A PeerConnection that waits for its first description.
    pub(super) fn connection(&mut self, negotiation: Negotiation) -> Connection {
        Connection {
            negotiation,
            ssrcs: Ssrcs::new(self.rng.random()),
            ice: random_credentials(self.shard, &mut self.rng),
            has_remote: false,
        }
    }

    /// The shard learns our credentials.
    pub(super) fn tell_ice(&mut self, peer: ParticipantSid, target: Target, restart: bool) {
        let member = self.members.get_mut(&peer);
        if let Some(connection) = member.and_then(|member| member.connection(target)) {
            let ice = connection.ice.clone();
            self.pass(Command::SetIce {
                peer,
                target,
                ice,
                restart,
            });
        }
    }
}
