//! The leave of a participant, by itself or not, and the end of the room.

use std::time::{Duration, Instant};

use protocol::{
    ParticipantSid,
    livekit::{DisconnectReason, ParticipantInfo, leave_request::Action, participant_info::State},
};

use crate::{
    api::{CloseCause, PING_TIMEOUT_SECONDS, RoomOutput, SessionId, SessionMessage},
    clock::{earliest, seconds},
    deadlines::Deadline,
    farewell::{Farewell, leave},
    participant::Participant,
    people::People,
    room::Room,
    room_news::RoomNews,
};

/// The most farewells kept for clients that resume.
const MAX_DEPARTED: usize = 1000;

/// The shortest time between two renewals of a participant's connection: see [`Room::unreachable`].
const RENEWAL_INTERVAL: Duration = Duration::from_secs(60);

impl Room {
    /// Removes a participant: tells the participant, the shard, and those who saw it. The only way out of the room.
    pub(crate) fn remove(
        &mut self,
        sid: ParticipantSid,
        reason: DisconnectReason,
        farewell: Farewell,
        now: Instant,
    ) {
        let Some(participant) = self.participants.remove(&sid) else {
            return;
        };
        let returns = matches!(farewell, Farewell::Leave(Action::Reconnect));
        self.identities.remove(&participant.identity);
        self.recount(sid);
        for deadline in Deadline::ALL {
            self.deadlines.cancel(&(sid, deadline));
        }
        self.dismiss(&participant, reason, farewell);
        self.command(sfu::MemberCommand::Remove { peer: sid });
        for track in &participant.tracks {
            self.forget_track(track.sid);
        }
        let published = participant.data.published.iter();
        let published: Vec<_> = published.map(|track| track.sid).collect();
        self.forget_data_tracks(&published, &participant.principal());
        for (track, subscription) in &participant.subscriptions {
            if subscription.active {
                self.remove_subscriber(sid, *track);
            }
        }
        self.speakers.forget(sid);
        self.abandon_calls(sid);
        self.end_forwards(&participant, reason);
        self.return_forwarded(&participant);
        if reason != DisconnectReason::DuplicateIdentity {
            // Whoever takes its place has the same identity.
            self.tell_group_left(participant.identity.clone(), returns);
        }
        self.notify_left(&participant, reason, now);
        if participant.is_visible() {
            let mut info = participant.farewell(reason);
            info.version += 1;
            self.announce_departure(sid, info.clone());
            self.remember_departed(info, now);
        }
        self.announce_count(None);
        self.hold_open(now);
    }

    /// Updates the time at which the room ends: it is open as long as anybody is here for whom it is, and a while
    /// longer.
    pub(crate) fn hold_open(&mut self, now: Instant) {
        if self.has_own_participants() {
            self.close_at = None;
        } else {
            let end = now + seconds(self.departure_timeout);
            self.close_at.get_or_insert(end);
        }
    }

    /// Remembers a participant that has left: clients that come back have to hear it too.
    pub(crate) fn remember_departed(&mut self, info: ParticipantInfo, now: Instant) {
        if self.departed.len() == MAX_DEPARTED {
            self.departed.pop_front();
        }
        self.departed.push_back((now + self.memory(), info));
    }

    /// The time for which a farewell is kept: until the last moment at which a client can resume that lost its
    /// connection before we noticed.
    fn memory(&self) -> std::time::Duration {
        seconds(self.config.resume_timeout + PING_TIMEOUT_SECONDS)
    }

    fn dismiss(&mut self, participant: &Participant, reason: DisconnectReason, farewell: Farewell) {
        let Some(session) = participant.session else {
            return;
        };
        self.sessions.remove(&session);
        if let Farewell::Leave(action) = farewell {
            let leave = leave(reason, action);
            self.tell(session, SessionMessage::Response(leave.into()));
        }
        self.tell(session, SessionMessage::Close);
    }

    /// The client said `leave`.
    pub(crate) fn client_leaves(&mut self, sid: ParticipantSid, now: Instant) {
        self.remove(
            sid,
            DisconnectReason::ClientInitiated,
            Farewell::Silent,
            now,
        );
    }

    /// A signal connection broke: a participant with connected media may resume.
    pub(crate) fn session_gone(&mut self, session: SessionId, cause: CloseCause, now: Instant) {
        let Some(sid) = self.sessions.remove(&session) else {
            return self.leave_door(session);
        };
        for deadline in [Deadline::Answer, Deadline::Description] {
            self.deadlines.cancel(&(sid, deadline));
        }
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        participant.session = None;
        participant.awaited_answer = None;
        participant.forget_negotiation();
        let hopeless = cause.is_misbehaviour()
            || participant.state != State::Active
            || participant.media_closed;
        if hopeless {
            return self.remove(sid, DisconnectReason::SignalClose, Farewell::Silent, now);
        }
        let resume_by = now + seconds(self.config.resume_timeout);
        self.deadlines.set((sid, Deadline::Resume), resume_by);
        self.tell_agents(RoomNews::Away { sid });
    }

