//! What is kept of a group.

use super::log::LogEntry;

/// Something to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The whole group: it takes the place of the one before. Entries before [`Snapshot::first`] may be forgotten.
    Snapshot(Snapshot),
    /// The next entry of the log.
    Entry(LogEntry),
    /// The group has ended: nothing of it is kept.
    Ended,
}

/// A whole group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The group's id.
    pub id: Vec<u8>,
    /// The number of its profile.
    pub profile: u8,
    /// The key with which the delivery service proposes to remove members. It is a secret, but lets nobody in.
    pub key: Vec<u8>,
    /// The number of the entry that comes after this state.
    pub next: u64,
    /// The oldest entry that clients may still ask for.
    pub first: u64,
    /// The group information.
    pub group_info: Vec<u8>,
    /// The tree.
    pub tree: Vec<u8>,
}

/// A group that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The group at some time.
    pub snapshot: Snapshot,
    /// Entries of its log, in their order: all since then, and some before.
    pub entries: Vec<LogEntry>,
}
