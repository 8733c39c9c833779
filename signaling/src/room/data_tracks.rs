//! Data tracks: published, subscribed to, ended. Their packets go through the shard only; subscriptions and the meaning
//! of handles are decided here.

use std::time::Instant;

use protocol::{
    DataTrackSid, ParticipantIdentity, ParticipantSid,
    livekit::{
        DataTrackFrameEncoding, DataTrackInfo, DataTrackSchemaId, DataTrackSubscriberHandles,
        PublishDataTrackRequest, PublishDataTrackResponse, RequestResponse, SubscriptionError,
        SubscriptionResponse, SyncState, UnpublishDataTrackRequest, UnpublishDataTrackResponse,
        UpdateDataSubscription, data_track_frame_encoding as frame,
        data_track_schema_encoding as schema,
        data_track_subscriber_handles::PublishedDataTrack,
        request_response::{Reason, Request},
        signal_response::Message,
    },
};
use sfu::DataTrackHandle as Handle;

use crate::{
    announcements::interval, api::Response, data_tracks::DataTrack, participant::Participant,
    room::Room,
};

/// The longest name of a data track or schema, characters.
const MAX_NAME: usize = 256;

/// The longest name of an encoding that LiveKit does not know, characters.
const MAX_ENCODING: usize = 32;

impl Room {
    /// `publish_data_track_request`.
    pub(crate) fn publish_data_track(
        &mut self,
        sid: ParticipantSid,
        request: PublishDataTrackRequest,
    ) {
        let handle = match self.admit_data_track(sid, &request) {
            Ok(handle) => handle,
            Err((reason, message)) => {
                let response = RequestResponse {
                    reason: reason.into(),
                    message: message.to_owned(),
                    // Clients find their request by the handle.
                    request: Some(Request::PublishDataTrack(PublishDataTrackRequest {
                        pub_handle: request.pub_handle,
                        ..PublishDataTrackRequest::default()
                    })),
                    ..RequestResponse::default()
                };
                return self.send(sid, Message::RequestResponse(response));
            }
        };
        let track = DataTrackSid::random(&mut self.rng);
        let info = DataTrackInfo {
            pub_handle: request.pub_handle,
            sid: track.to_string(),
            encryption: request.encryption().into(),
            name: request.name,
            frame_encoding: request.frame_encoding.map(known_encoding),
            schema: request.schema.map(known_schema),
        };
        self.send(
            sid,
            Message::PublishDataTrackResponse(PublishDataTrackResponse {
                info: Some(info.clone()),
            }),
        );
        self.add_data_track(
            sid,
            DataTrack {
                sid: track,
                handle,
                info,
                announced: false,
            },
        );
        // The `update` must be out before any handle for it is.
        self.announce(sid, false);
    }

    /// Adds a published data track. The caller announces it.
    pub(crate) fn add_data_track(&mut self, sid: ParticipantSid, added: DataTrack) {
        let (track, handle) = (added.sid, added.handle);
        if let Some(participant) = self.participants.get_mut(&sid) {
            participant.data.published.push(added);
            self.data_tracks.insert(track, sid);
            self.command(sfu::DataCommand::Publish {
                peer: sid,
                track,
                handle,
            });
        }
    }

    fn admit_data_track(
        &self,
        sid: ParticipantSid,
        request: &PublishDataTrackRequest,
    ) -> Result<Handle, (Reason, &'static str)> {
        let Some(participant) = self.participants.get(&sid) else {
            return Err((Reason::NotFound, "participant does not exist"));
        };
        if !participant.grant.video().may_publish_data() {
            return Err((
                Reason::NotAllowed,
                "does not have permission to publish data",
            ));
        }
        let handle = u16::try_from(request.pub_handle).ok().and_then(Handle::new);
        let Some(handle) = handle else {
            return Err((
                Reason::InvalidHandle,
                "a handle is a number from 1 to 65535",
            ));
        };
        if request.name.is_empty() || request.name.chars().count() > MAX_NAME {
            return Err((Reason::InvalidName, "a name has 1 to 256 characters"));
        }
        if !is_typed_well(request) {
            return Err((Reason::InvalidRequest, "malformed encoding or schema"));
        }
        let published = &participant.data.published;
        if published.iter().any(|track| track.handle == handle) {
            return Err((
                Reason::DuplicateHandle,
                "another data track has this handle",
            ));
        }
        if published
            .iter()
            .any(|track| track.info.name == request.name)
        {
            return Err((Reason::DuplicateName, "another data track has this name"));
        }
        if published.len() >= self.config.max_tracks {
            return Err((Reason::LimitExceeded, "too many data tracks"));
        }
        Ok(handle)
    }

