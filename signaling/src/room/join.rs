//! The join of a participant.

use std::time::Instant;

use protocol::{
    ParticipantSid,
    error::Error,
    limits,
    livekit::{
        Codec, IceServer, JoinResponse, LeaveRequest, ParticipantInfo, ServerInfo,
        leave_request::Action, participant_info::State, signal_response::Message,
    },
    turn::is_tls,
};

use crate::{
    api::{
        COMPATIBLE_VERSION, Join, PING_INTERVAL_SECONDS, PONG_TIMEOUT_SECONDS, Response, SessionId,
        SessionMessage,
    },
    clock::seconds,
    data_tracks::DataTracks,
    deadlines::Deadline,
    farewell::{Farewell, leave},
    metadata,
    participant::Participant,
    room::Room,
    server_info::server_info,
};

impl Room {
    /// Lets a participant join. Everything that the first answer must carry is said to the shard before the offer.
    pub(crate) fn join(&mut self, join: Join, now: Instant) {
        let admitted = self.admit(&join);
        if let Err(error) = admitted.and_then(|()| self.take_seat(&join.grant, now)) {
            return self.refuse(join.session, &error);
        }
        if let Some(&old) = self.identities.get(&join.grant.identity()) {
            let reason = protocol::livekit::DisconnectReason::DuplicateIdentity;
            let there = self.participants.get(&old);
            if there.and_then(|it| it.session) > Some(join.session) {
                // A newer connection has overtaken this one, which nobody waits for any more.
                let leave = leave(reason, Action::Disconnect);
                self.tell(join.session, SessionMessage::Response(leave.into()));
                return self.tell(join.session, SessionMessage::Close);
            }
            self.remove(old, reason, Farewell::Leave(Action::Disconnect), now);
        }
        let Join {
            session,
            grant,
            mut request,
            two_connections,
            mls: _,
        } = join;
        self.tell_departures();
        let add_tracks = std::mem::take(&mut request.add_track_requests);
        let offer = request.publisher_offer.take();
        let sid = self.add_participant(session, grant, request, two_connections, now);

        let response = Response::from(Message::Join(self.join_response(sid, now)));
        let cost = self.welcome_cost(&response);
        self.send(sid, response);
        self.charge(sid, cost, now);
        if let Some(participant) = self.participants.get_mut(&sid) {
            participant.state = State::Joined;
        }
        for request in add_tracks {
            self.add_track(sid, request);
        }
        self.reconcile_subscriber(sid);
        self.reconcile_data_subscriber(sid);
        self.offer_subscriber(sid, false);
        if let Some(offer) = offer {
            self.offer_of_join(sid, offer, now);
        }
        self.announce_count(Some(sid));
        let without_media = Participant::is_without_media;
        if self.participants.get(&sid).is_some_and(without_media) {
            self.connected(sid, now);
        }
    }

    fn admit(&self, join: &Join) -> Result<(), Error> {
        if join.grant.identity.is_empty() {
            return Err(Error::NoIdentity);
        }
        if self.revoked.covers(&join.grant) {
            return Err(Error::TokenRevoked);
        }
        limits::check_identity(&join.grant.identity)?;
        limits::check_name(&join.grant.name)?;
        limits::check_metadata(&join.grant.metadata)?;
        limits::check_attributes(&join.grant.attributes)?;
        if join.request.add_track_requests.len() > self.config.max_tracks {
            return Err(Error::InvalidArgument(
                "too many tracks in the join request",
            ));
        }
        self.admit_encryption(join)?;
        self.admit_principal(&join.grant)
    }

    /// Tells the shard the room's number of voices. The shard forgets an empty room, so that the first who comes brings
    /// it along.
    pub(crate) fn limit_voices(&mut self) {
        if let Some(limit) = self.audio_top_n.filter(|_| self.participants.is_empty()) {
            let room = self.sid;
            self.command(sfu::RoomCommand::SetAudioTopN { room, limit });
        }
    }

    /// Refuses a client: a `leave` as the first message tells it that, and why.
    pub(crate) fn refuse(&mut self, session: SessionId, error: &Error) {
        tracing::info!(session = session.0, %error, "join refused");
        let leave = LeaveRequest {
            reason: error.row().reason.into(),
            action: Action::Disconnect.into(),
            ..LeaveRequest::default()
        };
        self.tell(
            session,
            SessionMessage::Response(Message::Leave(leave).into()),
        );
        self.tell(session, SessionMessage::Close);
    }

