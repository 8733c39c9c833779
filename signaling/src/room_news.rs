//! The news of a room for those who send agents to it.

use protocol::{
    ParticipantSid,
    livekit::{self, ParticipantInfo, RoomAgentDispatch},
};

/// News of a room for those who send agents.
#[derive(Debug, Clone, PartialEq)]
pub enum RoomNews {
    /// The room is open.
    Opened {
        /// The room as the API sees it.
        info: Box<livekit::Room>,
        /// The agents that the opener of the room wants there. Where none are named, every agent without a name is
        /// wanted.
        agents: Vec<RoomAgentDispatch>,
    },
    /// The room has other metadata.
    MetadataChanged {
        /// The new metadata.
        metadata: String,
    },
    /// A participant has joined.
    Joined {
        /// The participant's sid.
        sid: ParticipantSid,
        /// The participant as others see it.
        info: Box<ParticipantInfo>,
        /// The agents that the participant's token wants here.
        agents: Vec<RoomAgentDispatch>,
    },
    /// A participant that had no track publishes its first.
    Published {
        /// The participant's sid.
        sid: ParticipantSid,
        /// The participant as others see it.
        info: Box<ParticipantInfo>,
    },
    /// A participant's signal connection broke.
    Away {
        /// The participant's sid.
        sid: ParticipantSid,
    },
    /// A participant has a signal connection again.
    Back {
        /// The participant's sid.
        sid: ParticipantSid,
    },
    /// A participant has left.
    Left {
        /// The participant's sid.
        sid: ParticipantSid,
    },
    /// The room has ended.
    Closed,
}