    /// `unpublish_data_track_request`.
    pub(crate) fn unpublish_data_track(
        &mut self,
        sid: ParticipantSid,
        request: UnpublishDataTrackRequest,
    ) {
        let published = self.participants.get(&sid).and_then(|participant| {
            let mut published = participant.data.published.iter();
            published.find(|track| track.info.pub_handle == request.pub_handle)
        });
        if let Some(track) = published.map(|track| track.sid) {
            return self.end_data_track(sid, track);
        }
        let response = RequestResponse {
            reason: Reason::InvalidHandle.into(),
            message: "no data track has this handle".to_owned(),
            request: Some(Request::UnpublishDataTrack(request)),
            ..RequestResponse::default()
        };
        self.send(sid, Message::RequestResponse(response));
    }

    /// Ends all its data tracks if the participant may not publish any.
    pub(crate) fn end_forbidden_data_tracks(&mut self, sid: ParticipantSid) {
        let Some(participant) = self.participants.get(&sid) else {
            return;
        };
        if participant.grant.video().may_publish_data() {
            return;
        }
        for track in published_by(participant) {
            self.end_data_track(sid, track);
        }
    }

    pub(crate) fn end_data_track(&mut self, sid: ParticipantSid, track: DataTrackSid) {
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        let published = &mut participant.data.published;
        let Some(index) = published
            .iter()
            .position(|candidate| candidate.sid == track)
        else {
            return;
        };
        let info = Some(published.remove(index).info);
        let principal = participant.principal();
        self.forget_data_tracks(&[track], &principal);
        self.command(sfu::DataCommand::Unpublish { peer: sid, track });
        self.send(
            sid,
            Message::UnpublishDataTrackResponse(UnpublishDataTrackResponse { info }),
        );
        self.announce(sid, false);
    }

    /// Ends all subscriptions to the tracks. Participants that received any of them hear what their handles mean now.
    pub(crate) fn forget_data_tracks(
        &mut self,
        tracks: &[DataTrackSid],
        publisher: &ParticipantIdentity,
    ) {
        if tracks.is_empty() {
            return;
        }
        let mut had_them = Vec::new();
        for track in tracks {
            self.data_tracks.remove(track);
        }
        for (sid, participant) in &mut self.participants {
            let subscriptions = &mut participant.data.subscriptions;
            let removed = tracks.iter().filter(|track| subscriptions.remove(**track));
            if removed.count() > 0 {
                had_them.push(*sid);
            }
        }
        for subscriber in had_them {
            self.handles_changed(subscriber, publisher);
        }
    }

    /// `update_data_subscription`.
    pub(crate) fn update_data_subscription(
        &mut self,
        sid: ParticipantSid,
        update: &UpdateDataSubscription,
    ) {
        let mut asked = Vec::new();
        for wish in &update.updates {
            // Wishes for tracks that nobody publishes are not kept.
            let track = wish.track_sid.parse().ok();
            let Some(track) = track.filter(|track| self.data_tracks.contains_key(track)) else {
                continue;
            };
            if let Some(participant) = self.participants.get_mut(&sid) {
                let subscriptions = &mut participant.data.subscriptions;
                subscriptions.wish(track, wish.subscribe);
                asked.push(track);
            }
        }
        self.reconcile_data(sid, &asked);
        // A participant that asks for a track it already has waits for the handle all the same.
        if !asked.is_empty() {
            self.own_handles_changed(sid);
        }
    }

