//! The active speakers, as the clients were told.

use std::{collections::BTreeMap, time::Instant};

use protocol::{
    ParticipantSid,
    livekit::{SpeakerInfo, SpeakersChanged, signal_response::Message},
};

use crate::api::Response;

/// The active speakers, as the clients were told.
#[derive(Debug, Default)]
pub(crate) struct Speakers {
    pub levels: BTreeMap<ParticipantSid, f32>,
    /// Participants whose speech is simulated, and when it ends.
    pub simulated: BTreeMap<ParticipantSid, Instant>,
}

impl Speakers {
    /// Forgets a participant that is gone.
    pub fn forget(&mut self, sid: ParticipantSid) {
        self.levels.remove(&sid);
        self.simulated.remove(&sid);
    }

    /// Whether anybody speaks, as the clients were told.
    #[cfg(test)]
    pub fn is_anybody_speaking(&self) -> bool {
        !self.levels.is_empty() || !self.simulated.is_empty()
    }

    /// When the next simulated speech ends.
    pub fn simulated_until(&self) -> Option<Instant> {
        self.simulated.values().min().copied()
    }
}

pub(crate) fn speakers_message(
    changes: impl IntoIterator<Item = (ParticipantSid, f32, bool)>,
) -> Response {
    let speakers = changes.into_iter().map(|(sid, level, active)| SpeakerInfo {
        sid: sid.to_string(),
        level,
        active,
    });
    Message::SpeakersChanged(SpeakersChanged {
        speakers: speakers.collect(),
    })
    .into()
}
