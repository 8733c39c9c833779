//! Revoked tokens of rooms that have ended: whoever was removed does not come back once the room was empty for a while.

use std::collections::{HashMap, VecDeque};

use protocol::RoomName;
use signaling::Revocations;

/// The most identities of all ended rooms together. Those of the rooms that ended first are forgotten first.
const MAX: usize = 100_000;

/// The revocations of ended rooms, by name of the room. In memory: a restart of the server forgets them.
#[derive(Default)]
pub(super) struct Revoked {
    by_name: HashMap<RoomName, Revocations>,
    /// Names, in the order in which the rooms ended.
    names: VecDeque<RoomName>,
    identities: usize,
}

impl Revoked {
    /// Keeps the revocations of a room that has ended.
    pub fn keep(&mut self, name: &RoomName, revocations: Revocations) {
        if revocations.is_empty() {
            return;
        }
        self.take(name);
        self.identities += revocations.len();
        self.by_name.insert(name.clone(), revocations);
        self.names.push_back(name.clone());
        while self.identities > MAX
            && let Some(first) = self.names.front().cloned()
        {
            self.take(&first);
        }
    }

    /// Takes the revocations for a room of this name that opens.
    pub fn take(&mut self, name: &RoomName) -> Revocations {
        let Some(known) = self.by_name.remove(name) else {
            return Revocations::default();
        };
        self.names.retain(|other| other != name);
        self.identities -= known.len();
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rooms_that_ended_first_are_forgotten_first() {
        let mut revoked = Revoked::default();
        let mut many = Revocations::default();
        for person in 0..1000 {
            many.add(&format!("person {person}").into(), 1);
        }
        let name = |room: usize| RoomName::from(format!("room {room}").as_str());
        for room in 0..=MAX / 1000 {
            revoked.keep(&name(room), many.clone());
        }
        revoked.keep(&name(5), many.clone());
        assert_eq!(revoked.identities, MAX);
        assert!(revoked.take(&name(0)).is_empty());
        assert_eq!(revoked.take(&name(5)), many);
        assert!(revoked.take(&name(5)).is_empty(), "a room has it now");
        assert_eq!(revoked.identities, MAX - 1000);
    }
}
