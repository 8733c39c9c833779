//! What comes to a delivery service, and what it wants.

use bytes::Bytes;
use protocol::ParticipantIdentity;

use super::record::Record;

/// What names a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What comes to a delivery service.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupInput {
    /// Somebody connects whose token is valid for the meeting.
    Connect {
        /// The connection.
        connection: ConnectionId,
        /// The identity of the token.
        identity: ParticipantIdentity,
    },
    /// A frame of a connection.
    Frame {
        /// The connection.
        connection: ConnectionId,
        /// The frame.
        frame: Bytes,
    },
    /// A connection has ended.
    Disconnect {
        /// The connection.
        connection: ConnectionId,
    },
    /// Somebody is in the meeting.
    Arrived {
        /// The identity.
        identity: ParticipantIdentity,
        /// It may found a group with moderators.
        may_moderate: bool,
    },
    /// Somebody is in the meeting no more.
    Left {
        /// The identity.
        identity: ParticipantIdentity,
        /// It was told to come back at once, with a new connection.
        returns: bool,
    },
}

/// What a delivery service wants.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupOutput {
    /// A frame for a connection.
    Send {
        /// The connection.
        connection: ConnectionId,
        /// The frame.
        frame: Bytes,
    },
    /// A connection is to be closed, after what was sent to it.
    Close {
        /// The connection.
        connection: ConnectionId,
    },
    /// Something to keep, before any later output is carried out.
    Keep(Record),
}
