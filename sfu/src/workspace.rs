//! The work space of a shard, so that nothing is allocated for its work each time.

use crate::{
    allocator::Demand,
    keys::{ConnectionKey, DownTrackKey, UpTrackKey},
};

/// Size of the packet buffer, bytes: larger than any datagram we accept.
pub const DATAGRAM: usize = 2048;

/// Buffers and lists that the shard's verbs borrow while they work. Lists are empty in between.
#[derive(Debug)]
pub struct Workspace {
    /// An opened packet: [`DATAGRAM`] bytes.
    pub packet: Box<[u8]>,
    /// Subscriptions of one connection.
    pub downs: Vec<DownTrackKey>,
    /// Pictures of one connection.
    pub pictures: Vec<DownTrackKey>,
    /// The demand of each of these pictures.
    pub demands: Vec<Demand>,
    /// The share of each of these pictures.
    pub shares: Vec<Option<u8>>,
    /// Tracks that have a turn in a round of feedback.
    pub ups: Vec<UpTrackKey>,
    /// Connections that have a turn in a round of feedback.
    pub connections: Vec<ConnectionKey>,
}

impl Default for Workspace {
    fn default() -> Self {
        Self {
            packet: vec![0; DATAGRAM].into_boxed_slice(),
            downs: Vec::new(),
            pictures: Vec::new(),
            demands: Vec::new(),
            shares: Vec::new(),
            ups: Vec::new(),
            connections: Vec::new(),
        }
    }
}

impl Workspace {
    /// Restores the work space that was lent, and lost, when a panic struck. Lists grow again by themselves; the packet
    /// buffer is used at its length and must be there again, or no packet would fit any more.
    pub fn restore(&mut self) {
        if self.packet.len() != DATAGRAM {
            self.packet = vec![0; DATAGRAM].into_boxed_slice();
        }
    }
}
