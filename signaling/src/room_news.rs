//! What a room tells those who send agents to it.

use protocol::{
    ParticipantSid,
    livekit::{self, ParticipantInfo, RoomAgentDispatch},
};

/// What a room tells of itself to those who send agents.
#[derive(Debug, Clone, PartialEq)]
pub enum RoomNews {
    /// It is open.
    Opened {
        /// As the API sees it.
        info: Box<livekit::Room>,
        /// The agents that whoever opened it wants there. Where none are named, every agent without a name is wanted.
        agents: Vec<RoomAgentDispatch>,
    },
    /// It has other metadata.
    MetadataChanged {
        /// The new.
        metadata: String,
    },
    /// Somebody has joined.
    Joined {
        /// By its sid.
        sid: ParticipantSid,
        /// As others see it.
        info: Box<ParticipantInfo>,
        /// The agents that its token wants here.
        agents: Vec<RoomAgentDispatch>,
    },
    /// Somebody who had no track publishes its first.
    Published {
        /// By its sid.
        sid: ParticipantSid,
        /// As others see it.
        info: Box<ParticipantInfo>,
    },
    /// Somebody's signal connection broke.
    Away {
        /// By its sid.
        sid: ParticipantSid,
    },
    /// Somebody has a signal connection again.
    Back {
        /// By its sid.
        sid: ParticipantSid,
    },
    /// Somebody has left.
    Left {
        /// By its sid.
        sid: ParticipantSid,
    },
    /// It has ended.
    Closed,
}
