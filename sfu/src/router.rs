//! The members of one room on one shard.

use protocol::RoomSid;

use crate::{replay::ReplayBuffer, shard::PeerKey, speakers::Speakers};

/// A room's members, and who of them speaks.
pub struct Router {
    /// Its sid.
    pub sid: RoomSid,
    /// Members, in order of arrival.
    pub members: Vec<PeerKey>,
    /// Active speakers.
    pub speakers: Speakers<PeerKey>,
    /// Reliable data packets of the last seconds.
    pub replay: ReplayBuffer,
}

impl Router {
    /// An empty room.
    pub fn new(sid: RoomSid) -> Self {
        Self {
            sid,
            members: Vec::new(),
            speakers: Speakers::new(),
            replay: ReplayBuffer::default(),
        }
    }
}
