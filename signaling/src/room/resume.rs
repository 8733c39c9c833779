//! The resume: a client comes back to its participant, which is still there.

use std::time::Instant;

use protocol::{
    ParticipantSid, TrackSid,
    livekit::{
        DisconnectReason, ParticipantInfo, ParticipantUpdate, ReconnectResponse, RoomUpdate,
        SyncState, leave_request::Action, signal_response::Message,
    },
};

use crate::{
    api::{Join, Response, SessionMessage},
    deadlines::Deadline,
    farewell::Farewell,
    participant::Participant,
    room::Room,
    room_news::RoomNews,
};

/// The most publishers of which a client that comes back may say which data packets it got.
const MAX_PUBLISHERS: usize = 5000;

/// The number of the last reliable data packet that arrived, as a client that comes back is told: the first, so that it
/// repeats all others that it still holds. For zero npm `livekit-client` repeats nothing, not even packets that it held
/// back while it was away. Packets that have arrived are dropped by their number (`sfu`).
const REPEAT_ALL: u32 = 1;

impl Room {
    /// Lets a client resume: `reconnect` first, then the changes of the meantime. Media goes on all the time; the
    /// client's next offer restarts ICE, and ours that of a second PeerConnection.
    pub(crate) fn resume(&mut self, join: Join, now: Instant) {
        let session = join.session;
        let Some(sid) = self.resumable(&join) else {
            return self.send_away(session);
        };
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        let cut = participant
            .cut_on_resume
            .take()
            .filter(|cut| cut.until > now);
        if cut.is_some_and(|cut| cut.silently) {
            return self.tell(session, SessionMessage::Close);
        }
        let old = participant.session.replace(session);
        participant.forget_negotiation();
        participant.resumed = true;
        participant.replay_due = true;
        let grant = Box::new(participant.grant.clone());
        let missed = std::mem::take(&mut participant.missed);
        for deadline in [Deadline::Resume, Deadline::Description] {
            self.deadlines.cancel(&(sid, deadline));
        }
        if let Some(old) = old {
            self.sessions.remove(&old);
            self.tell(old, SessionMessage::Close);
        }
        self.tell_departures();
        self.sessions.insert(session, sid);
        self.tell_agents(RoomNews::Back { sid });
        self.tell(session, SessionMessage::Grant(grant));
        self.welcome_back(sid, now);
        for response in missed {
            self.send(sid, response);
        }
        self.offer_subscriber(sid, true);
        if cut.is_some() {
            self.tell(session, SessionMessage::Close);
            self.session_gone(session, crate::api::CloseCause::Room, now);
        }
    }

    fn resumable(&self, join: &Join) -> Option<ParticipantSid> {
        let sid = join.request.participant_sid.parse().ok()?;
        let participant = self.participants.get(&sid)?;
        // The sid proves nothing: others know it.
        let is_its_own = participant.identity == join.grant.identity()
            && participant.principal() == join.grant.principal();
        (is_its_own && participant.forwarded_from.is_none()).then_some(sid)
    }

    fn welcome_back(&mut self, sid: ParticipantSid, now: Instant) {
        let response = ReconnectResponse {
            ice_servers: self.ice_servers(sid, now),
            client_configuration: Some(self.client_configuration(sid)),
            server_info: Some(self.server_info()),
            last_message_seq: REPEAT_ALL,
        };
        self.send(sid, Message::Reconnect(response));
        // Clients remove participants by identity: the farewell of an identity that is back must not be repeated.
        let is_there = |info: &ParticipantInfo| {
            let there = self.identities.get(&info.identity.as_str().into());
            let there = there.and_then(|there| self.participants.get(there));
            there.is_some_and(|there| there.sid == sid || there.is_visible())
        };
        let departed = self.departed.iter().map(|(_, info)| info);
        let mut participants: Vec<_> = departed.filter(|info| !is_there(info)).cloned().collect();
        participants.extend(self.participants.get(&sid).map(Participant::info));
        participants.extend(self.visible_to(sid));
        let response = Response::from(Message::Update(ParticipantUpdate { participants }));
        let cost = self.welcome_cost(&response);
        self.send(sid, response);
        self.charge(sid, cost, now);
        self.send_known_data_handles(sid, now);
        let room = Some(self.info(now));
        self.send(sid, Message::RoomUpdate(RoomUpdate { room }));
        self.send_speakers(sid);
        self.send_quality(sid);
        self.send_wanted_layers(sid);
        self.send_audio_codecs(sid);
    }

    /// Takes the state as the client believes it, which it sends after `reconnect`. Where we cannot agree, the client
    /// starts anew.
    pub(crate) fn sync_state(&mut self, sid: ParticipantSid, state: &SyncState, now: Instant) {
        let Some(participant) = self.participants.get(&sid) else {
            return;
        };
        let known = |track: &str| {
            track
                .parse()
                .is_ok_and(|track| participant.track(track).is_some())
        };
        let published = state
            .publish_tracks
            .iter()
            .filter_map(|published| published.track.as_ref());
        if published
            .map(|track| track.sid.as_str())
            .any(|track| !known(track))
        {
            let farewell = Farewell::Leave(Action::Reconnect);
            return self.remove(sid, DisconnectReason::StateMismatch, farewell, now);
        }
        if let Some(participant) = self.participants.get_mut(&sid)
            && std::mem::take(&mut participant.replay_due)
        {
            let states = state.datachannel_receive_states.iter().take(MAX_PUBLISHERS);
            let received = states
                .filter_map(|state| Some((state.publisher_sid.parse().ok()?, state.last_seq)))
                .collect();
            self.command(sfu::DataCommand::Replay {
                peer: sid,
                received,
            });
        }
        if let Some(subscription) = &state.subscription {
            self.update_subscription(sid, subscription);
        }
        self.sync_data_tracks(sid, state);
        let disabled: Vec<TrackSid> = state
            .track_sids_disabled
            .iter()
            .filter_map(|sid| sid.parse().ok())
            .collect();
        for track in disabled {
            self.change_setting(sid, track, |setting| setting.disabled = true);
        }
    }
}
