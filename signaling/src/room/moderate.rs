//! The verbs of the server API, for moderators and applications.

use std::time::Instant;

use protocol::{
    ParticipantIdentity, ParticipantSid,
    error::Error,
    limits,
    livekit::{
        self, DataPacket, DisconnectReason, RoomMovedResponse, RoomUpdate, SendDataRequest,
        UpdateParticipantRequest, UpdateSubscription, UpdateSubscriptionsRequest, UserPacket,
        data_packet, leave_request::Action, signal_response::Message,
    },
    prost::Message as _,
    token::Grant,
};

use crate::{
    api::{ApiCall, ApiReply, SessionMessage},
    farewell::Farewell,
    metadata,
    participant::{Participant, set_permission},
    room::Room,
    room_news::RoomNews,
};

impl Room {
    pub(crate) fn api(&mut self, call: ApiCall, now: Instant) -> Result<ApiReply, Error> {
        if self.closed {
            return Err(Error::RoomNotFound);
        }
        match call {
            ApiCall::GetRoom => Ok(ApiReply::Room(Box::new(self.info(now)))),
            ApiCall::UpdateRoomMetadata { metadata } => self.update_room_metadata(metadata, now),
            ApiCall::DeleteRoom => {
                self.close(DisconnectReason::RoomDeleted, Action::Disconnect, now);
                Ok(ApiReply::Done)
            }
            ApiCall::ListParticipants => Ok(ApiReply::Participants(
                self.participants.values().map(Participant::info).collect(),
            )),
            ApiCall::GetParticipant { identity } => self.participant_reply(self.find(&identity)?),
            ApiCall::RemoveParticipant {
                identity,
                revoke_before,
            } => {
                // Also for an identity that is not here: it must not come either.
                if let Some(before) = revoke_before {
                    self.revoked.add(&identity, before);
                }
                let found = self.find_all(&identity);
                for &sid in &found {
                    self.remove(
                        sid,
                        DisconnectReason::ParticipantRemoved,
                        Farewell::Leave(Action::Disconnect),
                        now,
                    );
                }
                match found.is_empty() {
                    true => Err(Error::ParticipantNotFound),
                    false => Ok(ApiReply::Done),
                }
            }
            ApiCall::MuteTrack {
                identity,
                track_sid,
                muted,
            } => self.mute_track(&identity, &track_sid, muted),
            ApiCall::UpdateParticipant(request) => self.update_participant(&request, now),
            ApiCall::UpdateSubscriptions(request) => self.update_subscriptions(*request),
            ApiCall::SendData(request) => self.send_data(*request),
            ApiCall::MoveParticipant {
                identity,
                destination,
            } => self.move_participant(&identity, *destination, now),
            ApiCall::PerformRpc(_) | ApiCall::ForwardParticipant { .. } => {
                debug_assert!(false, "calls are answered later");
                Err(Error::Internal)
            }
        }
    }

    pub(crate) fn find(&self, identity: &ParticipantIdentity) -> Result<ParticipantSid, Error> {
        self.identities
            .get(identity)
            .copied()
            .ok_or(Error::ParticipantNotFound)
    }

    fn participant_reply(&self, sid: ParticipantSid) -> Result<ApiReply, Error> {
        let participant = self
            .participants
            .get(&sid)
            .ok_or(Error::ParticipantNotFound)?;
        Ok(ApiReply::Participant(Box::new(participant.info())))
    }

    fn update_room_metadata(&mut self, metadata: String, now: Instant) -> Result<ApiReply, Error> {
        limits::check_metadata(&metadata)?;
        self.metadata = metadata.clone();
        self.tell_agents(RoomNews::MetadataChanged { metadata });
        let room = self.info(now);
        self.broadcast(
            Message::RoomUpdate(RoomUpdate {
                room: Some(room.clone()),
            }),
            None,
        );
        Ok(ApiReply::Room(Box::new(room)))
    }