    /// The media transport is gone. An ICE restart may bring it back.
    pub(crate) fn media_gone(
        &mut self,
        sid: ParticipantSid,
        reason: sfu::DisconnectReason,
        now: Instant,
    ) {
        use sfu::DisconnectReason as Reason;
        let media_timeout = seconds(self.config.media_timeout);
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        let reconnect = Farewell::Leave(Action::Reconnect);
        match reason {
            // The DTLS association is lost for good, which an ICE restart does not mend.
            Reason::DtlsFailed | Reason::Internal => {
                self.remove(sid, DisconnectReason::MediaFailure, reconnect, now);
            }
            Reason::ClosedByPeer if participant.session.is_none() => {
                self.remove(sid, DisconnectReason::SignalClose, Farewell::Silent, now);
            }
            Reason::ClosedByPeer | Reason::ConnectTimeout | Reason::ConsentLost => {
                participant.media_closed = reason == Reason::ClosedByPeer;
                let key = (sid, Deadline::Media);
                if self.deadlines.get(&key).is_none() {
                    self.deadlines.set(key, now + media_timeout);
                }
            }
        }
    }

    /// Media does not arrive at the participant, whatever the shard does. A new connection may help, and is tried at
    /// most once a minute: where it does not help, to be thrown out again and again is worse.
    pub(crate) fn unreachable(&mut self, sid: ParticipantSid, now: Instant) {
        let Some(participant) = self.participants.get(&sid) else {
            return;
        };
        for identity in self.renewed.due(now) {
            self.renewed.cancel(&identity);
        }
        if self.renewed.get(&participant.identity).is_some() {
            return tracing::warn!(participant = %sid, "media still does not arrive");
        }
        let until = now + RENEWAL_INTERVAL;
        self.renewed.set(participant.identity.clone(), until);
        let farewell = Farewell::Leave(Action::Reconnect);
        self.remove(sid, DisconnectReason::MediaFailure, farewell, now);
    }

    pub(crate) fn departed_until(&self) -> Option<Instant> {
        earliest([self.departed.front().map(|(until, _)| *until)])
    }

    pub(crate) fn forget_departed(&mut self, now: Instant) {
        while self
            .departed
            .front()
            .is_some_and(|(until, _)| *until <= now)
        {
            self.departed.pop_front();
        }
    }

    /// Ends the room: nobody is there any more, or nobody ever came.
    pub(crate) fn close_idle(&mut self, now: Instant) {
        debug_assert!(!self.has_own_participants());
        self.close(DisconnectReason::RoomClosed, Action::Disconnect, now);
    }

    /// Ends the room because the server stops. A full reconnect finds another server, or this one when it is back.
    pub(crate) fn shutdown(&mut self, now: Instant) {
        self.close(DisconnectReason::ServerShutdown, Action::Reconnect, now);
    }

    /// Ends the room. Nobody is told who else left: everybody does.
    pub(crate) fn close(&mut self, reason: DisconnectReason, action: Action, now: Instant) {
        if self.closed {
            return;
        }
        for (sid, participant) in std::mem::take(&mut self.participants) {
            self.dismiss(&participant, reason, Farewell::Leave(action));
            self.command(sfu::MemberCommand::Remove { peer: sid });
            self.abandon_calls(sid);
            self.end_forwards(&participant, reason);
            self.return_forwarded(&participant);
            if reason != DisconnectReason::ServerShutdown {
                // They come back to the same meeting, where the server starts anew.
                let returns = action == Action::Reconnect;
                self.tell_group_left(participant.identity.clone(), returns);
            }
            self.notify_left(&participant, reason, now);
        }
        for (_, join) in std::mem::take(&mut self.door) {
            let leave = leave(reason, action);
            self.tell(join.session, SessionMessage::Response(leave.into()));
            self.tell(join.session, SessionMessage::Close);
        }
        self.people = People::default();
        self.deadlines.clear();
        self.identities.clear();
        self.sessions.clear();
        self.tracks.clear();
        self.data_tracks.clear();
        self.departed.clear();
        self.command(sfu::RoomCommand::Close { room: self.sid });
        self.closed = true;
        self.notify_finished(reason, now);
        self.outputs.push_back(RoomOutput::Closed);
    }
}
