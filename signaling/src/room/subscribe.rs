//! Subscriptions: who receives what.
//!
//! One rule decides (`should_receive`), and every cause (a new track, a wish, a permission) ends in comparing it with
//! what the shard was told.

use std::time::Instant;

use protocol::{
    ParticipantSid, TrackSid,
    livekit::{
        StreamState, StreamStateInfo, StreamStateUpdate, SubscriptionError, SubscriptionPermission,
        SubscriptionPermissionUpdate, SubscriptionResponse, TrackSubscribed, TrackType,
        UpdateSubscription, UpdateTrackSettings, VideoQuality, signal_response::Message,
    },
};
use sfu::{SpatialLayer, TrackSetting};

use crate::{
    audience::Audience,
    participant::{Participant, Subscription},
    room::Room,
    track::Track,
};

/// The most entries of a `subscription_permission`.
const MAX_AUDIENCE: usize = 5000;

impl Room {
    /// The rule: whether a participant should receive a track. The publisher's permission is checked last: a refusal is
    /// told to the subscriber.
    fn should_receive(
        &self,
        subscriber: &Participant,
        publisher: &Participant,
        track: TrackSid,
    ) -> (bool, bool) {
        let available = subscriber.sid != publisher.sid
            && publisher.is_visible()
            && publisher
                .track(track)
                .is_some_and(|track| track.bound && track.announced)
            && subscriber.can_subscribe()
            && subscriber.wants(track);
        (
            available,
            publisher.audience.allows(&subscriber.identity, track),
        )
    }

