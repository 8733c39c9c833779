//! Commands about whole rooms.

use protocol::RoomSid;

/// A command about a whole room.
#[derive(Debug, Clone)]
pub enum RoomCommand {
    /// The number of the room's voices, the loudest, that are forwarded from now on; 0: all. Sound of shared screens
    /// always is. No event.
    SetAudioTopN {
        /// The room; ignored while nobody is in it.
        room: RoomSid,
        /// The number; 0: all.
        limit: usize,
    },
    /// The room ended; peers that are still in it are removed. No event, for these peers and from then on.
    Close {
        /// The room.
        room: RoomSid,
    },
}
