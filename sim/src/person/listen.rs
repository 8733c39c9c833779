//! What a person hears and sees of others, and wishes to.

use std::time::Instant;

use client::media::Frame as MediaFrame;
use protocol::{
    TrackSid,
    livekit::{DataPacket, data_packet},
};

use super::Person;
use crate::media::{parse_name, read_data};

impl Person {
    pub(super) fn on_frame(&mut self, track: TrackSid, frame: MediaFrame, now: Instant) {
        let name = self.track_name(track);
        self.listener.hear(track, &frame, name, now);
    }

    /// `person-source` of the track, where the client was told its name.
    fn track_name(&self, track: TrackSid) -> Option<(u8, u32)> {
        let others = self.participant.as_ref()?.others().iter();
        let mut tracks = others.flat_map(|other| &other.tracks);
        let info = tracks.find(|info| info.sid == track.as_str())?;
        parse_name(&info.name)
    }

    pub(super) fn on_data(&mut self, packet: &DataPacket) {
        let Some(data_packet::Value::User(user)) = &packet.value else {
            return;
        };
        let Some((person, life, count)) = read_data(&user.payload) else {
            return self
                .complaints
                .push("a data message is not what was sent".into());
        };
        if packet.participant_identity != format!("person-{person}") {
            self.complaints
                .push("a data message names the wrong sender".into());
        }
        if let Err(error) = self.listener.data(person, life, count) {
            self.complaints.push(error);
        }
    }

    /// Tells the server once for each subscription how the person wants to see it.
    pub(super) fn tell_wishes(&mut self) {
        for track in self.listener.tracks() {
            let wish = self
                .track_name(track)
                .and_then(|(_, source)| self.wishes.get(&source));
            if let (Some(wish), false) = (wish.copied(), self.wished.contains(&track))
                && let Some(participant) = &mut self.participant
            {
                participant.set_track_setting(track, wish);
                self.wished.push(track);
            }
        }
    }
}
