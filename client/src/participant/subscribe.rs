//! Tracks that we receive: sections of the answer, named by `mid_to_track_id`.

use std::{collections::HashMap, time::Instant};

use protocol::{
    ParticipantSid, TrackSid,
    livekit::{
        ParticipantInfo, UpdateSubscription, UpdateTrackSettings, participant_info, signal_request,
    },
};

use super::{Event, Participant, publish::quality};
use crate::{
    Error,
    media::{Layer, MediaKind},
};

/// Our wish for a received track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackSetting {
    /// Nothing of the track is wanted.
    pub disabled: bool,
    /// The highest layer wanted.
    pub layer: Layer,
    /// The size at which the track is shown, pixels; zero when it does not matter.
    pub width: u32,
    /// Height of that size; see `width`.
    pub height: u32,
    /// Frames per second; zero when they do not matter.
    pub fps: u32,
}

impl Default for TrackSetting {
    fn default() -> Self {
        Self {
            disabled: false,
            layer: Layer::High,
            width: 0,
            height: 0,
            fps: 0,
        }
    }
}

/// A track that we receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) mid: String,
    pub(super) track: TrackSid,
    pub(super) publisher: Option<ParticipantSid>,
    pub(super) kind: MediaKind,
}

impl Participant {
    /// Subscribes to tracks, or ends that.
    pub fn set_subscribed(&mut self, tracks: &[TrackSid], subscribe: bool) {
        self.send(signal_request::Message::Subscription(UpdateSubscription {
            track_sids: tracks.iter().map(TrackSid::to_string).collect(),
            subscribe,
            ..Default::default()
        }));
    }

    /// Tells the server which layer or size of a track is wanted.
    pub fn set_track_setting(&mut self, track: TrackSid, setting: TrackSetting) {
        self.settings.insert(track, setting);
        self.send(signal_request::Message::TrackSetting(UpdateTrackSettings {
            track_sids: vec![track.to_string()],
            disabled: setting.disabled,
            quality: quality(setting.layer).into(),
            width: setting.width,
            height: setting.height,
            fps: setting.fps,
            ..Default::default()
        }));
    }

    /// Repeats the settings after a resume: the last ones may have been lost with the connection.
    pub(super) fn repeat_track_settings(&mut self) {
        let settings = std::mem::take(&mut self.settings);
        for (track, setting) in settings {
            if self.subscriptions.iter().any(|s| s.track == track) {
                self.set_track_setting(track, setting);
            }
        }
    }

    /// Asks for a key frame of a received track (PLI).
    ///
    /// # Errors
    /// [`Error::NotSubscribed`], [`Error::UnknownSection`] when nothing of it arrived yet.
    pub fn request_key_frame(&mut self, track: TrackSid, now: Instant) -> Result<(), Error> {
        let subscription = self
            .subscriptions
            .iter()
            .find(|subscription| subscription.track == track);
        let mid = subscription.ok_or(Error::NotSubscribed(track))?.mid.clone();
        self.receiving().request_key_frame(&mid, now)
    }

    /// The track that a section carries to us.
    pub(super) fn track_on(&self, mid: &str) -> Option<TrackSid> {
        self.subscriptions
            .iter()
            .find(|subscription| subscription.mid == mid)
            .map(|subscription| subscription.track)
    }

    /// Updates the tracks of sections from an answer that was accepted.
    pub(super) fn update_subscriptions(&mut self, mid_to_track: &HashMap<String, String>) {
        let mut present = Vec::new();
        for (mid, kind) in self.receiving().receive_sections() {
            let Some(track) = mid_to_track.get(&mid).and_then(|sid| sid.parse().ok()) else {
                continue;
            };
            present.push(Subscription {
                mid,
                track,
                kind,
                publisher: self.known_publisher(track),
            });
        }
        let before = std::mem::replace(&mut self.subscriptions, present);
        let same = |a: &Subscription, b: &Subscription| a.mid == b.mid && a.track == b.track;
        for gone in before
            .iter()
            .filter(|old| !self.subscriptions.iter().any(|new| same(old, new)))
        {
            self.events
                .push_back(Event::TrackUnsubscribed { track: gone.track });
        }
        let receiving = self.subscriber.as_mut().unwrap_or(&mut self.peer);
        for new in self
            .subscriptions
            .iter()
            .filter(|new| !before.iter().any(|old| same(old, new)))
        {
            receiving.restart_receiving(&new.mid);
            let (track, publisher, kind) = (new.track, new.publisher, new.kind);
            self.events.push_back(Event::TrackSubscribed {
                track,
                publisher,
                kind,
            });
        }
    }

    /// Takes news of others (and of ourselves). News older than what is known is dropped.
    pub(super) fn update_participants(
        &mut self,
        updates: Vec<ParticipantInfo>,
    ) -> Result<(), Error> {
        let mut news = Vec::new();
        for update in updates {
            if self.me.as_ref().is_some_and(|me| me.sid == update.sid) {
                self.me = Some(update.clone());
                self.reconcile_muted(&update.tracks);
                self.recover_lost(&update.tracks)?;
                news.push(update);
                continue;
            }
            let known = self.others.iter().position(|other| other.sid == update.sid);
            let gone = update.state() == participant_info::State::Disconnected;
            if !gone && !update.identity.is_empty() {
                // A participant came back: the farewell of its former sid may have been lost with a connection.
                self.others
                    .retain(|other| other.identity != update.identity || other.sid == update.sid);
            }
            match known {
                Some(index) if update.version < self.others[index].version && !gone => continue,
                Some(index) if gone => drop(self.others.remove(index)),
                Some(index) => self.others[index] = update.clone(),
                None if gone => {}
                None => self.others.push(update.clone()),
            }
            news.push(update);
        }
        for who in &news {
            let Ok(sid) = who.sid.parse() else { continue };
            let publishes =
                |track: TrackSid| who.tracks.iter().any(|info| info.sid == track.as_str());
            let theirs = self.subscriptions.iter_mut();
            theirs
                .filter(|subscription| publishes(subscription.track))
                .for_each(|subscription| subscription.publisher = Some(sid));
        }
        if !news.is_empty() {
            self.events.push_back(Event::ParticipantsChanged(news));
        }
        Ok(())
    }

    /// The publisher of a track, where it is known. Subscriptions are looked through first, as they are fewer.
    fn known_publisher(&self, track: TrackSid) -> Option<ParticipantSid> {
        let mut subscribed = self.subscriptions.iter();
        let known = subscribed.find(|subscription| subscription.track == track);
        known
            .and_then(|subscription| subscription.publisher)
            .or_else(|| self.publisher_of(track))
    }

    fn publisher_of(&self, track: TrackSid) -> Option<ParticipantSid> {
        let publishes =
            |other: &&ParticipantInfo| other.tracks.iter().any(|info| info.sid == track.as_str());
        self.others.iter().find(publishes)?.sid.parse().ok()
    }
}
