//! Room to work in, so that nothing is allocated for it each time.

use crate::{
    allocator::Demand,
    keys::{DownTrackKey, PeerKey, UpTrackKey},
};

/// Larger than any datagram we accept.
pub const DATAGRAM: usize = 2048;

/// What the shard's verbs borrow while they work. Lists are empty in between.
#[derive(Debug)]
pub struct Workspace {
    /// A packet as it was opened: [`DATAGRAM`] bytes.
    pub packet: Box<[u8]>,
    /// One peer's subscriptions.
    pub downs: Vec<DownTrackKey>,
    /// Its pictures, what each asks for, and what each gets.
    pub pictures: Vec<DownTrackKey>,
    /// See `pictures`.
    pub demands: Vec<Demand>,
    /// See `pictures`.
    pub shares: Vec<Option<u8>>,
    /// Who has a turn in a round of feedback.
    pub ups: Vec<UpTrackKey>,
    /// See `ups`.
    pub peers: Vec<PeerKey>,
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
            peers: Vec::new(),
        }
    }
}

impl Workspace {
    /// What was lent when a panic struck is gone with it. Lists grow again by themselves; what is used at its length must be
    /// there again, or nobody's packets would fit any more.
    pub fn restore(&mut self) {
        if self.packet.len() != DATAGRAM {
            self.packet = vec![0; DATAGRAM].into_boxed_slice();
        }
    }
}
