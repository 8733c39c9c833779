//! State that everybody hears of everybody: speakers and quality. For changes of participants see `announce`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use protocol::{
    ParticipantSid,
    livekit::{
        self, ConnectionQuality, ConnectionQualityInfo, ConnectionQualityUpdate,
        signal_response::Message,
    },
};

use crate::{
    api::{Leg, Response},
    participant::Participant,
    people::{People, Standing},
    room::Room,
    speakers::speakers_message,
};

impl Room {
    /// The room as clients and the API see it.
    pub(crate) fn info(&self, _now: Instant) -> livekit::Room {
        livekit::Room {
            sid: self.sid.to_string(),
            name: self.name.as_str().to_owned(),
            empty_timeout: self.empty_timeout,
            departure_timeout: self.departure_timeout,
            max_participants: self.max_participants,
            creation_time: self.created_at.as_secs() as i64,
            creation_time_ms: self.created_at.as_millis() as i64,
            enabled_codecs: self.codecs(),
            metadata: self.metadata.clone(),
            num_participants: self.count(),
            num_publishers: self.people.publishers() as u32,
            active_recording: self.is_recorded(),
            ..livekit::Room::default()
        }
    }

    /// A participant came, left, or changed what it is to the room as a whole: see [`Standing`].
    pub(crate) fn recount(&mut self, sid: ParticipantSid) {
        let standing = self.participants.get(&sid).map(Standing::of);
        self.people.update(sid, standing);
    }

    /// Whether a recount of everybody finds nothing new.
    pub(crate) fn is_counted_well(&self) -> bool {
        let mut people = People::default();
        for (sid, participant) in &self.participants {
            people.update(*sid, Some(Standing::of(participant)));
        }
        people == self.people
    }

    /// Whether somebody who records is here, hidden or not.
    pub(crate) fn is_recorded(&self) -> bool {
        self.people.is_recorded()
    }

    /// Number of participants that are not hidden, and not here for others only.
    pub(crate) fn count(&self) -> u32 {
        self.people.count() as u32
    }

    /// Tells a participant that connected or came back how everybody is connected.
    pub(crate) fn send_quality(&mut self, sid: ParticipantSid) {
        // A participant that comes back knows that its own connection was lost. npm livekit-client would begin to
        // count: ten seconds later it gives up the connection that it has just restored.
        let is_known = |other: &&Participant| match other.sid == sid {
            true => other.quality != sfu::Quality::Lost,
            false => other.is_visible(),
        };
        let known = self.participants.values().filter(is_known);
        let updates = known.map(quality_info).collect();
        self.send(
            sid,
            Message::ConnectionQuality(ConnectionQualityUpdate { updates }),
        );
    }

    /// A participant connected: it hears how everybody is connected, and the others how it is.
    pub(crate) fn announce_quality(&mut self, sid: ParticipantSid) {
        self.send_quality(sid);
        self.news.qualities.insert(sid);
    }

    /// A connection became better or worse: its participant hears of it, and those who receive its tracks.
    pub(crate) fn quality_changed(&mut self, sid: ParticipantSid, quality: sfu::Quality) {
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        if std::mem::replace(&mut participant.quality, quality) == quality {
            return;
        }
        let response = quality_message(participant);
        let listeners = match participant.is_visible() {
            true => self.listeners(sid),
            false => [sid].into(),
        };
        for listener in listeners {
            self.send(listener, response.clone());
        }
        self.forward_changes(sid);
    }

    /// Takes the list of all speakers of one leg; clients are told the differences of all.
    pub(crate) fn speakers_changed(&mut self, leg: Leg, speakers: &[sfu::Speaker]) {
        let levels = speakers
            .iter()
            .filter(|speaker| {
                self.participants
                    .get(&speaker.peer)
                    .is_some_and(Participant::is_visible)
            })
            .map(|speaker| (speaker.peer, speaker.level))
            .collect();
        let levels = self.speakers.merged_with(leg, levels);
        let before = std::mem::replace(&mut self.speakers.levels, levels);
        let changed = self
            .speakers
            .levels
            .iter()
            .filter(|(sid, level)| before.get(sid) != Some(level));
        let mut changes: Vec<_> = changed.map(|(&sid, &level)| (sid, level, true)).collect();
        let silent = before
            .keys()
            .filter(|sid| !self.speakers.levels.contains_key(sid));
        changes.extend(silent.map(|&sid| (sid, 0.0, false)));
        self.tell_speakers(&changes);
    }

