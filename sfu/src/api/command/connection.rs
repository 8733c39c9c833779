//! Commands about what clients have agreed on with us.

use protocol::{ParticipantSid, TrackSid};

use crate::api::parameters::{Bound, IceCredentials, ReceiveSection, RemoteParameters, Target};

/// A command about what a client has agreed on with us.
#[derive(Debug, Clone)]
pub enum ConnectionCommand {
    /// ICE credentials under which the client reaches a PeerConnection from now on. No event.
    SetIce {
        /// The participant.
        peer: ParticipantSid,
        /// The PeerConnection.
        target: Target,
        /// Our credentials.
        ice: IceCredentials,
        /// The client restarts ICE, or is to: media goes on along the old path until another one is nominated.
        restart: bool,
    },
    /// The client's side of a PeerConnection, as the client described it last. The PeerConnection comes to life with the
    /// first of these. Answered by [`Event::Connected`](crate::Event::Connected), or [`Event::Disconnected`](crate::Event::Disconnected).
    SetRemote {
        /// The participant.
        peer: ParticipantSid,
        /// The PeerConnection.
        target: Target,
        /// The client's side of the transport.
        remote: Box<RemoteParameters>,
    },
    /// The sections in which the client sends, all of them. No event.
    Receive {
        /// The publisher.
        peer: ParticipantSid,
        /// The sections, in the order of the client's description.
        sections: Vec<ReceiveSection>,
    },
    /// A track found its section, one of the last [`ConnectionCommand::Receive`]. Answered by [`Event::TrackActive`](crate::Event::TrackActive), with the first packet of each layer.
    Bind {
        /// The publisher.
        peer: ParticipantSid,
        /// The track, and what it is encoded with.
        bound: Box<Bound>,
    },
    /// A backup lost its section, and is again as it was when it was announced. No event.
    Unbind {
        /// The publisher.
        peer: ParticipantSid,
        /// The backup.
        track: TrackSid,
    },
}