    fn mute_track(
        &mut self,
        identity: &ParticipantIdentity,
        track_sid: &str,
        muted: bool,
    ) -> Result<ApiReply, Error> {
        let sid = self.find_own(identity)?;
        if !muted && !self.config.enable_remote_unmute {
            return Err(Error::RemoteUnmute);
        }
        let Ok(track) = track_sid.parse() else {
            return Ok(ApiReply::Track(None));
        };
        // A companion's tracks are its principal's too.
        let companions = self
            .companions(identity)
            .map(|it| (it.sid, it.track(track)));
        let owner = companions.filter(|(_, track)| track.is_some()).last();
        let sid = owner.map_or(sid, |(companion, _)| companion);
        self.set_muted(sid, track, muted, true);
        let track = self
            .participants
            .get(&sid)
            .and_then(|participant| participant.track(track));
        Ok(ApiReply::Track(
            track.map(|track| Box::new(track.info.clone())),
        ))
    }

    fn update_participant(
        &mut self,
        request: &UpdateParticipantRequest,
        now: Instant,
    ) -> Result<ApiReply, Error> {
        let sid = self.find_own(&request.identity.as_str().into())?;
        let participant = self
            .participants
            .get(&sid)
            .ok_or(Error::ParticipantNotFound)?;
        let attributes = request.attributes.clone().into_iter().collect();
        let mut grant = participant.grant.clone();
        metadata::apply(&mut grant, &request.name, &request.metadata, attributes)?;
        if let Some(permission) = &request.permission {
            set_permission(&mut grant, permission);
        }
        self.change_grant(sid, grant, now);
        if let Some(permission) = &request.permission {
            let identity = request.identity.as_str().into();
            let companions = self.companions(&identity);
            let changed: Vec<_> = companions
                .map(|companion| {
                    let mut grant = companion.grant.clone();
                    set_permission(&mut grant, permission);
                    // A companion receives nothing, whatever its principal may.
                    grant.video.get_or_insert_default().can_subscribe = Some(false);
                    (companion.sid, grant)
                })
                .collect();
            for (sid, grant) in changed {
                self.change_grant(sid, grant, now);
            }
        }
        self.participant_reply(sid)
    }

    fn change_grant(&mut self, sid: ParticipantSid, grant: Grant, now: Instant) {
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        if grant != participant.grant {
            let was_visible = participant.is_visible();
            participant.grant = grant;
            self.recount(sid);
            self.grant_changed(sid);
            self.permissions_changed(sid, was_visible, now);
        }
    }

    /// Applies changed permissions: ends what is not allowed any more, begins what is allowed now.
    pub(crate) fn permissions_changed(
        &mut self,
        sid: ParticipantSid,
        was_visible: bool,
        now: Instant,
    ) {
        let Some(participant) = self.participants.get(&sid) else {
            return;
        };
        let visible = participant.is_visible();
        let permissions = participant.media_permissions();
        let tracks: Vec<_> = participant.tracks.iter().map(|track| track.sid).collect();
        if was_visible && !visible {
            // To the others, a participant that is hidden now has left.
            let info = participant.farewell(DisconnectReason::UnknownReason);
            let update = livekit::ParticipantUpdate {
                participants: vec![info.clone()],
            };
            self.broadcast(Message::Update(update), Some(sid));
            self.remember_departed(info, now);
            self.forget_announced(sid);
        }
        self.command(sfu::MemberCommand::SetPermissions {
            peer: sid,
            permissions,
        });
        self.unpublish_forbidden(sid, now);
        self.end_forbidden_data_tracks(sid);
        self.reconcile_subscriber(sid);
        self.reconcile_data_subscriber(sid);
        if was_visible != visible {
            for track in tracks {
                self.reconcile_track(track);
            }
            self.reconcile_data_publisher(sid);
        }
        self.announce_count(None);
        self.hold_open(now);
    }

    fn update_subscriptions(
        &mut self,
        request: UpdateSubscriptionsRequest,
    ) -> Result<ApiReply, Error> {
        let sid = self.find_own(&request.identity.as_str().into())?;
        let update = UpdateSubscription {
            track_sids: request.track_sids,
            subscribe: request.subscribe,
            participant_tracks: request.participant_tracks,
        };
        self.update_subscription(sid, &update);
        Ok(ApiReply::Done)
    }

