//! People whom an application wants to be in the other room too.

use std::time::Duration;

use protocol::{RoomName, error::Error, livekit};
use signaling::{ApiCall, ApiReply};

use crate::{
    media::Kind, node::Outbox, person::Person, scenario::MICROPHONES, verdict::wrongs, world::World,
};

/// Until everybody has heard that somebody is not forwarded any more.
const AFTER_END: Duration = Duration::from_secs(1);

/// Somebody who is to be in another room too.
#[derive(Debug)]
pub struct Forward {
    room: RoomName,
    /// The participant's sid where it is connected, and the room's, when that was done last: while they are the same, it
    /// is there.
    done: Option<(String, String)>,
}

/// There are two.
pub fn other_room(room: &RoomName) -> RoomName {
    match room.as_str() {
        "room-0" => RoomName::from("room-1"),
        _ => RoomName::from("room-0"),
    }
}

impl World {
    /// Connected to the room, or forwarded to it.
    pub fn is_in(&self, person: &Person, room: &RoomName) -> bool {
        let forward = self.forwards.get(&person.index);
        person.room == *room || forward.is_some_and(|forward| forward.room == *room)
    }

    /// There are no more microphones than all can be heard, with those of the person.
    pub fn has_place_for(&self, person: usize, room: &RoomName) -> bool {
        let people = self.people.iter();
        let together = people.filter(|p| p.index == person || self.is_in(p, room));
        let sources = together.flat_map(|p| &p.sources);
        sources.filter(|source| source.kind == Kind::Sound).count() <= MICROPHONES
    }

    /// From now on the person is to be in the other room too.
    pub fn forward(&mut self, person: usize) -> Result<(), Error> {
        let there = other_room(&self.people[person].room);
        if !self.has_place_for(person, &there) {
            return Ok(());
        }
        let known = self.forwards.get(&person).filter(|f| f.room == there);
        if known.is_none() {
            let forward = Forward {
                room: there,
                done: None,
            };
            self.forwards.insert(person, forward);
        }
        self.forward_again(person)
    }

    /// Whoever is to be in another room is sent there again, if need be: it may have come back as another participant.
    pub fn forward_all(&mut self) {
        for person in self.forwards.keys().copied().collect::<Vec<_>>() {
            let room = self.forwards[&person].room.clone();
            let p = &self.people[person];
            if p.present
                && p.room != room
                && self.has_listeners(&room)
                && let Err(error) = self.forward_again(person)
                && !matches!(error, Error::AlreadyExists(_))
            {
                self.note(&format!("{person} was not to be forwarded: {error}"));
            }
        }
    }

    /// It is to be where it is connected only: it is removed from the other room, or that ends where nobody is.
    pub fn stop_forwarding(&mut self, person: usize) -> Result<(), Error> {
        let Some(forward) = self.forwards.remove(&person) else {
            return Ok(());
        };
        if self.people[person].room == forward.room {
            return Ok(());
        }
        let call = match self.has_listeners(&forward.room) {
            true => ApiCall::RemoveParticipant {
                identity: self.people[person].identity.as_str().into(),
                revoke_before: None,
            },
            false => ApiCall::DeleteRoom,
        };
        self.api_of(&forward.room, call).map(drop)
    }

    /// Nobody is forwarded any more. What is not as it should be then.
    pub fn end_forwards(&mut self) -> Vec<String> {
        let people: Vec<_> = self.forwards.keys().copied().collect();
        if people.is_empty() {
            return Vec::new();
        }
        for person in people {
            if let Err(error) = self.stop_forwarding(person) {
                self.note(&format!("{person} was not there: {error}"));
            }
        }
        self.run(AFTER_END);
        wrongs(self)
    }

    /// The room, which is opened if it is not open.
    pub fn open(&mut self, room: &RoomName) -> Result<Box<livekit::Room>, Error> {
        let mut out = Outbox::default();
        let opened = self.node.opened(room, self.now, &mut out);
        self.post(out);
        match opened? {
            ApiReply::Room(room) => Ok(room),
            _ => Err(Error::Internal),
        }
    }

    fn has_listeners(&self, room: &RoomName) -> bool {
        let mut people = self.people.iter();
        people.any(|p| p.room == *room && (p.present || p.participant.is_some()))
    }

    fn forward_again(&mut self, person: usize) -> Result<(), Error> {
        let Some(forward) = self.forwards.get(&person) else {
            return Ok(());
        };
        let room = self.open(&forward.room.clone())?;
        let destination = room.sid.parse().map_err(|_| Error::Internal)?;
        let identity = || self.people[person].identity.as_str().into();
        let (asked, call) = (
            ApiCall::GetParticipant {
                identity: identity(),
            },
            ApiCall::ForwardParticipant {
                identity: identity(),
                destination,
            },
        );
        let ApiReply::Participant(info) = self.api(person, asked)? else {
            return Ok(());
        };
        self.api(person, call)?;
        let done = Some((info.sid, room.sid));
        if let Some(forward) = self.forwards.get_mut(&person) {
            let was = std::mem::replace(&mut forward.done, done);
            if was == forward.done {
                let complaint = "was not forwarded any more, and nobody knows why".to_owned();
                self.people[person].complaints.push(complaint);
            }
        }
        Ok(())
    }
}