    fn add_participant(
        &mut self,
        session: SessionId,
        mut grant: protocol::token::Grant,
        request: protocol::livekit::JoinRequest,
        two_connections: bool,
        now: Instant,
    ) -> ParticipantSid {
        let sid = ParticipantSid::random(&mut self.rng);
        if grant.video().may_update_own_metadata() {
            let attributes = request.participant_attributes.into_iter();
            // An empty value would delete the token's attribute, which LiveKit does not let a join do.
            let attributes = attributes.filter(|(_, value)| !value.is_empty()).collect();
            // Too much of it is ignored: the values of the token stand.
            let _ = metadata::apply(&mut grant, "", &request.metadata, attributes);
        }
        let identity = grant.identity();
        let settings = request.connection_settings.unwrap_or_default();
        let client = request.client_info.unwrap_or_default();
        let joined_at = self.clock.unix(now);
        let participant = Participant {
            session: Some(session),
            two_connections,
            auto_subscribe: settings.auto_subscribe,
            adaptive_stream: settings.adaptive_stream,
            data: DataTracks::new(settings.auto_subscribe_data_track()),
            protocol: self
                .switched
                .remove(&identity)
                .filter(|(_, until)| now < *until)
                .map(|(protocol, _)| protocol),
            ..Participant::new(sid, grant, client, joined_at)
        };
        self.tell(
            session,
            SessionMessage::Grant(Box::new(participant.grant.clone())),
        );
        self.command(sfu::MemberCommand::Add {
            room: self.sid,
            peer: sid,
            identity: participant.identity.clone(),
            principal: participant.principal(),
            permissions: participant.media_permissions(),
        });
        if two_connections {
            self.command(sfu::MemberCommand::AddSecondConnection {
                peer: sid,
                primary: participant.can_subscribe(),
            });
        }
        self.limit_voices();
        self.tell_group_arrived(identity.clone(), participant.grant.video().room_admin);
        self.identities.insert(identity, sid);
        self.sessions.insert(session, sid);
        self.participants.insert(sid, participant);
        self.recount(sid);
        let connect_by = now + seconds(self.config.join_timeout);
        self.deadlines.set((sid, Deadline::Connect), connect_by);
        self.hold_open(now);
        self.restrict_candidates(sid);
        sid
    }

    fn join_response(&self, sid: ParticipantSid, now: Instant) -> JoinResponse {
        // On a single PeerConnection there is no subscriber, and nothing to hurry.
        let two = |participant: &&Participant| participant.two_connections;
        let two = self.participants.get(&sid).filter(two);
        JoinResponse {
            room: Some(self.info(now)),
            participant: self.participants.get(&sid).map(Participant::info),
            other_participants: self.visible_to(sid),
            server_version: COMPATIBLE_VERSION.to_owned(),
            server_region: self.config.region.clone(),
            server_info: Some(self.server_info()),
            ice_servers: self.ice_servers(sid, now),
            client_configuration: Some(self.client_configuration(sid)),
            subscriber_primary: two.is_some_and(Participant::can_subscribe),
            fast_publish: two.is_some_and(|two| two.grant.video().may_publish()),
            ping_interval: PING_INTERVAL_SECONDS as i32,
            ping_timeout: PONG_TIMEOUT_SECONDS as i32,
            sif_trailer: self.sif_trailer.clone(),
            enabled_publish_codecs: self.codecs(),
            ..JoinResponse::default()
        }
    }

    /// The ICE servers: our own TURN server only, and no STUN server of anybody else. Clients reach us by our own
    /// candidates.
    pub(crate) fn ice_servers(&self, sid: ParticipantSid, now: Instant) -> Vec<IceServer> {
        let Some(turn) = &self.config.turn else {
            return Vec::new();
        };
        let Some(participant) = self.participants.get(&sid) else {
            return Vec::new();
        };
        // The user name includes the room, for an identity is unique in one room only.
        let grant = &participant.grant;
        let principal = [
            grant.api_key.as_str(),
            self.name.as_str(),
            grant.principal().as_str(),
        ]
        .join(" ");
        let mut servers = turn.for_principal(&principal, self.clock.unix(now).as_secs());
        if self.is_relayed(sid) {
            for server in &mut servers {
                server.urls.retain(|url| is_tls(url));
            }
        }
        servers
    }

    pub(crate) fn server_info(&self) -> ServerInfo {
        server_info(&self.config)
    }

    pub(crate) fn codecs(&self) -> Vec<Codec> {
        let codec = |mime: &String| Codec {
            mime: mime.clone(),
            fmtp_line: String::new(),
        };
        self.config.enabled_codecs.iter().map(codec).collect()
    }

    /// The other participants, as `sid` may see them.
    pub(crate) fn visible_to(&self, sid: ParticipantSid) -> Vec<ParticipantInfo> {
        let others = self
            .participants
            .values()
            .filter(|other| other.sid != sid && other.is_visible());
        others.map(Participant::info).collect()
    }
}
