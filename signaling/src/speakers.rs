//! The active speakers, as the clients were told.

use std::collections::BTreeMap;

use protocol::{
    ParticipantSid,
    livekit::{SpeakerInfo, SpeakersChanged, signal_response::Message},
};

use crate::{
    api::{Leg, Response},
    deadlines::Deadlines,
};

/// The active speakers, as the clients were told.
#[derive(Debug, Default)]
pub(crate) struct Speakers {
    pub levels: BTreeMap<ParticipantSid, f32>,
    /// What each leg of the room heard last.
    heard: BTreeMap<Leg, BTreeMap<ParticipantSid, f32>>,
    /// Participants whose speech is simulated, and when it ends.
    pub simulated: Deadlines<ParticipantSid>,
}

impl Speakers {
    /// Takes what one leg hears now. Returns who speaks, as all legs heard it, each at the loudest.
    pub fn merged_with(
        &mut self,
        leg: Leg,
        levels: BTreeMap<ParticipantSid, f32>,
    ) -> BTreeMap<ParticipantSid, f32> {
        self.heard.insert(leg, levels);
        let mut all = BTreeMap::new();
        for (&sid, &level) in self.heard.values().flatten() {
            let loudest = all.entry(sid).or_insert(level);
            *loudest = level.max(*loudest);
        }
        all.extend(self.simulated.keys().map(|&sid| (sid, 1.0)));
        all
    }

    /// Forgets a participant that is gone.
    pub fn forget(&mut self, sid: ParticipantSid) {
        self.levels.remove(&sid);
        self.simulated.cancel(&sid);
        for levels in self.heard.values_mut() {
            levels.remove(&sid);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn who_speaks_on_one_leg_is_not_silenced_by_another() {
        let mut rng = StdRng::seed_from_u64(1);
        let [alice, bob] = [0, 1].map(|_| ParticipantSid::random(&mut rng));
        let mut speakers = Speakers::default();
        let levels = |levels: &[(ParticipantSid, f32)]| levels.iter().copied().collect();
        speakers.merged_with(Leg(0), levels(&[(alice, 0.5), (bob, 0.2)]));
        let both = speakers.merged_with(Leg(1), levels(&[(bob, 0.4)]));
        assert_eq!(both, levels(&[(alice, 0.5), (bob, 0.4)]));
        let silent = speakers.merged_with(Leg(0), levels(&[]));
        assert_eq!(silent, levels(&[(bob, 0.4)]));
        speakers.forget(bob);
        assert_eq!(speakers.merged_with(Leg(0), levels(&[])), levels(&[]));
    }
}
