//! What the application hears: the webhook events of a room, in the order in which things happened. Those who send agents
//! hear of the same.

use std::time::Instant;

use protocol::{
    WebhookSid,
    livekit::{
        self, DisconnectReason, ParticipantInfo, RoomAgentDispatch, RoomEndReason, TrackInfo,
        WebhookEvent, participant_info::State,
    },
};

use crate::{agents::RoomNews, api::RoomOutput, participant::Participant, room::Room};

impl Room {
    /// The room is open. Always the first event. `agents` are those that it is opened with.
    pub(crate) fn notify_started(&mut self, agents: Vec<RoomAgentDispatch>, now: Instant) {
        let room = self.info(now);
        let info = Box::new(room.clone());
        self.notify("room_started", room, WebhookEvent::default(), now);
        self.tell_agents(RoomNews::Opened { info, agents });
    }

    /// The room has ended. Always the last event.
    pub(crate) fn notify_finished(&mut self, reason: DisconnectReason, now: Instant) {
        let reason = match reason {
            DisconnectReason::RoomDeleted => RoomEndReason::RoomEndApiDelete,
            DisconnectReason::RoomClosed => RoomEndReason::RoomEndIdleTimeout,
            DisconnectReason::ServerShutdown => RoomEndReason::RoomEndServerShutdown,
            _ => RoomEndReason::RoomEndUnknown,
        };
        let event = WebhookEvent {
            room_end_reason: reason.into(),
            ..WebhookEvent::default()
        };
        let room = self.info(now);
        self.notify("room_finished", room, event, now);
        self.tell_agents(RoomNews::Closed);
    }

    /// Its media is connected: from now on it is a participant to the application.
    pub(crate) fn notify_joined(&mut self, participant: ParticipantInfo, now: Instant) {
        self.tell_agents_joined(&participant);
        self.notify_participant("participant_joined", participant, now);
    }

    /// It is gone, and its tracks with it. Whoever never connected was never announced and is told to have given up.
    pub(crate) fn notify_left(
        &mut self,
        participant: &Participant,
        reason: DisconnectReason,
        now: Instant,
    ) {
        let info = participant.info();
        let event = match participant.state {
            State::Active => "participant_left",
            _ => "participant_connection_aborted",
        };
        for track in &info.tracks {
            if participant.state == State::Active {
                self.notify_unpublished(info.clone(), track.clone(), now);
            }
        }
        self.notify_participant(event, participant.farewell(reason), now);
        self.tell_agents(RoomNews::Left {
            sid: participant.sid,
        });
    }

    /// The track can be received.
    pub(crate) fn notify_published(
        &mut self,
        publisher: ParticipantInfo,
        track: TrackInfo,
        now: Instant,
    ) {
        if let Ok(sid) = publisher.sid.parse() {
            let info = Box::new(publisher.clone());
            self.tell_agents(RoomNews::Published { sid, info });
        }
        self.notify_track("track_published", publisher, track, now);
    }

    /// A track that was announced has ended.
    pub(crate) fn notify_unpublished(
        &mut self,
        publisher: ParticipantInfo,
        track: TrackInfo,
        now: Instant,
    ) {
        self.notify_track("track_unpublished", publisher, track, now);
    }

    fn notify_participant(&mut self, name: &str, participant: ParticipantInfo, now: Instant) {
        let event = WebhookEvent {
            participant: Some(participant),
            ..WebhookEvent::default()
        };
        let room = self.info(now);
        self.notify(name, room, event, now);
    }

    /// As livekit-server does, these events name room and publisher only: metadata may be long, tracks many.
    fn notify_track(
        &mut self,
        name: &str,
        publisher: ParticipantInfo,
        track: TrackInfo,
        now: Instant,
    ) {
        let room = livekit::Room {
            sid: self.sid.to_string(),
            name: self.name.as_str().to_owned(),
            ..livekit::Room::default()
        };
        let participant = ParticipantInfo {
            sid: publisher.sid,
            identity: publisher.identity,
            ..ParticipantInfo::default()
        };
        let event = WebhookEvent {
            participant: Some(participant),
            track: Some(track),
            ..WebhookEvent::default()
        };
        self.notify(name, room, event, now);
    }

    fn notify(&mut self, name: &str, room: livekit::Room, event: WebhookEvent, now: Instant) {
        let event = WebhookEvent {
            event: name.to_owned(),
            room: Some(room),
            id: WebhookSid::random(&mut self.rng).to_string(),
            created_at: self.clock.unix(now).as_secs() as i64,
            ..event
        };
        self.outputs.push_back(RoomOutput::Webhook(Box::new(event)));
    }
}
