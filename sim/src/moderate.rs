//! Moderation: applications act on people through the server API.

use std::time::Duration;

use protocol::{
    RoomName,
    error::Error,
    livekit::{ParticipantPermission, UpdateParticipantRequest},
};
use signaling::{ApiCall, ApiReply};

use crate::{
    forward_participant::other_room, media::parse_name, scenario::Moderation, server::Outbox,
    world::World,
};

/// The time until somebody receives who may receive again.
const AFTER_DEAFNESS: Duration = Duration::from_secs(3);

impl World {
    /// Moderates a person, unless they are not there.
    pub fn moderate(&mut self, person: usize, what: Moderation) {
        let identity = self.people[person].identity.clone();
        let done = match what {
            Moderation::MuteTrack(index) => self.mute_track(person, index),
            Moderation::Remove => {
                self.people[person].unwelcome = true;
                let call = ApiCall::RemoveParticipant {
                    identity: identity.as_str().into(),
                    revoke_before: None,
                };
                self.api(person, call).map(drop)
            }
            Moderation::SetMetadata(number) => {
                let request = UpdateParticipantRequest {
                    identity,
                    metadata: format!("metadata {number}"),
                    ..Default::default()
                };
                self.api(person, ApiCall::UpdateParticipant(Box::new(request)))
                    .map(drop)
            }
            Moderation::MayReceive(may) => self.allow_receiving(person, may),
            Moderation::Move => self.move_person(person),
            Moderation::Forward => self.forward(person),
            Moderation::StopForwarding => self.stop_forwarding(person),
            Moderation::DeleteRoom => {
                let room = self.people[person].room.clone();
                for other in self.people.iter_mut().filter(|other| other.room == room) {
                    other.unwelcome = true;
                }
                self.server.delete_room(&room, self.now);
                Ok(())
            }
        };
        if let Err(error) = done {
            self.note(&format!("{person} was not to be had: {error}"));
        }
    }

    /// Allows everybody to receive who was forbidden to; they may have come back with a token that says otherwise.
    pub fn allow_all(&mut self) {
        for person in self.deaf.keys().copied().collect::<Vec<_>>() {
            if let Err(error) = self.allow_receiving(person, true) {
                self.note(&format!("{person} was not to be had: {error}"));
            }
        }
    }

    /// Asks the server for its view of everybody.
    pub fn look_up(&mut self) {
        for person in 0..self.people.len() {
            let identity = self.people[person].identity.as_str().into();
            let metadata = match self.api(person, ApiCall::GetParticipant { identity }) {
                Ok(ApiReply::Participant(info)) => Some(info.metadata),
                _ => None,
            };
            self.people[person].metadata = metadata;
        }
    }

    /// Makes a call about a person, in the room that they are connected to.
    pub fn api(&mut self, person: usize, call: ApiCall) -> Result<ApiReply, Error> {
        let room = self.people[person].room.clone();
        self.api_of(&room, call)
    }

    /// Makes a call of the server API to this room.
    pub fn api_of(&mut self, room: &RoomName, call: ApiCall) -> Result<ApiReply, Error> {
        let mut out = Outbox::default();
        let reply = self.server.api(room, call, self.now, &mut out);
        self.server.pump(self.now, &mut out);
        self.post(out);
        reply
    }

    fn mute_track(&mut self, person: usize, index: usize) -> Result<(), Error> {
        let identity = || self.people[person].identity.as_str().into();
        let (asked, call) = (
            identity(),
            ApiCall::GetParticipant {
                identity: identity(),
            },
        );
        let ApiReply::Participant(info) = self.api(person, call)? else {
            return Ok(());
        };
        let Some(track) = info.tracks.get(index % info.tracks.len().max(1)) else {
            return Ok(());
        };
        if let Some((_, source)) = parse_name(&track.name) {
            let now = self.now;
            self.people[person].muting.push((source, now));
        }
        let call = ApiCall::MuteTrack {
            identity: asked,
            track_sid: track.sid.clone(),
            muted: true,
        };
        self.api(person, call).map(drop)
    }

    fn allow_receiving(&mut self, person: usize, may: bool) -> Result<(), Error> {
        let permission = ParticipantPermission {
            can_subscribe: may,
            can_publish: true,
            can_publish_data: true,
            ..Default::default()
        };
        let request = UpdateParticipantRequest {
            identity: self.people[person].identity.clone(),
            permission: Some(permission),
            ..Default::default()
        };
        self.api(person, ApiCall::UpdateParticipant(Box::new(request)))?;
        let since = self.deaf.entry(person).or_default();
        if !may {
            since.get_or_insert(self.now);
        } else if let Some(since) = since.take() {
            self.excuse(person, since, self.now + AFTER_DEAFNESS);
        }
        Ok(())
    }

    fn move_person(&mut self, person: usize) -> Result<(), Error> {
        let there = other_room(&self.people[person].room);
        if !self.has_place_for(person, &there) {
            return Ok(());
        }
        let destination = self.open(&there)?;
        let identity = self.people[person].identity.as_str().into();
        let call = ApiCall::MoveParticipant {
            identity,
            destination,
        };
        self.api(person, call).map(drop)
    }
}
