//! A participant is forwarded: it is in other rooms too, as somebody who only publishes. This file is the side of the
//! room it joined; `forwarded` is that of the other rooms.
//!
//! The room it joined says all there is to say each time something changes ([`ForwardedParticipant`]); the other room
//! finds the differences. It gives the participant and its tracks the sids they have there. Media goes from shard to shard
//! (`sfu::Command::Relay`), from the moment the other room has taken the participant.

use std::collections::BTreeMap;

use protocol::{
    DataTrackSid, ParticipantIdentity, ParticipantSid, RoomSid, TrackSid,
    error::Error,
    livekit::{ClientInfo, DisconnectReason, TrackInfo, participant_info::State},
    token::Grant,
};

use crate::{
    api::{ApiReply, RoomMessage, RoomOutput},
    data_tracks::DataTrack,
    participant::{Audience, Participant, Track, Tracks},
    publish::sid_hint,
    room::Room,
};

/// The most rooms one participant is forwarded to.
const MAX_FORWARDS: usize = 100;

/// A participant and what it publishes, as another room is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ForwardedParticipant {
    /// Its sid there.
    pub(crate) sid: ParticipantSid,
    pub(crate) grant: Grant,
    pub(crate) client: ClientInfo,
    pub(crate) quality: sfu::Quality,
    pub(crate) audience: Audience,
    pub(crate) tracks: Vec<ForwardedTrack>,
    pub(crate) data: Vec<DataTrack>,
}

/// One of its tracks. All sids are those of the other room.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ForwardedTrack {
    pub info: TrackInfo,
    pub media: sfu::PublishedTrack,
    pub codec: sfu::TrackCodec,
}

/// A room that a participant is forwarded to.
#[derive(Debug)]
pub(crate) struct Forward {
    room: RoomSid,
    /// Its sid there.
    sid: ParticipantSid,
    /// Where that room's media is; `None` until it has taken the participant.
    shard: Option<u16>,
    /// The API call that waits for that.
    call: Option<u64>,
    /// Its tracks, with the sids they have there. One that changes its codec is another track there.
    tracks: BTreeMap<TrackSid, (TrackSid, sfu::TrackCodec)>,
    /// The same of its data tracks.
    data: BTreeMap<DataTrackSid, DataTrackSid>,
}

impl Room {
    /// Answered by [`RoomOutput::ApiReply`] when the other room has.
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
        let sid = self.find_own(identity)?;
        let there = ParticipantSid::random(&mut self.rng);
        let participant = self
            .participants
            .get_mut(&sid)
            .ok_or(Error::ParticipantNotFound)?;
        if participant.state != State::Active {
            return Err(Error::Unavailable("participant is not connected yet"));
        }
        if participant.forwards.iter().any(|known| known.room == room) {
            let text = "participant is forwarded to the destination room already";
            return Err(Error::AlreadyExists(text));
        }
        if participant.forwards.len() >= MAX_FORWARDS {
            let text = "participant is forwarded to as many rooms as it may be";
            return Err(Error::Overloaded(text));
        }
        participant.forwards.push(Forward {
            room,
            sid: there,
            shard: None,
            call: Some(call),
            tracks: BTreeMap::new(),
            data: BTreeMap::new(),
        });
        self.tell_forwards(sid, |forward| forward.sid == there, RoomMessage::Forward);
        self.update_all_audio_codecs(sid);
        Ok(())
    }

    /// The participant changed: other rooms that it is in are told.
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
            let commands = forward.update_tracks(participant, rng);
            outputs.extend(commands.into_iter().map(RoomOutput::ToMedia));
            outputs.push_back(RoomOutput::ToRoom {
                room: forward.room,
                message: message(Box::new(forward.describe(participant))),
            });
        }
        participant.forwards = forwards;
    }

    /// The other room has the participant: its media goes there from now on.
    pub(crate) fn forward_taken(&mut self, room: RoomSid, there: ParticipantSid, shard: u16) {
        let Some((peer, forward)) = self.forward_mut(room, there) else {
            return;
        };
        forward.shard = Some(shard);
        let call = forward.call.take();
        let tracks = forward.tracks.iter();
        let mut commands: Vec<_> = tracks
            .map(|(track, (relayed, _))| relay(peer, *track, *relayed, shard))
            .collect();
        commands.push(relay_data(peer, there, Some(shard)));
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
        let Some(index) = forwards.iter().position(|forward| forward.sid == there) else {
            return;
        };
        let forward = forwards.remove(index);
        for (relayed, _) in forward.tracks.into_values() {
            self.command(sfu::Command::StopRelay { relayed });
        }
        self.command(relay_data(peer, there, None));
        if let Some(call) = forward.call {
            self.reply(call, Err(error));
        }
        self.update_all_audio_codecs(peer);
    }

    /// Nobody is forwarded any more to a room that has ended.
    pub(crate) fn end_forwards_to(&mut self, room: RoomSid) {
        let forwards = self.participants.values().flat_map(|own| &own.forwards);
        let ended: Vec<_> = forwards
            .filter(|forward| forward.room == room)
            .map(|forward| forward.sid)
            .collect();
        for there in ended {
            let error = Error::Unavailable("the destination room has just ended");
            self.forward_refused(room, there, error);
        }
    }

    /// The participant is gone, and from the other rooms too. Its shard knows.
    pub(crate) fn end_forwards(&mut self, gone: &Participant, reason: DisconnectReason) {
        for forward in &gone.forwards {
            self.outputs.push_back(RoomOutput::ToRoom {
                room: forward.room,
                message: RoomMessage::ForwardEnded {
                    participant: forward.sid,
                    reason,
                },
            });
            if let Some(call) = forward.call {
                self.reply(call, Err(Error::ParticipantNotFound));
            }
        }
    }

    fn forward_mut(
        &mut self,
        room: RoomSid,
        there: ParticipantSid,
    ) -> Option<(ParticipantSid, &mut Forward)> {
        self.participants.values_mut().find_map(|own| {
            let forward = own
                .forwards
                .iter_mut()
                .find(|forward| forward.room == room && forward.sid == there)?;
            Some((own.sid, forward))
        })
    }
}

