//! The forward of a participant to another room.

use std::collections::BTreeMap;

use protocol::{DataTrackSid, ParticipantSid, RoomSid, TrackSid};

use crate::{
    add_track::sid_hint,
    audience::{Audience, Tracks},
    data_tracks::DataTrack,
    forwarded_participant::ForwardedTrack,
    track::Track,
};

/// The forward of a participant to another room.
#[derive(Debug)]
pub(crate) struct Forward {
    room: RoomSid,
    /// The participant's sid in that room.
    sid: ParticipantSid,
    /// The shard of that room; `None` until the room has taken the participant.
    shard: Option<u16>,
    /// The API call that waits until the room has taken the participant.
    call: Option<u64>,
    /// The participant's tracks, with their sids and codecs in that room. A track that changes its codec is another
    /// track there.
    tracks: BTreeMap<TrackSid, (TrackSid, sfu::TrackCodec)>,
    /// The participant's data tracks, with their sids in that room.
    data: BTreeMap<DataTrackSid, DataTrackSid>,
}

impl Forward {
    /// A forward of which no tracks are known yet. `call` waits until the room has taken the participant.
    pub fn new(room: RoomSid, sid: ParticipantSid, call: u64) -> Self {
        Self {
            room,
            sid,
            shard: None,
            call: Some(call),
            tracks: BTreeMap::new(),
            data: BTreeMap::new(),
        }
    }

    /// The room.
    pub fn room(&self) -> RoomSid {
        self.room
    }

    /// The participant's sid there.
    pub fn sid(&self) -> ParticipantSid {
        self.sid
    }

    /// The API call that waits, if one does.
    pub fn call(&self) -> Option<u64> {
        self.call
    }

    /// The room has taken the participant, whose media goes to this shard from now on. Returns the API call that waits,
    /// for the caller to answer, and commands for the participant's own shard.
    pub fn taken(&mut self, peer: ParticipantSid, shard: u16) -> (Option<u64>, Vec<sfu::Command>) {
        self.shard = Some(shard);
        let tracks = self.tracks.iter();
        let mut commands: Vec<_> = tracks
            .map(|(track, (relayed, _))| relay(peer, *track, *relayed, shard))
            .collect();
        commands.push(relay_data(peer, self.sid, Some(shard)));
        (self.call.take(), commands)
    }

    /// Ends the forward. Returns commands for the participant's own shard.
    pub fn end(self, peer: ParticipantSid) -> Vec<sfu::Command> {
        let tracks = self.tracks.into_values();
        let mut commands: Vec<_> = tracks
            .map(|(relayed, _)| sfu::Command::Relay(sfu::RelayCommand::Stop { relayed }))
            .collect();
        commands.push(relay_data(peer, self.sid, None));
        commands
    }

    /// Brings the tracks in line with what the participant publishes. Returns commands for the participant's own shard.
    pub fn update_tracks(
        &mut self,
        peer: ParticipantSid,
        tracks: &[Track],
        data: &[DataTrack],
        rng: &mut impl rand::Rng,
    ) -> Vec<sfu::Command> {
        self.data
            .retain(|sid, _| data.iter().any(|track| track.sid == *sid));
        for track in data {
            let there = self.data.entry(track.sid);
            there.or_insert_with(|| DataTrackSid::random(rng));
        }
        let mut commands = Vec::new();
        self.tracks.retain(|track, (relayed, codec)| {
            let published = tracks.iter().find(|published| published.sid == *track);
            let stays = published.is_some_and(|track| track.bound && track.encoding == *codec);
            if !stays && self.shard.is_some() {
                commands.push(sfu::Command::Relay(sfu::RelayCommand::Stop {
                    relayed: *relayed,
                }));
            }
            stays
        });
        for track in tracks.iter().filter(|track| track.bound) {
            if self.tracks.contains_key(&track.sid) {
                continue;
            }
            let hint = sid_hint(track.media.kind, track.info.source());
            let relayed = TrackSid::random(hint, rng);
            self.tracks
                .insert(track.sid, (relayed, track.encoding.clone()));
            if let Some(shard) = self.shard {
                commands.push(relay(peer, track.sid, relayed, shard));
            }
        }
        commands
    }

    /// The participant's tracks, with their sids in that room.
    pub fn tracks_there(&self, tracks: &[Track]) -> Vec<ForwardedTrack> {
        let describe = |track: &Track| {
            let (sid, codec) = self.tracks.get(&track.sid)?;
            let mut info = track.info.clone();
            info.sid = sid.to_string();
            // A backup stays in the participant's own room.
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
        tracks.iter().filter_map(describe).collect()
    }

    /// The participant's data tracks, with their sids in that room.
    pub fn data_there(&self, data: &[DataTrack]) -> Vec<DataTrack> {
        data.iter()
            .filter_map(|track| Some(track.elsewhere(*self.data.get(&track.sid)?)))
            .collect()
    }

    /// The audience of the tracks, with their sids in that room. People are known by identity in both rooms.
    pub fn audience_there(&self, audience: &Audience) -> Audience {
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
    sfu::Command::Relay(sfu::RelayCommand::Start {
        peer,
        track,
        relayed,
        shard,
    })
}

fn relay_data(peer: ParticipantSid, relayed: ParticipantSid, shard: Option<u16>) -> sfu::Command {
    sfu::Command::Relay(sfu::RelayCommand::SetData {
        peer,
        relayed,
        shard,
    })
}