    /// Brings the tracks that the shard sends in line with the rule.
    pub(crate) fn reconcile(&mut self, sid: ParticipantSid, track: TrackSid) {
        let Some(publisher) = self
            .tracks
            .get(&track)
            .and_then(|publisher| self.participants.get(publisher))
        else {
            return;
        };
        let Some(subscriber) = self.participants.get(&sid) else {
            return;
        };
        let (wanted, allowed) = self.should_receive(subscriber, publisher, track);
        let publisher_sid = publisher.sid;
        let is_video = publisher
            .track(track)
            .is_some_and(|track| track.info.r#type == TrackType::Video as i32);
        let adaptive = is_video && subscriber.adaptive_stream;

        let Some(subscriber) = self.participants.get_mut(&sid) else {
            return;
        };
        let has_room = subscriber.active_subscriptions < self.config.max_subscriptions;
        let unfilled = &mut subscriber.unfilled;
        let subscription = subscriber.subscriptions.entry(track).or_default();
        let refused = wanted && !allowed;
        let told = std::mem::replace(&mut subscription.refused, refused);
        let fits = subscription.active || has_room;
        let receive = wanted && allowed && fits;
        let received = std::mem::replace(&mut subscription.active, receive);
        let waits = wanted && allowed && !fits;
        let is_new = waits && unfilled.insert(track);
        if !waits {
            unfilled.remove(&track);
        }
        let setting = subscription
            .setting
            .unwrap_or_else(|| initial_setting(adaptive));
        match (received, receive) {
            (false, true) => {
                subscriber.active_subscriptions += 1;
                self.command(sfu::SubscriptionCommand::Subscribe {
                    peer: sid,
                    track,
                    setting,
                });
                if let Some(state) = self.track_of(publisher_sid, track) {
                    state.subscribers.insert(sid);
                }
                self.update_audio_codecs(track);
            }
            (true, false) => {
                subscriber.active_subscriptions -= 1;
                self.command(sfu::SubscriptionCommand::Unsubscribe { peer: sid, track });
                self.remove_subscriber(sid, track);
                self.fill_subscriptions(sid);
            }
            _ => {}
        }
        if is_new {
            let response = SubscriptionResponse {
                track_sid: track.to_string(),
                err: SubscriptionError::SeUnknown.into(),
            };
            self.send(sid, Message::SubscriptionResponse(response));
        }
        if wanted && told != refused {
            let update = SubscriptionPermissionUpdate {
                participant_sid: publisher_sid.to_string(),
                track_sid: track.to_string(),
                allowed,
            };
            self.send(sid, Message::SubscriptionPermissionUpdate(update));
        }
    }

    /// The track is no longer sent to a participant, which may be gone.
    pub(crate) fn remove_subscriber(&mut self, subscriber: ParticipantSid, track: TrackSid) {
        if let Some(&publisher) = self.tracks.get(&track)
            && let Some(state) = self.track_of(publisher, track)
        {
            state.subscribers.remove(&subscriber);
            self.update_audio_codecs(track);
        }
    }

    fn track_of(&mut self, publisher: ParticipantSid, track: TrackSid) -> Option<&mut Track> {
        let publisher = self.participants.get_mut(&publisher)?;
        publisher.track_mut(track)
    }

    /// Gives the place of a subscription that has ended to one that waits.
    fn fill_subscriptions(&mut self, sid: ParticipantSid) {
        let participant = self.participants.get(&sid);
        let waiting = participant.and_then(|participant| participant.unfilled.first().copied());
        if let Some(track) = waiting {
            self.reconcile(sid, track);
        }
    }

    /// Ends all subscriptions to a track that is gone.
    pub(crate) fn forget_track(&mut self, track: TrackSid) {
        self.tracks.remove(&track);
        let mut freed = Vec::new();
        for participant in self.participants.values_mut() {
            participant.unfilled.remove(&track);
            let ended = participant.subscriptions.remove(&track);
            if ended.is_some_and(|subscription| subscription.active) {
                participant.active_subscriptions -= 1;
                freed.push(participant.sid);
            }
        }
        for subscriber in freed {
            self.fill_subscriptions(subscriber);
        }
    }

    /// Does so for all subscribers of a track.
    pub(crate) fn reconcile_track(&mut self, track: TrackSid) {
        let subscribers: Vec<_> = self.participants.keys().copied().collect();
        for subscriber in subscribers {
            if self.tracks.get(&track) != Some(&subscriber) {
                self.reconcile(subscriber, track);
            }
        }
    }

    /// Does so for all tracks that others publish.
    pub(crate) fn reconcile_subscriber(&mut self, sid: ParticipantSid) {
        let others = self
            .tracks
            .iter()
            .filter(|(_, publisher)| **publisher != sid);
        let tracks: Vec<_> = others.map(|(track, _)| *track).collect();
        for track in tracks {
            self.reconcile(sid, track);
        }
    }

    pub(crate) fn update_subscription(&mut self, sid: ParticipantSid, update: &UpdateSubscription) {
        let nested = update
            .participant_tracks
            .iter()
            .flat_map(|tracks| &tracks.track_sids);
        let tracks: Vec<_> = update
            .track_sids
            .iter()
            .chain(nested)
            .filter_map(|track| track.parse().ok())
            .collect();
        for track in tracks {
            if let Some(subscription) = self.subscription(sid, track) {
                subscription.wish = Some(update.subscribe);
                self.reconcile(sid, track);
            }
        }
    }

    pub(crate) fn track_setting(&mut self, sid: ParticipantSid, settings: &UpdateTrackSettings) {
        let quality = VideoQuality::try_from(settings.quality).unwrap_or(VideoQuality::High);
        let tracks: Vec<_> = settings
            .track_sids
            .iter()
            .filter_map(|track| track.parse().ok())
            .collect();
        for track in tracks {
            self.change_setting(sid, track, |setting| {
                *setting = TrackSetting {
                    disabled: settings.disabled || quality == VideoQuality::Off,
                    max_layer: match quality {
                        VideoQuality::Low => SpatialLayer::Low,
                        VideoQuality::Medium => SpatialLayer::Medium,
                        VideoQuality::High | VideoQuality::Off => SpatialLayer::High,
                    },
                    width: settings.width,
                    height: settings.height,
                };
            });
        }
    }

    pub(crate) fn change_setting(
        &mut self,
        sid: ParticipantSid,
        track: TrackSid,
        change: impl FnOnce(&mut TrackSetting),
    ) {
        let Some(subscription) = self.subscription(sid, track) else {
            return;
        };
        let mut setting = subscription.setting.unwrap_or_default();
        change(&mut setting);
        let changed = subscription.setting.replace(setting) != Some(setting);
        if changed && subscription.active {
            self.command(sfu::SubscriptionCommand::SetSetting {
                peer: sid,
                track,
                setting,
            });
        }
    }

    /// The subscription of `sid` to a track of another participant. `None` for unknown tracks: wishes for them are not
    /// kept.
    fn subscription(&mut self, sid: ParticipantSid, track: TrackSid) -> Option<&mut Subscription> {
        let publisher = *self.tracks.get(&track)?;
        if publisher == sid {
            return None;
        }
        Some(
            self.participants
                .get_mut(&sid)?
                .subscriptions
                .entry(track)
                .or_default(),
        )
    }

    /// Sets the participants that may receive a publisher's tracks from now on.
    pub(crate) fn apply_audience(
        &mut self,
        sid: ParticipantSid,
        permission: SubscriptionPermission,
        now: Instant,
    ) {
        if permission.track_permissions.len() > MAX_AUDIENCE {
            return tracing::debug!(participant = %sid, "subscription_permission too long, ignored");
        }
        let identity_of = |sid| {
            self.participants
                .get(&sid)
                .map(|participant| participant.identity.clone())
        };
        let audience = Audience::new(permission, identity_of);
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        // Clients send "everybody" after each join, which changes nothing.
        if participant.audience == audience {
            return;
        }
        participant.audience = audience;
        let tracks: Vec<_> = participant.tracks.iter().map(|track| track.sid).collect();
        let cost = (tracks.len() + participant.data.published.len()) * self.participants.len();
        self.charge(sid, cost as u64, now);
        self.forward_changes(sid);
        for track in tracks {
            self.reconcile_track(track);
        }
        self.reconcile_data_publisher(sid);
    }

    /// A subscription got no section: nothing of the track is sent, and the subscriber is told why.
    pub(crate) fn subscription_failed(
        &mut self,
        sid: ParticipantSid,
        track: TrackSid,
        failure: sfu::SubscriptionFailure,
    ) {
        let err = match failure {
            sfu::SubscriptionFailure::CodecUnsupported => SubscriptionError::SeCodecUnsupported,
            sfu::SubscriptionFailure::TooManySections => SubscriptionError::SeUnknown,
        };
        let response = SubscriptionResponse {
            track_sid: track.to_string(),
            err: err.into(),
        };
        self.send(sid, Message::SubscriptionResponse(response));
    }

    /// Media flows to a subscriber. The publisher is told of the first one.
    pub(crate) fn track_subscribed(
        &mut self,
        publisher: ParticipantSid,
        track: TrackSid,
        subscriber: ParticipantSid,
    ) {
        let Some(state) = self
            .participants
            .get_mut(&publisher)
            .and_then(|publisher| publisher.track_mut(track))
        else {
            return;
        };
        if !std::mem::replace(&mut state.subscribed, true) {
            self.send(
                publisher,
                Message::TrackSubscribed(TrackSubscribed {
                    track_sid: track.to_string(),
                }),
            );
        }
        self.send_speaker(publisher, subscriber);
    }

    /// The subscriber's network stopped carrying a picture, or carries it again.
    pub(crate) fn stream_state_changed(
        &mut self,
        subscriber: ParticipantSid,
        track: TrackSid,
        paused: bool,
    ) {
        let Some(&publisher) = self.tracks.get(&track) else {
            return;
        };
        let state = match paused {
            true => StreamState::Paused,
            false => StreamState::Active,
        };
        self.send(
            subscriber,
            Message::StreamStateUpdate(StreamStateUpdate {
                stream_states: vec![StreamStateInfo {
                    participant_sid: publisher.to_string(),
                    track_sid: track.to_string(),
                    state: state.into(),
                }],
            }),
        );
    }
}

/// The setting of a new subscription: until an adaptive client has measured its view, the smallest layer is the
/// quickest to show.
fn initial_setting(adaptive: bool) -> TrackSetting {
    let max_layer = if adaptive {
        SpatialLayer::Low
    } else {
        SpatialLayer::High
    };
    TrackSetting {
        max_layer,
        ..TrackSetting::default()
    }
}