    /// Moves a participant: its client connects anew, to the other room. That may be on another shard, so that the
    /// transport cannot come along.
    fn move_participant(
        &mut self,
        identity: &ParticipantIdentity,
        destination: livekit::Room,
        now: Instant,
    ) -> Result<ApiReply, Error> {
        let sid = self.find_own(identity)?;
        let companions = self.companions(identity);
        let companions: Vec<_> = companions.map(|companion| companion.sid).collect();
        self.move_one(sid, &destination, now)?;
        for companion in companions {
            // A companion that is just reconnecting does not stay behind.
            if self.move_one(companion, &destination, now).is_err() {
                let reason = DisconnectReason::Migration;
                self.remove(companion, reason, Farewell::Silent, now);
            }
        }
        Ok(ApiReply::Done)
    }

    fn move_one(
        &mut self,
        sid: ParticipantSid,
        destination: &livekit::Room,
        now: Instant,
    ) -> Result<(), Error> {
        let participant = self
            .participants
            .get(&sid)
            .ok_or(Error::ParticipantNotFound)?;
        let session = participant
            .session
            .ok_or(Error::Unavailable("participant is reconnecting"))?;
        let grant = participant.grant.in_room(&destination.name.as_str().into());
        let moved = RoomMovedResponse {
            room: Some(destination.clone()),
            participant: Some(participant.info()),
            ..RoomMovedResponse::default()
        };
        let (grant, moved) = (Box::new(grant), Box::new(moved));
        self.tell(session, SessionMessage::Move { grant, moved });
        self.remove(sid, DisconnectReason::Migration, Farewell::Silent, now);
        Ok(())
    }

    /// Sends a user packet from the server: it has no sender.
    #[allow(deprecated)] // Destinations by sid are deprecated, and still asked for; so is `kind`, and still read.
    fn send_data(&mut self, request: SendDataRequest) -> Result<ApiReply, Error> {
        if !matches!(request.nonce.len(), 0 | 16) {
            return Err(Error::InvalidArgument("nonce should be 16-bytes or empty"));
        }
        let by_identity = request.destination_identities.iter();
        let by_identity = by_identity
            .filter_map(|identity| self.identities.get(&identity.as_str().into()).copied());
        let by_sid = request
            .destination_sids
            .iter()
            .filter_map(|sid| sid.parse().ok());
        // A participant that is forwarded from another room has no data channel here.
        let receives = |sid: &ParticipantSid| {
            let participant = self.participants.get(sid);
            participant.is_some_and(|participant| participant.forwarded_from.is_none())
        };
        let to = by_identity.chain(by_sid).filter(receives);
        let mut to: Vec<ParticipantSid> = to.collect();
        to.sort_unstable();
        to.dedup();
        let addressed =
            !request.destination_identities.is_empty() || !request.destination_sids.is_empty();
        if addressed && to.is_empty() {
            // An empty list would mean everybody to the shard.
            return Err(Error::ParticipantNotFound);
        }
        let channel = match request.kind() {
            data_packet::Kind::Reliable => sfu::DataChannel::Reliable,
            data_packet::Kind::Lossy => sfu::DataChannel::Lossy,
        };
        let packet = DataPacket {
            kind: request.kind,
            destination_identities: request.destination_identities.clone(),
            value: Some(data_packet::Value::User(UserPacket {
                payload: request.data,
                destination_sids: request.destination_sids,
                destination_identities: request.destination_identities,
                topic: request.topic,
                nonce: request.nonce,
                ..UserPacket::default()
            })),
            ..DataPacket::default()
        };
        let payload = packet.encode_to_vec();
        if payload.len() > sfu::MAX_MESSAGE_SIZE as usize {
            return Err(Error::InvalidArgument("data should be at most 256 KiB"));
        }
        self.command(sfu::DataCommand::Send {
            room: self.sid,
            to,
            channel,
            payload,
        });
        Ok(ApiReply::Done)
    }
}