    /// Brings the data tracks that the shard sends to a subscriber in line with the rule. True when subscriptions began
    /// or ended.
    fn reconcile_data(&mut self, sid: ParticipantSid, tracks: &[DataTrackSid]) -> bool {
        let mut changed = false;
        for &track in tracks {
            let should = self.should_receive_data(sid, track);
            let Some(participant) = self.participants.get_mut(&sid) else {
                break;
            };
            let data = &mut participant.data;
            if data.subscriptions.is_active(track) == should {
                continue;
            }
            if !should {
                data.subscriptions.end(track);
                changed = true;
                self.command(sfu::DataCommand::Unsubscribe { peer: sid, track });
                continue;
            }
            let has_room = data.subscriptions.active() < self.config.max_subscriptions;
            let handle = has_room.then(|| data.subscriptions.begin(track)).flatten();
            let Some(handle) = handle else {
                let response = SubscriptionResponse {
                    track_sid: track.to_string(),
                    err: SubscriptionError::SeUnknown.into(),
                };
                self.send(sid, Message::SubscriptionResponse(response));
                continue;
            };
            self.command(sfu::DataCommand::Subscribe {
                peer: sid,
                track,
                handle,
            });
            changed = true;
        }
        changed
    }

    fn should_receive_data(&self, sid: ParticipantSid, track: DataTrackSid) -> bool {
        let publisher = self.data_tracks.get(&track);
        let publisher = publisher.and_then(|publisher| self.participants.get(publisher));
        let (Some(publisher), Some(subscriber)) = (publisher, self.participants.get(&sid)) else {
            return false;
        };
        subscriber.sid != publisher.sid
            && publisher.is_visible()
            && publisher.data.is_announced(track)
            && subscriber.can_subscribe()
            && subscriber.data.wants(track)
            && publisher.audience.allows_data(&subscriber.identity, track)
    }

    /// Does so for all subscribers of these tracks of one publisher. Each hears in one message what all handles mean.
    pub(crate) fn reconcile_data_tracks(&mut self, tracks: &[DataTrackSid]) {
        let publisher = tracks.first().and_then(|track| self.data_tracks.get(track));
        let publisher = publisher.and_then(|publisher| self.participants.get(publisher));
        let Some(publisher) = publisher.map(Participant::principal) else {
            return;
        };
        let subscribers: Vec<_> = self.participants.keys().copied().collect();
        for subscriber in subscribers {
            if self.reconcile_data(subscriber, tracks) {
                self.handles_changed(subscriber, &publisher);
            }
        }
    }

    /// Does so for all data tracks that the participant publishes.
    pub(crate) fn reconcile_data_publisher(&mut self, sid: ParticipantSid) {
        let tracks = self.participants.get(&sid).map(published_by);
        self.reconcile_data_tracks(&tracks.unwrap_or_default());
    }

    /// Does so for all data tracks that others publish.
    pub(crate) fn reconcile_data_subscriber(&mut self, sid: ParticipantSid) {
        let tracks: Vec<_> = self.data_tracks.keys().copied().collect();
        if self.reconcile_data(sid, &tracks) {
            self.own_handles_changed(sid);
        }
    }

    /// Tells a participant that is back what the handles in its packets mean.
    pub(crate) fn send_known_data_handles(&mut self, sid: ParticipantSid, now: Instant) {
        let participant = self.participants.get(&sid);
        if participant.is_some_and(|participant| participant.data.subscriptions.active() > 0) {
            self.own_handles_changed(sid);
            self.send_data_handles(sid, now);
        }
    }

    /// The meaning of a participant's handles has changed, because of `cause`. All handles are told each time, as
    /// LiveKit does, and therefore at the end of the turn or when it is time.
    fn handles_changed(&mut self, sid: ParticipantSid, cause: &ParticipantIdentity) {
        let is_charged = !self.news.by_moderator;
        let participant = self.participants.get(&sid);
        let at = participant.and_then(|participant| participant.data.handles_at);
        let at = at.unwrap_or(self.clock.start());
        self.news.handles_due.set(sid, at);
        let known = self.news.handles.entry(sid).or_default();
        if is_charged && known.is_none() {
            *known = Some(cause.clone());
        }
    }

    fn own_handles_changed(&mut self, sid: ParticipantSid) {
        if let Some(principal) = self.participants.get(&sid).map(Participant::principal) {
            self.handles_changed(sid, &principal);
        }
    }

    /// Tells participants what their handles mean, where it is time.
    pub(crate) fn tell_data_handles(&mut self, now: Instant) {
        for sid in self.news.handles_due.due(now) {
            self.send_data_handles(sid, now);
        }
    }

