//! Participants that are connected to another room and forwarded to this one: they have no session here, publish and
//! receive nothing. Their own room sends their state (`forward_participant.rs`).

use std::{collections::BTreeSet, time::Instant};

use protocol::{
    DataTrackSid, ParticipantSid, RoomSid,
    error::Error,
    livekit::{DisconnectReason, participant_info::State},
};

use crate::{
    api::{RoomMessage, RoomOutput},
    data_tracks::DataTrack,
    encryption::Encryption,
    farewell::Farewell,
    forwarded_participant::{ForwardedParticipant, ForwardedTrack},
    participant::Participant,
    room::Room,
    track::Track,
};

impl Room {
    /// Takes a message of another room, whose media is on `shard`.
    pub(crate) fn room_message(
        &mut self,
        room: RoomSid,
        shard: u16,
        message: RoomMessage,
        now: Instant,
    ) {
        match message {
            RoomMessage::Forward(forwarded) => self.take_forwarded(room, shard, *forwarded, now),
            RoomMessage::ForwardChanged(forwarded) => {
                self.forwarded_changed(room, *forwarded, now);
            }
            RoomMessage::ForwardEnded {
                participant,
                reason,
            } => {
                if self.is_forwarded_from(participant, room) {
                    self.remove(participant, reason, Farewell::Silent, now);
                }
            }
            RoomMessage::ForwardTaken { participant } => {
                self.forward_taken(room, participant, shard);
            }
            RoomMessage::ForwardRefused { participant, error } => {
                self.forward_refused(room, participant, error);
            }
        }
    }

    /// Another room has ended, or never existed.
    pub(crate) fn room_gone(&mut self, room: RoomSid, now: Instant) {
        self.end_forwards_to(room);
        let forwarded = self.participants.values();
        let forwarded: Vec<_> = forwarded
            .filter(|participant| participant.forwarded_from == Some(room))
            .map(|participant| participant.sid)
            .collect();
        for sid in forwarded {
            let reason = DisconnectReason::RoomClosed;
            self.remove(sid, reason, Farewell::Silent, now);
        }
    }

    /// Whether anybody is here for whom the room stays open. Forwarded participants do not keep it open, nor do agents
    /// and recorders, which are there for others.
    pub(crate) fn has_own_participants(&self) -> bool {
        self.people.hold_room()
    }

    /// Finds a participant that is connected to this room. Forwarded ones are governed in their own room.
    pub(crate) fn find_own(
        &self,
        identity: &protocol::ParticipantIdentity,
    ) -> Result<ParticipantSid, Error> {
        let sid = self.find(identity)?;
        let participant = self.participants.get(&sid);
        match participant.and_then(|participant| participant.forwarded_from) {
            Some(_) => Err(Error::Forwarded),
            None => Ok(sid),
        }
    }

    /// Tells the own room of a forwarded participant that the participant is not here (any more).
    pub(crate) fn return_forwarded(&mut self, gone: &Participant) {
        if let Some(room) = gone.forwarded_from {
            self.refuse_forwarded(room, gone.sid, Error::ParticipantNotFound);
        }
    }

    fn refuse_forwarded(&mut self, room: RoomSid, participant: ParticipantSid, error: Error) {
        self.outputs.push_back(RoomOutput::ToRoom {
            room,
            message: RoomMessage::ForwardRefused { participant, error },
        });
    }

    fn is_forwarded_from(&self, sid: ParticipantSid, room: RoomSid) -> bool {
        let participant = self.participants.get(&sid);
        participant.is_some_and(|participant| participant.forwarded_from == Some(room))
    }

    fn take_forwarded(
        &mut self,
        room: RoomSid,
        shard: u16,
        forwarded: ForwardedParticipant,
        now: Instant,
    ) {
        if let Err(error) = self.admit_forwarded(&forwarded) {
            return self.refuse_forwarded(room, forwarded.sid, error);
        }
        let sid = forwarded.sid;
        let joined_at = self.clock.unix(now);
        let mut participant = Participant::new(sid, forwarded.grant, forwarded.client, joined_at);
        participant.forwarded_from = Some(room);
        participant.state = State::Joined;
        participant.quality = forwarded.quality;
        participant.audience = forwarded.audience;
        self.command(sfu::MemberCommand::AddRelayed {
            room: self.sid,
            peer: sid,
            identity: participant.identity.clone(),
            principal: participant.principal(),
            source: shard,
        });
        self.limit_voices();
        self.identities.insert(participant.identity.clone(), sid);
        self.participants.insert(sid, participant);
        self.recount(sid);
        for track in forwarded.tracks {
            self.add_forwarded_track(sid, track);
        }
        for track in forwarded.data {
            self.add_data_track(sid, track);
        }
    }

    /// The shard has the forwarded participant. Its own room sends its media from now on.
    pub(crate) fn forwarded_arrived(&mut self, room: RoomSid, participant: ParticipantSid) {
        self.outputs.push_back(RoomOutput::ToRoom {
            room,
            message: RoomMessage::ForwardTaken { participant },
        });
    }

    /// The shard does not take the forwarded participant.
    pub(crate) fn forwarded_failed(&mut self, room: RoomSid, sid: ParticipantSid, now: Instant) {
        let text = "the destination room's media thread carries as many participants as it may";
        self.refuse_forwarded(room, sid, Error::Overloaded(text));
        // This room tells that the participant is not here, which is then no news there.
        let reason = DisconnectReason::JoinFailure;
        self.remove(sid, reason, Farewell::Silent, now);
    }

