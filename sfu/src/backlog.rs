//! Work that concerns many, of which each turn of the thread does a share: the media of others must not wait until a
//! thousand people have a data packet, or have left.

use std::{collections::VecDeque, time::Instant};

use crate::{
    api::DataChannel,
    data_track::Handle,
    keys::{MemberKey, RouterKey},
};

/// The number of receivers that get a data packet in one turn. Each costs some microseconds.
pub const RECEIVERS: usize = 64;

/// The number of subscriptions that end in one turn where a room is closed. A member counts as [`LEAVING`] more.
pub const CLOSING: usize = 512;

/// The cost of a member that leaves, besides its subscriptions: a last DTLS record, and the indices that it is in.
pub const LEAVING: usize = 32;

/// The most packets of one room that wait for a turn, and their bytes. Where there are more, the first one is finished
/// at once. So nobody fills the memory, and no reader is handed much more than it had room for when its packets came.
const MAX_WAITING: (usize, usize) = (64, 64 * 1024);

/// A data packet on its way to its receivers.
#[derive(Debug)]
pub struct Broadcast {
    /// The channel.
    pub channel: DataChannel,
    /// The packet.
    pub message: Vec<u8>,
    /// Those that do not have it yet, in order; of a data track, with its handle in the packets to them.
    pub receivers: VecDeque<(MemberKey, Option<Handle>)>,
}

/// The data packets of one room that have not gone to all their receivers. They go out in their order.
#[derive(Debug, Default)]
pub struct Broadcasts {
    waiting: VecDeque<Broadcast>,
    bytes: usize,
}

impl Broadcasts {
    /// Adds a packet behind those that wait. Returns the number of receivers that the room's next packets go to at
    /// once.
    pub fn push(&mut self, broadcast: Broadcast) -> usize {
        let waits = !self.is_empty();
        self.bytes += broadcast.message.len();
        self.waiting.push_back(broadcast);
        let is_above = self.waiting.len() > MAX_WAITING.0 || self.bytes > MAX_WAITING.1;
        let first = self
            .waiting
            .front()
            .map_or(0, |first| first.receivers.len());
        match (waits, is_above) {
            (true, true) => first,
            (true, false) => 0,
            (false, _) => RECEIVERS,
        }
    }

    /// Takes the packet that goes out now.
    pub fn pop(&mut self) -> Option<Broadcast> {
        let first = self.waiting.pop_front()?;
        self.bytes -= first.message.len();
        Some(first)
    }

    /// Puts it back: it has not gone to all its receivers.
    pub fn put_back(&mut self, first: Broadcast) {
        self.bytes += first.message.len();
        self.waiting.push_front(first);
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// What waits for the next turn.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Rooms whose data packets wait, in the order of their turns.
    pub rooms: VecDeque<RouterKey>,
    /// Members of rooms that have ended.
    pub leaving: VecDeque<MemberKey>,
    /// When the next turn is due: as soon as something waits.
    due: Option<Instant>,
}

impl Backlog {
    /// When the next turn is due, if anything waits.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Brings it up to date.
    pub fn settle(&mut self, now: Instant) {
        let waits = !self.rooms.is_empty() || !self.leaving.is_empty();
        self.due = waits.then_some(self.due.unwrap_or(now));
    }
}