    fn send_data_handles(&mut self, sid: ParticipantSid, now: Instant) {
        let cause = self.news.handles.remove(&sid).flatten();
        self.news.handles_due.cancel(&sid);
        let Some(participant) = self.participants.get(&sid) else {
            return;
        };
        let meaning = |(track, handle): (&DataTrackSid, Handle)| {
            let publisher = self.participants.get(self.data_tracks.get(track)?)?;
            let published = PublishedDataTrack {
                publisher_identity: publisher.identity.as_str().to_owned(),
                publisher_sid: publisher.sid.to_string(),
                track_sid: track.to_string(),
            };
            Some((handle.get().into(), published))
        };
        let handles = DataTrackSubscriberHandles {
            sub_handles: participant
                .data
                .subscriptions
                .handles()
                .filter_map(meaning)
                .collect(),
        };
        let response = Response::from(Message::DataTrackSubscriberHandles(handles));
        let bytes = response.binary().len();
        if let Some(cause) = cause {
            self.ledger.charge(&cause, (1 + bytes / 1024) as u64, now);
        }
        if let Some(participant) = self.participants.get_mut(&sid) {
            participant.data.handles_at = Some(now + interval(bytes));
        }
        self.send(sid, response);
    }

    /// Takes the list of data tracks that a client which comes back believes to publish. It is told which of them have
    /// ended or are unknown.
    pub(crate) fn sync_data_tracks(&mut self, sid: ParticipantSid, state: &SyncState) {
        let Some(participant) = self.participants.get(&sid) else {
            return;
        };
        let known = |handle: u32| {
            let mut published = participant.data.published.iter();
            published.any(|track| track.info.pub_handle == handle)
        };
        let infos = state.publish_data_tracks.iter();
        let ended: Vec<_> = infos
            .filter_map(|published| published.info.as_ref())
            .filter(|info| !known(info.pub_handle))
            .take(self.config.max_tracks)
            .map(|info| DataTrackInfo {
                pub_handle: info.pub_handle,
                sid: info.sid.clone(),
                ..DataTrackInfo::default()
            })
            .collect();
        for info in ended {
            let info = Some(info);
            self.send(
                sid,
                Message::UnpublishDataTrackResponse(UnpublishDataTrackResponse { info }),
            );
        }
        if let Some(update) = &state.data_subscription {
            self.update_data_subscription(sid, update);
        }
    }
}

/// Whether the names of the encodings and of the schema are not too long.
fn is_typed_well(request: &PublishDataTrackRequest) -> bool {
    let is_name = |name: &str, max: usize| !name.is_empty() && name.chars().count() <= max;
    let encoding = request.frame_encoding.as_ref();
    let encoding_fits = match encoding.and_then(|encoding| encoding.value.as_ref()) {
        Some(frame::Value::Custom(name)) => is_name(name, MAX_ENCODING),
        _ => true,
    };
    let Some(described) = &request.schema else {
        return encoding_fits;
    };
    let encoding = described.encoding.as_ref();
    let schema_fits = match encoding.and_then(|encoding| encoding.value.as_ref()) {
        Some(schema::Value::Custom(name)) => is_name(name, MAX_ENCODING),
        _ => true,
    };
    encoding_fits && schema_fits && is_name(&described.name, MAX_NAME)
}

/// The encoding, with values of enums that we know only: others could not be written as JSON.
fn known_encoding(mut encoding: DataTrackFrameEncoding) -> DataTrackFrameEncoding {
    if let Some(frame::Value::WellKnown(value)) = &mut encoding.value {
        let known = frame::WellKnownFrameEncoding::try_from(*value);
        *value = known.map(Into::into).unwrap_or_default();
    }
    encoding
}

/// The schema, with values of enums that we know only.
fn known_schema(mut described: DataTrackSchemaId) -> DataTrackSchemaId {
    let encoding = described.encoding.as_mut();
    if let Some(schema::Value::WellKnown(value)) = encoding.and_then(|it| it.value.as_mut()) {
        let known = schema::WellKnownSchemaEncoding::try_from(*value);
        *value = known.map(Into::into).unwrap_or_default();
    }
    described
}

fn published_by(participant: &Participant) -> Vec<DataTrackSid> {
    let published = participant.data.published.iter();
    published.map(|track| track.sid).collect()
}
