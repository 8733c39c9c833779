//! The active speakers, as the clients were told.

use std::collections::BTreeMap;

use protocol::{
    ParticipantSid,
    livekit::{SpeakerInfo, SpeakersChanged, signal_response::Message},
};

use crate::{api::Response, deadlines::Deadlines};

/// The active speakers, as the clients were told.
#[derive(Debug, Default)]
pub(crate) struct Speakers {
    pub levels: BTreeMap<ParticipantSid, f32>,
    /// Participants whose speech is simulated, and when it ends.
    pub simulated: Deadlines<ParticipantSid>,
}

impl Speakers {
    /// Forgets a participant that is gone.
    pub fn forget(&mut self, sid: ParticipantSid) {
        self.levels.remove(&sid);
        self.simulated.cancel(&sid);
    }

    /// Whether anybody speaks, as the clients were told.
    #[cfg(test)]
    pub fn is_anybody_speaking(&self) -> bool {
        !self.levels.is_empty() || self.simulated.next().is_some()
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
