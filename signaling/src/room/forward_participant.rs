//! Forwarded participants in the room they joined: they are in other rooms too, where they only publish. The side of
//! the other rooms is in `forwarded_participants.rs`.
//!
//! The room sends the participant's complete state on each change ([`ForwardedParticipant`]); the other room computes
//! the difference. The sids that participant and tracks have in the other room are given out here. Media goes from
//! shard to shard (`sfu::RelayCommand::Start`), from the moment the other room has taken the participant.

use protocol::{
    ParticipantIdentity, ParticipantSid, RoomSid,
    error::Error,
    livekit::{DisconnectReason, participant_info::State},
};

use crate::{
    api::{ApiReply, Leg, RoomMessage, RoomOutput},
    encryption::Encryption,
    forwarded_participant::ForwardedParticipant,
    forwarding::Forward,
    participant::Participant,
    room::Room,
};

/// The most rooms that one participant is forwarded to.
const MAX_FORWARDS: usize = 100;

impl Room {
    /// Forwards a participant. Answered by [`RoomOutput::ApiReply`] when the other room has answered.
    pub(crate) fn forward_participant(
        &mut self,
        call: u64,
        identity: &ParticipantIdentity,
        room: RoomSid,
    ) {
        if let Err(error) = self.begin_forward(call, identity, room) {
            self.reply(call, Err(error));
        }
    }

    fn begin_forward(
        &mut self,
        call: u64,
        identity: &ParticipantIdentity,
        room: RoomSid,
    ) -> Result<(), Error> {
        if self.closed {
            return Err(Error::RoomNotFound);
        }
        if self.encryption == Encryption::Mls {
            return Err(Error::Encrypted);
        }
        let sid = self.find_own(identity)?;
        let there = ParticipantSid::random(&mut self.rng);
        let participant = self
            .participants
            .get_mut(&sid)
            .ok_or(Error::ParticipantNotFound)?;
        if participant.state != State::Active {
            return Err(Error::Unavailable("participant is not connected yet"));
        }
        if participant
            .forwards
            .iter()
            .any(|known| known.room() == room)
        {
            let text = "participant is forwarded to the destination room already";
            return Err(Error::AlreadyExists(text));
        }
        if participant.forwards.len() >= MAX_FORWARDS {
            let text = "participant is forwarded to as many rooms as it may be";
            return Err(Error::Overloaded(text));
        }
        participant.forwards.push(Forward::new(room, there, call));
        self.forwarded.insert(there, sid);
        self.tell_forwards(sid, |forward| forward.sid() == there, RoomMessage::Forward);
        self.update_all_audio_codecs(sid);
        Ok(())
    }

    /// Tells the other rooms that a participant changed.
    pub(crate) fn forward_changes(&mut self, sid: ParticipantSid) {
        self.tell_forwards(sid, |_| true, RoomMessage::ForwardChanged);
    }

    fn tell_forwards(
        &mut self,
        sid: ParticipantSid,
        which: impl Fn(&Forward) -> bool,
        message: impl Fn(Box<ForwardedParticipant>) -> RoomMessage,
    ) {
        let Self {
            participants,
            rng,
            outputs,
            ..
        } = self;
        let Some(participant) = participants.get_mut(&sid) else {
            return;
        };
        let mut forwards = std::mem::take(&mut participant.forwards);
        for forward in forwards.iter_mut().filter(|forward| which(forward)) {
            let commands =
                forward.update_tracks(sid, &participant.tracks, &participant.data.published, rng);
            let leg = Leg::HOME;
            let to_media = |command| RoomOutput::ToMedia { leg, command };
            outputs.extend(commands.into_iter().map(to_media));
            outputs.push_back(RoomOutput::ToRoom {
                room: forward.room(),
                message: message(Box::new(describe(participant, forward))),
            });
        }
        participant.forwards = forwards;
    }

    /// The other room has taken the participant: its media goes there from now on.
    pub(crate) fn forward_taken(&mut self, room: RoomSid, there: ParticipantSid, shard: u16) {
        let Some((peer, forward)) = self.forward_mut(room, there) else {
            return;
        };
        let (call, commands) = forward.taken(peer, shard);
        commands
            .into_iter()
            .for_each(|command| self.command(command));
        if let Some(call) = call {
            self.reply(call, Ok(ApiReply::Done));
        }
    }

    /// The other room does not take the participant, or not any more.
    pub(crate) fn forward_refused(&mut self, room: RoomSid, there: ParticipantSid, error: Error) {
        let Some((peer, _)) = self.forward_mut(room, there) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&peer) else {
            return;
        };
        let forwards = &mut participant.forwards;
        let Some(index) = forwards.iter().position(|forward| forward.sid() == there) else {
            return;
        };
        let forward = forwards.remove(index);
        self.forwarded.remove(&there);
        let call = forward.call();
        for command in forward.end(peer) {
            self.command(command);
        }
        if let Some(call) = call {
            self.reply(call, Err(error));
        }
        self.update_all_audio_codecs(peer);
    }

    /// Ends all forwards to a room that has ended.
    pub(crate) fn end_forwards_to(&mut self, room: RoomSid) {
        let known: Vec<_> = self.forwarded.keys().copied().collect();
        for there in known {
            if self.forward_mut(room, there).is_none() {
                continue;
            }
            let error = Error::Unavailable("the destination room has just ended");
            self.forward_refused(room, there, error);
        }
    }

    /// Ends the forwards of a participant that is gone. Its shard knows already.
    pub(crate) fn end_forwards(&mut self, gone: &Participant, reason: DisconnectReason) {
        for forward in &gone.forwards {
            self.forwarded.remove(&forward.sid());
            self.outputs.push_back(RoomOutput::ToRoom {
                room: forward.room(),
                message: RoomMessage::ForwardEnded {
                    participant: forward.sid(),
                    reason,
                },
            });
            if let Some(call) = forward.call() {
                self.reply(call, Err(Error::ParticipantNotFound));
            }
        }
    }

    fn forward_mut(
        &mut self,
        room: RoomSid,
        there: ParticipantSid,
    ) -> Option<(ParticipantSid, &mut Forward)> {
        let own = *self.forwarded.get(&there)?;
        let mut forwards = self.participants.get_mut(&own)?.forwards.iter_mut();
        let forward = forwards.find(|forward| forward.room() == room && forward.sid() == there)?;
        Some((own, forward))
    }
}

/// The participant's state, for the other room.
fn describe(participant: &Participant, forward: &Forward) -> ForwardedParticipant {
    ForwardedParticipant {
        sid: forward.sid(),
        // The grant without a room: the other room fills in its own.
        grant: participant.grant.in_room(&"".into()),
        client: participant.client.clone(),
        quality: participant.quality,
        audience: forward.audience_there(&participant.audience),
        tracks: forward.tracks_there(&participant.tracks),
        data: forward.data_there(&participant.data.published),
    }
}
