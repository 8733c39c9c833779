//! Forwarding: an application wants people to be in the other room too.

use std::time::Duration;

use protocol::{RoomName, error::Error, livekit};
use signaling::{ApiCall, ApiReply};

use crate::{
    media::Kind, person::Person, scenario::MICROPHONES, server::Outbox, verdict::wrongs,
    world::World,
};

/// The time in which everybody hears that somebody is not forwarded any more.
const AFTER_END: Duration = Duration::from_secs(1);

/// A person who is to be in another room too.
#[derive(Debug)]
pub struct Forward {
    room: RoomName,
    /// Sids of the participant, where it is connected, and of the other room, when it was forwarded last: while they
    /// are the same, it is there.
    done: Option<(String, String)>,
}

/// The other room of two.
pub fn other_room(room: &RoomName) -> RoomName {
    match room.as_str() {
        "room-0" => RoomName::from("room-1"),
        _ => RoomName::from("room-0"),
    }
}

impl World {
    /// Whether the person is connected to the room, or forwarded to it.
    pub fn is_in(&self, person: &Person, room: &RoomName) -> bool {
        let forward = self.forwards.get(&person.index);
        person.room == *room || forward.is_some_and(|forward| forward.room == *room)
    }

    /// Whether the room has no more microphones than can all be heard, with those of the person.
    pub fn has_place_for(&self, person: usize, room: &RoomName) -> bool {
        let people = self.people.iter();
        let together = people.filter(|p| p.index == person || self.is_in(p, room));
        let sources = together.flat_map(|p| &p.sources);
        sources.filter(|source| source.kind == Kind::Sound).count() <= MICROPHONES
    }

    /// Forwards the person to the other room from now on.
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

    /// Who was forwarded may be so no longer, and it is known why.
    pub fn forwards_are_lost(&mut self) {
        for forward in self.forwards.values_mut() {
            forward.done = None;
        }
    }

    /// Forwards everybody again who is to be in another room, if need be: they may have come back as other
    /// participants.
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

    /// Ends the forwarding of a person, who is removed from the other room, or that room ends where nobody is connected
    /// to it.
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

    /// Ends all forwarding. Returns what is not as it should be then.
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

    /// The room, opened if it is not open.
    pub fn open(&mut self, room: &RoomName) -> Result<Box<livekit::Room>, Error> {
        let mut out = Outbox::default();
        let opened = self.server.opened(room, self.now, &mut out);
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