impl Forward {
    /// Brings the tracks in line with what the participant publishes. What the shard must know of it is returned.
    fn update_tracks(
        &mut self,
        participant: &Participant,
        rng: &mut impl rand::Rng,
    ) -> Vec<sfu::Command> {
        let published = || participant.data.published.iter().map(|track| track.sid);
        self.data
            .retain(|track, _| published().any(|sid| sid == *track));
        for track in published() {
            let there = self.data.entry(track);
            there.or_insert_with(|| DataTrackSid::random(rng));
        }
        let mut commands = Vec::new();
        self.tracks.retain(|track, (relayed, codec)| {
            let published = participant.track(*track);
            let stays = published.is_some_and(|track| track.bound && track.encoding == *codec);
            if !stays && self.shard.is_some() {
                commands.push(sfu::Command::StopRelay { relayed: *relayed });
            }
            stays
        });
        for track in participant.tracks.iter().filter(|track| track.bound) {
            if self.tracks.contains_key(&track.sid) {
                continue;
            }
            let hint = sid_hint(track.media.kind, track.info.source());
            let relayed = TrackSid::random(hint, rng);
            self.tracks
                .insert(track.sid, (relayed, track.encoding.clone()));
            if let Some(shard) = self.shard {
                commands.push(relay(participant.sid, track.sid, relayed, shard));
            }
        }
        commands
    }

    fn describe(&self, participant: &Participant) -> ForwardedParticipant {
        let describe = |track: &Track| {
            let (sid, codec) = self.tracks.get(&track.sid)?;
            let mut info = track.info.clone();
            info.sid = sid.to_string();
            // A backup stays in its room.
            info.codecs.truncate(1);
            let media = sfu::PublishedTrack {
                sid: *sid,
                cids: Vec::new(),
                muted: info.muted,
                ..track.media.clone()
            };
            let codec = codec.clone();
            Some(ForwardedTrack { info, media, codec })
        };
        ForwardedParticipant {
            sid: self.sid,
            // What it is and publishes; which room this is for, the other one knows.
            grant: participant.grant.in_room(&"".into()),
            client: participant.client.clone(),
            quality: participant.quality,
            audience: self.translate(&participant.audience),
            tracks: participant.tracks.iter().filter_map(describe).collect(),
            data: participant
                .data
                .published
                .iter()
                .filter_map(|track| Some(track.elsewhere(*self.data.get(&track.sid)?)))
                .collect(),
        }
    }

    /// Who may receive its tracks, by the sids they have there. People are known by identity in both rooms.
    fn translate(&self, audience: &Audience) -> Audience {
        let Audience::Only(allowed) = audience else {
            return Audience::Everybody;
        };
        let translate = |tracks: &Tracks| match tracks {
            Tracks::All => Tracks::All,
            Tracks::Some { media, data } => {
                let media = media.iter().filter_map(|track| self.tracks.get(track));
                let data = data.iter().filter_map(|track| self.data.get(track));
                Tracks::Some {
                    media: media.map(|(relayed, _)| *relayed).collect(),
                    data: data.copied().collect(),
                }
            }
        };
        let translated = allowed
            .iter()
            .map(|(identity, tracks)| (identity.clone(), translate(tracks)));
        Audience::Only(translated.collect())
    }
}

fn relay(peer: ParticipantSid, track: TrackSid, relayed: TrackSid, shard: u16) -> sfu::Command {
    sfu::Command::Relay {
        peer,
        track,
        relayed,
        shard,
    }
}

fn relay_data(peer: ParticipantSid, relayed: ParticipantSid, shard: Option<u16>) -> sfu::Command {
    sfu::Command::RelayData {
        peer,
        relayed,
        shard,
    }
}
