//! Revoked tokens of rooms that have ended: whoever was removed does not come back once the room was empty for a while.

use std::collections::{BTreeMap, VecDeque};

use signaling::Revocations;

use crate::room_key::RoomKey;

/// The most identities of all ended rooms together. Those of the rooms that ended first are forgotten first.
const MAX: usize = 100_000;

/// The revocations of ended rooms, by key of the room. In memory: a restart of the server forgets them.
#[derive(Debug, Default)]
pub(crate) struct Revoked {
    by_key: BTreeMap<RoomKey, Revocations>,
    /// Keys, in the order in which the rooms ended.
    keys: VecDeque<RoomKey>,
    identities: usize,
}

impl Revoked {
    /// Keeps the revocations of a room that has ended.
    pub fn keep(&mut self, key: &RoomKey, revocations: Revocations) {
        if revocations.is_empty() {
            return;
        }
        self.take(key);
        self.identities += revocations.len();
        self.by_key.insert(key.clone(), revocations);
        self.keys.push_back(key.clone());
        while self.identities > MAX
            && let Some(first) = self.keys.front().cloned()
        {
            self.take(&first);
        }
    }

    /// Takes the revocations for a room of this key that opens.
    pub fn take(&mut self, key: &RoomKey) -> Revocations {
        let Some(known) = self.by_key.remove(key) else {
            return Revocations::default();
        };
        self.keys.retain(|other| other != key);
        self.identities -= known.len();
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::RoomName;

    #[test]
    fn the_rooms_that_ended_first_are_forgotten_first() {
        let mut revoked = Revoked::default();
        let mut many = Revocations::default();
        for person in 0..1000 {
            many.add(&format!("person {person}").into(), 1);
        }
        let key = |room: usize| RoomKey::from(RoomName::from(format!("room {room}").as_str()));
        for room in 0..=MAX / 1000 {
            revoked.keep(&key(room), many.clone());
        }
        revoked.keep(&key(5), many.clone());
        assert_eq!(revoked.identities, MAX);
        assert!(revoked.take(&key(0)).is_empty());
        assert_eq!(revoked.take(&key(5)), many);
        assert!(revoked.take(&key(5)).is_empty(), "a room has it now");
        assert_eq!(revoked.identities, MAX - 1000);
    }
}
