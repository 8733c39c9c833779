//! The open rooms of a node: where each is, and whether there may be one more.

use std::collections::BTreeMap;

use protocol::{RoomSid, error::Error};
use signaling::Revocations;

use crate::{revoked::Revoked, room_key::RoomKey};

/// The limits of open rooms.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most open rooms on this node.
    pub all: usize,
    /// The most open rooms that tokens of one API key have opened.
    pub per_key: usize,
}

/// The place of a room that opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Index of the shard that holds its media.
    pub shard: usize,
    /// The tokens that the last room of this key had revoked.
    pub revoked: Revocations,
}

/// The open rooms of a node. `H` is a handle to one: whatever its owner reaches it by.
#[derive(Debug)]
pub struct Directory<H> {
    by_key: BTreeMap<RoomKey, Entry<H>>,
    /// Keys of the open rooms.
    by_sid: BTreeMap<RoomSid, RoomKey>,
    /// Number of rooms on each shard.
    per_shard: Vec<usize>,
    /// Number of rooms that each API key has opened.
    per_api_key: BTreeMap<String, usize>,
    revoked: Revoked,
    limits: Limits,
    /// A join may open a room. Some administrators want only rooms that the application has created.
    auto_create: bool,
    closing: bool,
}

#[derive(Debug)]
struct Entry<H> {
    sid: RoomSid,
    /// The API key that opened the room.
    api_key: String,
    shard: usize,
    handle: H,
}

impl<H: Clone> Directory<H> {
    /// A directory without rooms, of a node with this number of shards. `auto_create`: a join may open a room.
    pub fn new(shards: usize, limits: Limits, auto_create: bool) -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_sid: BTreeMap::new(),
            per_shard: vec![0; shards],
            per_api_key: BTreeMap::new(),
            revoked: Revoked::default(),
            limits,
            auto_create,
            closing: false,
        }
    }

    /// Number of open rooms.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no room is open.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The open rooms.
    pub fn iter(&self) -> impl Iterator<Item = (&RoomKey, &H)> {
        self.by_key.iter().map(|(key, entry)| (key, &entry.handle))
    }

    /// The room of this key.
    pub fn find(&self, key: &RoomKey) -> Option<&H> {
        self.by_key.get(key).map(|entry| &entry.handle)
    }

    /// The room with this sid.
    pub fn find_sid(&self, sid: RoomSid) -> Option<&H> {
        self.by_sid.get(&sid).and_then(|key| self.find(key))
    }

    /// Checks whether a join to the room, with a token of this API key, would be taken.
    ///
    /// # Errors
    /// When the server is about to stop, the room would have to be created first, or a new room would be one too many,
    /// for all or for this API key.
    pub fn admits(&self, key: &RoomKey, api_key: &str) -> Result<(), Error> {
        self.may_be_there(key, api_key)?;
        match self.auto_create || self.by_key.contains_key(key) {
            true => Ok(()),
            false => Err(Error::RoomNotFound),
        }
    }

    fn may_be_there(&self, key: &RoomKey, api_key: &str) -> Result<(), Error> {
        if self.closing {
            return Err(Error::ShuttingDown);
        }
        if self.by_key.contains_key(key) {
            return Ok(());
        }
        let of_this_key = self.per_api_key.get(api_key).copied().unwrap_or(0);
        if self.by_key.len() >= self.limits.all {
            Err(Error::Overloaded("too many rooms"))
        } else if of_this_key >= self.limits.per_key {
            Err(Error::TooManyRooms)
        } else {
            Ok(())
        }
    }

    /// The room of this key. Where there is none, `open` opens it at its place, for this API key, and says its sid and
    /// its handle. `participants` is the number of participants on a shard.
    ///
    /// # Errors
    /// As for [`Directory::admits`], except that this may create rooms in any case.
    pub fn find_or_open(
        &mut self,
        key: &RoomKey,
        api_key: &str,
        participants: impl Fn(usize) -> usize,
        open: impl FnOnce(Placement) -> (RoomSid, H),
    ) -> Result<H, Error> {
        self.may_be_there(key, api_key)?;
        if let Some(handle) = self.find(key) {
            return Ok(handle.clone());
        }
        // A room that has just been opened has nobody in it yet, but will: it counts as one participant.
        let load = |shard: &usize| participants(*shard) + self.per_shard[*shard];
        let shard = (0..self.per_shard.len()).min_by_key(load).unwrap_or(0);
        let revoked = self.revoked.take(key);
        let (sid, handle) = open(Placement { shard, revoked });
        self.per_shard[shard] += 1;
        self.by_sid.insert(sid, key.clone());
        *self.per_api_key.entry(api_key.to_owned()).or_default() += 1;
        let entry = Entry {
            sid,
            api_key: api_key.to_owned(),
            shard,
            handle: handle.clone(),
        };
        self.by_key.insert(key.clone(), entry);
        Ok(handle)
    }

    /// Makes way for another room of this key; the next one knows the revoked tokens. False: the room was gone already.
    pub fn vacate(&mut self, sid: RoomSid, revoked: Revocations) -> bool {
        let Some(key) = self.by_sid.remove(&sid) else {
            return false;
        };
        self.revoked.keep(&key, revoked);
        let Some(entry) = self.by_key.remove(&key) else {
            return false;
        };
        debug_assert_eq!(entry.sid, sid);
        self.per_shard[entry.shard] -= 1;
        if let Some(count) = self.per_api_key.get_mut(&entry.api_key) {
            *count -= 1;
            if *count == 0 {
                self.per_api_key.remove(&entry.api_key);
            }
        }
        true
    }

    /// Admits nobody from now on.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Whether [`Directory::close`] has been called.
    pub fn is_closing(&self) -> bool {
        self.closing
    }
}

#[cfg(test)]
mod tests;