    /// Tells each participant about itself and about those whose tracks it receives.
    fn tell_speakers(&mut self, changes: &[(ParticipantSid, f32, bool)]) {
        if changes.is_empty() {
            return;
        }
        let everything = speakers_message(changes.iter().copied());
        let mut heard: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for change in changes {
            for listener in self.listeners(change.0) {
                heard.entry(listener).or_default().push(*change);
            }
        }
        for (listener, heard) in heard {
            // Most hear everybody: they share one encoded message.
            let message = match heard.len() == changes.len() {
                true => everything.clone(),
                false => speakers_message(heard),
            };
            self.send(listener, message);
        }
    }

    /// A participant, and those who receive any of its tracks.
    fn listeners(&self, speaker: ParticipantSid) -> BTreeSet<ParticipantSid> {
        let Some(participant) = self.participants.get(&speaker) else {
            return BTreeSet::new();
        };
        let receivers = participant
            .tracks
            .iter()
            .flat_map(|track| &track.subscribers);
        receivers.copied().chain([speaker]).collect()
    }

    /// Tells a new subscriber that the publisher is speaking already.
    pub(crate) fn send_speaker(&mut self, speaker: ParticipantSid, listener: ParticipantSid) {
        if let Some(&level) = self.speakers.levels.get(&speaker) {
            self.send(listener, speakers_message([(speaker, level, true)]));
        }
    }

    /// Tells a participant that is back who speaks now, and that nobody else does.
    pub(crate) fn send_speakers(&mut self, listener: ParticipantSid) {
        let levels = &self.speakers.levels;
        let state = |&sid: &ParticipantSid| {
            (
                sid,
                levels.get(&sid).copied().unwrap_or(0.0),
                levels.contains_key(&sid),
            )
        };
        let received = self.participants.get(&listener).map(|it| &it.subscriptions);
        let active = received.into_iter().flatten();
        let active = active.filter(|(_, subscription)| subscription.active);
        let publishers = active.filter_map(|(track, _)| self.tracks.get(track));
        let heard: BTreeSet<_> = publishers.chain([&listener]).collect();
        let message = speakers_message(heard.into_iter().map(state));
        self.send(listener, message);
    }

    /// `SimulateScenario.speaker_update`.
    pub(crate) fn simulate_speech(&mut self, sid: ParticipantSid, until: Instant) {
        self.speakers.simulated.set(sid, until);
        self.speakers.levels.insert(sid, 1.0);
        self.tell_speakers(&[(sid, 1.0, true)]);
    }

    pub(crate) fn end_simulated_speech(&mut self, now: Instant) {
        for sid in self.speakers.simulated.due(now) {
            self.speakers.forget(sid);
            self.tell_speakers(&[(sid, 0.0, false)]);
        }
    }
}

/// The message with the quality of one participant.
pub(super) fn quality_message(participant: &Participant) -> Response {
    let updates = vec![quality_info(participant)];
    Message::ConnectionQuality(ConnectionQualityUpdate { updates }).into()
}

fn quality_info(participant: &Participant) -> ConnectionQualityInfo {
    let (quality, score) = match participant.quality {
        sfu::Quality::Excellent => (ConnectionQuality::Excellent, 5.0),
        sfu::Quality::Good => (ConnectionQuality::Good, 4.0),
        sfu::Quality::Poor => (ConnectionQuality::Poor, 2.0),
        sfu::Quality::Lost => (ConnectionQuality::Lost, 1.0),
    };
    ConnectionQualityInfo {
        participant_sid: participant.sid.to_string(),
        quality: quality.into(),
        score,
    }
}
