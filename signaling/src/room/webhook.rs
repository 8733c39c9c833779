//! The webhook events of a room for the application, in the order in which things happened. Those who send agents hear
//! of the same.

use std::time::{Duration, Instant};

use protocol::{
    WebhookSid,
    livekit::{
        self, DisconnectReason, ParticipantInfo, RoomAgentDispatch, RoomEndReason, TrackInfo,
        WebhookEvent, participant_info::State,
    },
};

use crate::{api::RoomOutput, participant::Participant, room::Room, room_news::RoomNews};

/// The time in which the application hears one `participant_connection_aborted` of a person.
const GIVEN_UP_INTERVAL: Duration = Duration::from_secs(60);

/// The most people of whom that is remembered; for more, no event is sent.
const MAX_GIVEN_UP: usize = 1000;

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

    /// A participant's media is connected: from now on it is a participant to the application.
    pub(crate) fn notify_joined(&mut self, participant: ParticipantInfo, now: Instant) {
        self.tell_agents_joined(&participant);
        self.notify_participant("participant_joined", participant, now);
    }

    /// A participant is gone, and its tracks with it. One that never connected was never announced: the application
    /// hears that it gave up.
    pub(crate) fn notify_left(
        &mut self,
        participant: &Participant,
        reason: DisconnectReason,
        now: Instant,
    ) {
        match participant.state {
            State::Active => {
                let info = participant.info();
                for track in &info.tracks {
                    self.notify_unpublished(&info, track.clone(), now);
                }
                self.notify_participant("participant_left", participant.last_info(reason), now);
            }
            _ => self.notify_given_up(participant, reason, now),
        }
        self.tell_agents(RoomNews::Left {
            sid: participant.sid,
        });
    }

    /// A participant gave up. Told at most once a minute of each person, and without the long parts: it costs a token
    /// and a request.
    fn notify_given_up(
        &mut self,
        participant: &Participant,
        reason: DisconnectReason,
        now: Instant,
    ) {
        let principal = participant.principal();
        for forgotten in self.given_up.due(now) {
            self.given_up.cancel(&forgotten);
        }
        let is_known = self.given_up.get(&principal).is_some();
        if is_known || self.given_up.len() >= MAX_GIVEN_UP {
            return;
        }
        self.given_up.set(principal, now + GIVEN_UP_INTERVAL);
        let participant = participant.farewell(reason);
        self.notify_participant("participant_connection_aborted", participant, now);
    }

    /// The track can be received. Agents come for a publisher, not for its tracks: those who send them hear of its
    /// first track, and of the ones it joined with when it joins.
    pub(crate) fn notify_published(
        &mut self,
        publisher: &ParticipantInfo,
        track: TrackInfo,
        now: Instant,
    ) {
        if publisher.tracks.len() == 1
            && let Ok(sid) = publisher.sid.parse()
        {
            let info = Box::new(publisher.clone());
            self.tell_agents(RoomNews::Published { sid, info });
        }
        self.notify_track("track_published", publisher, track, now);
    }

    /// A track that was announced has ended.
    pub(crate) fn notify_unpublished(
        &mut self,
        publisher: &ParticipantInfo,
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

    /// An event about a track. As with livekit-server, these events name room and publisher only: metadata may be long,
    /// tracks many.
    fn notify_track(
        &mut self,
        name: &str,
        publisher: &ParticipantInfo,
        track: TrackInfo,
        now: Instant,
    ) {
        let room = livekit::Room {
            sid: self.sid.to_string(),
            name: self.name.as_str().to_owned(),
            ..livekit::Room::default()
        };
        let participant = ParticipantInfo {
            sid: publisher.sid.clone(),
            identity: publisher.identity.clone(),
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
