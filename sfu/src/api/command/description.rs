//! Commands about descriptions.

use protocol::ParticipantSid;

use crate::{
    api::datagram::TransportProtocol,
    sdp::{SdpError, SessionDescription},
};

/// A command about descriptions, of a client or for one. The [`Negotiator`](crate::Negotiator) carries it out.
#[derive(Debug, Clone)]
pub enum DescriptionCommand {
    /// The client's SDP offer. Answered by [`Event::Answer`](crate::Event::Answer) or
    /// [`Event::NegotiationFailed`](crate::Event::NegotiationFailed). An offer whose DTLS role cannot be used is
    /// ignored once there is a connection.
    Offer {
        /// The participant.
        peer: ParticipantSid,
        /// The offer's id, echoed in the answer.
        id: u32,
        /// The offer, parsed. Parsing takes longer than media may wait: it is done in the room's task.
        description: Box<SessionDescription>,
    },
    /// Starts the offers of all subscriptions to a participant with a second PeerConnection. Answered by
    /// [`Event::Offer`](crate::Event::Offer). From then on, changes are offered without a command.
    OfferSubscriber {
        /// The participant.
        peer: ParticipantSid,
        /// ICE is restarted: the client's network may have changed. An offer that is not answered is given up.
        restart_ice: bool,
    },
    /// The client's SDP answer to an [`Event::Offer`](crate::Event::Offer). An answer to another than the last offer is
    /// ignored. A bad one is answered by [`Event::NegotiationFailed`](crate::Event::NegotiationFailed); otherwise there
    /// is no event, or the next [`Event::Offer`](crate::Event::Offer) where something changed meanwhile.
    Answer {
        /// The participant.
        peer: ParticipantSid,
        /// The offer's id; 0 from clients that know none.
        id: u32,
        /// The answer, parsed.
        description: Box<SessionDescription>,
    },
    /// Our descriptions for this participant list candidates of this protocol only, if there are any. Given before its
    /// first offer, and before ours. No event. For tests of clients.
    RestrictCandidates {
        /// The participant.
        peer: ParticipantSid,
        /// UDP or TCP.
        protocol: TransportProtocol,
    },
}

impl DescriptionCommand {
    /// [`DescriptionCommand::Offer`] from SDP.
    ///
    /// # Errors
    /// [`SdpError`] when the text cannot be read.
    pub fn offer(peer: ParticipantSid, id: u32, sdp: &str) -> Result<Self, SdpError> {
        let description = Box::new(SessionDescription::parse(sdp)?);
        Ok(Self::Offer {
            peer,
            id,
            description,
        })
    }

    /// [`DescriptionCommand::Answer`] from SDP.
    ///
    /// # Errors
    /// [`SdpError`] when the text cannot be read.
    pub fn answer(peer: ParticipantSid, id: u32, sdp: &str) -> Result<Self, SdpError> {
        let description = Box::new(SessionDescription::parse(sdp)?);
        Ok(Self::Answer {
            peer,
            id,
            description,
        })
    }
}