    fn admit_forwarded(&self, forwarded: &ForwardedParticipant) -> Result<(), Error> {
        if self.closed {
            let text = "the destination room has just ended";
            return Err(Error::Unavailable(text));
        }
        if self.encryption == Encryption::Mls {
            // It encrypts for the room it is in.
            return Err(Error::Encrypted);
        }
        let identity = forwarded.grant.identity();
        if self.identities.contains_key(&identity) {
            let text = "the identity is in the destination room already";
            return Err(Error::AlreadyExists(text));
        }
        if self.is_full(&forwarded.grant) {
            return Err(Error::RoomFull);
        }
        if forwarded.tracks.len().max(forwarded.data.len()) > self.config.max_tracks {
            let text = "participant has more tracks than the destination room takes";
            return Err(Error::Overloaded(text));
        }
        Ok(())
    }

    /// Adds a track. Its room has announced it already where it must be announced.
    fn add_forwarded_track(&mut self, sid: ParticipantSid, forwarded: ForwardedTrack) {
        let ForwardedTrack { info, media, codec } = forwarded;
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        self.tracks.insert(media.sid, sid);
        participant.tracks.push(Track {
            sid: media.sid,
            cid: String::new(),
            info,
            media: media.clone(),
            encoding: codec.clone(),
            bound: true,
            announced: false,
            subscribed: false,
            codec: String::new(),
            audio_codecs: Vec::new(),
            needed: None,
            wanted: None,
            backup: None,
            subscribers: BTreeSet::new(),
        });
        self.recount(sid);
        self.command(sfu::TrackCommand::PublishRelayed {
            peer: sid,
            track: media,
            codec,
        });
    }

    fn forwarded_changed(&mut self, room: RoomSid, forwarded: ForwardedParticipant, now: Instant) {
        let sid = forwarded.sid;
        if !self.is_forwarded_from(sid, room) {
            return;
        }
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        let (was_visible, is_active) =
            (participant.is_visible(), participant.state == State::Active);
        let audience = std::mem::replace(&mut participant.audience, forwarded.audience);
        let has_other_audience = audience != participant.audience;
        let grant = std::mem::replace(&mut participant.grant, forwarded.grant);
        let has_other_grant = grant != participant.grant;
        participant.client = forwarded.client;
        let known: Vec<_> = participant.tracks.iter().map(|track| track.sid).collect();
        self.recount(sid);
        let is_gone = |sid| forwarded.tracks.iter().all(|track| track.media.sid != sid);
        for track in known.iter().copied().filter(|sid| is_gone(*sid)) {
            self.unpublish(sid, track, now);
        }
        let new_data = self.forwarded_data_changed(sid, forwarded.data);
        let (old, new): (Vec<_>, Vec<_>) = forwarded
            .tracks
            .into_iter()
            .partition(|track| known.contains(&track.media.sid));
        let mut is_changed = has_other_grant || !new.is_empty() || !new_data.is_empty();
        for track in old {
            is_changed |= self.update_forwarded_track(sid, track);
        }
        let new_sids: Vec<_> = new.iter().map(|track| track.media.sid).collect();
        for track in new {
            let info = track.info.clone();
            self.add_forwarded_track(sid, track);
            let publisher = self.participants.get(&sid).map(Participant::info);
            if let Some(publisher) = publisher.filter(|_| is_active) {
                self.notify_published(&publisher, info, now);
            }
        }
        if is_changed {
            self.announce(sid, false);
        }
        if has_other_grant {
            self.permissions_changed(sid, was_visible, now);
        }
        let again = if has_other_audience {
            known
        } else {
            Vec::new()
        };
        for track in again.into_iter().chain(new_sids) {
            self.reconcile_track(track);
        }
        if has_other_audience {
            self.reconcile_data_publisher(sid);
        }
        self.reconcile_data_tracks(&new_data);
        self.quality_changed(sid, forwarded.quality);
    }

    /// Ends the data tracks that are gone. Returns those that are new.
    fn forwarded_data_changed(
        &mut self,
        sid: ParticipantSid,
        tracks: Vec<DataTrack>,
    ) -> Vec<DataTrackSid> {
        let published = self.participants.get(&sid).map(|p| &p.data.published);
        let known: Vec<_> = published
            .into_iter()
            .flatten()
            .map(|track| track.sid)
            .collect();
        for gone in &known {
            if tracks.iter().all(|track| track.sid != *gone) {
                self.end_data_track(sid, *gone);
            }
        }
        let new = tracks.into_iter().filter(|t| !known.contains(&t.sid));
        let mut added = Vec::new();
        for track in new {
            added.push(track.sid);
            self.add_data_track(sid, track);
        }
        added
    }

    /// Takes over the state of a track. True: it changed.
    fn update_forwarded_track(&mut self, sid: ParticipantSid, forwarded: ForwardedTrack) -> bool {
        let participant = self.participants.get_mut(&sid);
        let track = participant.and_then(|p| p.track_mut(forwarded.media.sid));
        let Some(track) = track.filter(|track| track.info != forwarded.info) else {
            return false;
        };
        let was_muted = std::mem::replace(&mut track.info, forwarded.info).muted;
        let (track, muted) = (track.sid, track.info.muted);
        if muted != was_muted {
            self.command(sfu::TrackCommand::SetMuted {
                peer: sid,
                track,
                muted,
            });
        }
        true
    }
}
