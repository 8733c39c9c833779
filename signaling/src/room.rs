//! One meeting. This file holds the state and routes; each group of verbs has its own file in `room/`: `admission` (at
//! the door), `join`, `principal`, `resume`, `leave`, `descriptions`, `negotiate`, `publish`, `backup`, `subscribe`,
//! `metadata`, `announce`, `presence`, `moderate`, `simulate`, `budget` and `cost` (the work that a message causes),
//! `rpc`, `webhook`, `agents`, `dynacast`, `data_tracks`, `forward_participant` (to other rooms) and
//! `forwarded_participants` (from other rooms) and `encryption`.

mod admission;
mod agents;
mod announce;
mod backup;
mod budget;
mod cost;
mod data_tracks;
mod descriptions;
mod dynacast;
mod encryption;
mod forward_participant;
mod forwarded_participants;
mod join;
mod leave;
mod metadata;
mod moderate;
mod negotiate;
mod presence;
mod principal;
mod publish;
mod resume;
mod rpc;
mod simulate;
mod subscribe;
mod webhook;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{
    DataTrackSid, ParticipantIdentity, ParticipantSid, RoomName, RoomSid, TrackSid,
    livekit::{
        self, DisconnectReason, ParticipantInfo, leave_request::Action, signal_request,
        signal_response,
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    announcements::News,
    api::{ApiCall, Config, Join, Leg, Response, RoomInput, RoomOutput, SessionId, SessionMessage},
    budget::Ledger,
    clock::{Clock, earliest, seconds},
    deadlines::{Deadline, Deadlines},
    encryption::Encryption,
    farewell::Farewell,
    participant::Participant,
    people::People,
    revocations::Revocations,
    rpc::Call,
    speakers::Speakers,
};

/// The most messages kept for a participant without a signal connection. Only moderators cause them.
const MAX_MISSED: usize = 256;

/// The tag of a room (`CreateRoom`, or the room configuration of a token) with the number of voices that are forwarded.
const AUDIO_TOP_N: &str = "audio_top_n";

/// One meeting: its participants, their tracks and their subscriptions.
pub struct Room {
    pub(crate) sid: RoomSid,
    pub(crate) name: RoomName,
    pub(crate) metadata: String,
    pub(crate) empty_timeout: u32,
    pub(crate) departure_timeout: u32,
    pub(crate) max_participants: u32,
    pub(crate) config: Arc<Config>,
    pub(crate) encryption: Encryption,
    pub(crate) clock: Clock,
    pub(crate) created_at: Duration,
    pub(crate) rng: StdRng,
    /// The trailer of frames that the server injects, by which clients tell them from encrypted ones.
    pub(crate) sif_trailer: Vec<u8>,
    pub(crate) participants: BTreeMap<ParticipantSid, Participant>,
    /// The participants, counted and by person.
    pub(crate) people: People,
    pub(crate) identities: BTreeMap<ParticipantIdentity, ParticipantSid>,
    pub(crate) sessions: BTreeMap<SessionId, ParticipantSid>,
    /// The participants that are forwarded to other rooms, by their sids there.
    pub(crate) forwarded: BTreeMap<ParticipantSid, ParticipantSid>,
    /// The deadlines of participants.
    pub(crate) deadlines: Deadlines<(ParticipantSid, Deadline)>,
    /// Joins that wait at the door because their principal owes something, by principal; and until when they wait.
    pub(crate) door: BTreeMap<ParticipantIdentity, Box<Join>>,
    pub(crate) door_opens: Deadlines<ParticipantIdentity>,
    /// Tokens that were revoked.
    pub(crate) revoked: Revocations,
    /// Published tracks and their publishers.
    pub(crate) tracks: BTreeMap<TrackSid, ParticipantSid>,
    /// Published data tracks and their publishers.
    pub(crate) data_tracks: BTreeMap<DataTrackSid, ParticipantSid>,
    /// Participants that left lately: a client that resumes may not have heard of it.
    pub(crate) departed: VecDeque<(Instant, ParticipantInfo)>,
    pub(crate) speakers: Speakers,
    /// Participants that were told to connect anew because media did not arrive, and until when that is remembered.
    pub(crate) renewed: Deadlines<ParticipantIdentity>,
    /// Participants that were told to come back over another protocol, and until when that is remembered.
    pub(crate) switched: BTreeMap<ParticipantIdentity, (livekit::CandidateProtocol, Instant)>,
    /// Number of voices that are forwarded, where the room has its own; 0: all.
    pub(crate) audio_top_n: Option<usize>,
    /// Calls of participants' methods that wait for an answer, by participant and the id of the request.
    pub(crate) calls: BTreeMap<(ParticipantSid, String), Call>,
    pub(crate) calls_due: Deadlines<(ParticipantSid, String)>,
    /// The announcements that are due.
    pub(crate) news: News,
    /// The account of each principal.
    pub(crate) ledger: Ledger,
    /// Principals that gave up before they were there, as the application was told, and until when that is remembered.
    pub(crate) given_up: Deadlines<ParticipantIdentity>,
    /// `num_participants` and `active_recording` as everybody knows them.
    pub(crate) announced: (u32, bool),
    pub(crate) close_at: Option<Instant>,
    pub(crate) closed: bool,
    pub(crate) outputs: VecDeque<RoomOutput>,
}

impl Room {
    /// An empty room. `settings` are those of the token or API call that opens the room (they win over `config`);
    /// `seed` is the seed of its random ids; `unix_now` (time since 1970) and `now` name the same moment.
    pub fn new(
        name: RoomName,
        settings: Option<&livekit::RoomConfiguration>,
        config: Arc<Config>,
        seed: [u8; 32],
        unix_now: Duration,
        now: Instant,
    ) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let or = |setting: u32, default| if setting == 0 { default } else { setting };
        let settings = settings.cloned().unwrap_or_default();
        // Its owner has checked the settings. Where it has not, nobody is in by mistake.
        let encryption = Encryption::of(Some(&settings)).unwrap_or(Encryption::Mls);
        let empty_timeout = or(settings.empty_timeout, config.empty_timeout);
        let mut room = Self {
            sid: RoomSid::random(&mut rng),
            name,
            metadata: settings.metadata,
            empty_timeout,
            departure_timeout: or(settings.departure_timeout, config.departure_timeout),
            max_participants: or(settings.max_participants, config.max_participants),
            ledger: Ledger::new(config.clone(), now),
            encryption,
            config,
            clock: Clock::new(unix_now, now),
            created_at: unix_now,
            sif_trailer: rng.random::<[u8; 16]>().to_vec(),
            rng,
            participants: BTreeMap::new(),
            people: People::default(),
            identities: BTreeMap::new(),
            sessions: BTreeMap::new(),
            forwarded: BTreeMap::new(),
            deadlines: Deadlines::default(),
            door: BTreeMap::new(),
            door_opens: Deadlines::default(),
            revoked: Revocations::default(),
            tracks: BTreeMap::new(),
            data_tracks: BTreeMap::new(),
            departed: VecDeque::new(),
            speakers: Speakers::default(),
            renewed: Deadlines::default(),
            switched: BTreeMap::new(),
            audio_top_n: settings
                .tags
                .get(AUDIO_TOP_N)
                .and_then(|number| number.parse().ok()),
            calls: BTreeMap::new(),
            calls_due: Deadlines::default(),
            news: News::default(),
            given_up: Deadlines::default(),
            announced: (0, false),
            close_at: Some(now + seconds(empty_timeout)),
            closed: false,
            outputs: VecDeque::new(),
        };
        room.notify_started(settings.agents, now);
        room
    }

    /// How participants encrypt for each other.
    pub fn encryption(&self) -> Encryption {
        self.encryption
    }

    /// The room's sid.
    pub fn sid(&self) -> RoomSid {
        self.sid
    }

    /// Takes one input.
    pub fn handle(&mut self, input: RoomInput, now: Instant) {
        self.route(input, now);
        self.tell_news(now);
        debug_assert!(self.participants.len() > 8 || self.is_counted_well());
    }

    fn route(&mut self, input: RoomInput, now: Instant) {
        match input {
            RoomInput::Join(join) if self.closed => {
                self.outputs.push_back(RoomOutput::Redirect(join))
            }
            RoomInput::Join(join) => self.arrive(join, now),
            RoomInput::Request { session, request } => {
                if let Some(&sid) = self.sessions.get(&session) {
                    self.take_request(sid, *request, now);
                }
            }
            RoomInput::SessionGone { session, cause } => self.session_gone(session, cause, now),
            RoomInput::Media { leg, event } => self.media_event(leg, event, now),
            RoomInput::Api {
                id,
                call: ApiCall::PerformRpc(request),
            } => self.perform_rpc(id, *request, now),
            RoomInput::Api {
                id,
                call:
                    ApiCall::ForwardParticipant {
                        identity,
                        destination,
                    },
            } => self.forward_participant(id, &identity, destination),
            RoomInput::Api { id, call } => {
                // The doing of a moderator is charged to nobody.
                self.news.by_moderator = true;
                let reply = self.api(call, now);
                self.news.by_moderator = false;
                self.outputs.push_back(RoomOutput::ApiReply { id, reply });
            }
            RoomInput::FromRoom {
                room,
                shard,
                message,
            } => self.room_message(room, shard, message, now),
            RoomInput::RoomGone { room } => self.room_gone(room, now),
            RoomInput::Shutdown => self.shutdown(now),
        }
    }

    #[allow(deprecated)] // `update_layers` still exists.
    pub(crate) fn request(
        &mut self,
        sid: ParticipantSid,
        request: signal_request::Message,
        now: Instant,
    ) {
        use signal_request::Message as M;
        match request {
            M::Offer(offer) => self.offer(sid, offer, now),
            M::Answer(answer) => self.client_answers(sid, answer, now),
            M::Trickle(trickle) => self.trickle(sid, &trickle, now),
            M::AddTrack(request) => self.add_track(sid, request),
            M::Mute(mute) => self.mute_own(sid, &mute),
            M::UpdateAudioTrack(update) => self.update_audio_track(sid, update),
            M::UpdateVideoTrack(update) => self.update_video_track(sid, &update),
            M::Subscription(update) => self.update_subscription(sid, &update),
            M::TrackSetting(settings) => self.track_setting(sid, &settings),
            M::SubscriptionPermission(permission) => self.subscription_permission(sid, permission),
            M::UpdateMetadata(update) => self.update_metadata(sid, update, now),
            M::SyncState(state) => self.sync_state(sid, &state, now),
            M::Leave(_) => self.client_leaves(sid, now),
            M::Simulate(scenario) => self.simulate(sid, &scenario, now),
            M::PublishDataTrackRequest(request) => self.publish_data_track(sid, request),
            M::UnpublishDataTrackRequest(request) => self.unpublish_data_track(sid, request),
            M::UpdateDataSubscription(update) => self.update_data_subscription(sid, &update),
            M::StoreDataBlobRequest(request) => self.refuse_blob(sid, request.request_id),
            M::GetDataBlobRequest(request) => self.refuse_blob(sid, request.request_id),
            // `update_layers` is deprecated; pings are the session's.
            M::UpdateLayers(_) | M::Ping(_) | M::PingReq(_) => {}
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        // Who comes back has given up an offer that waits, and must not be late where both are due.
        self.open_door(now);
        for (sid, deadline) in self.deadlines.due(now) {
            // What was done for another one may have cancelled this one, or put it off.
            if self.deadlines.expire(&(sid, deadline), now) {
                self.deadline_came(sid, deadline, now);
            }
        }
        self.forget_departed(now);
        self.end_simulated_speech(now);
        self.expire_calls(now);
        self.tell_news(now);
        if self.ends_at().is_some_and(|at| at <= now) {
            self.close_idle(now);
        }
    }

    fn deadline_came(&mut self, sid: ParticipantSid, deadline: Deadline, now: Instant) {
        use DisconnectReason as Reason;
        let leave = Farewell::Leave;
        let (reason, farewell) = match deadline {
            Deadline::Description => return self.read_descriptions(sid, now),
            Deadline::Request => return self.resume_waiting(sid, now),
            Deadline::Resume => (Reason::SignalClose, Farewell::Silent),
            Deadline::Connect => (Reason::JoinFailure, leave(Action::Disconnect)),
            Deadline::Media | Deadline::Answer => {
                (Reason::ConnectionTimeout, leave(Action::Reconnect))
            }
        };
        self.remove(sid, reason, farewell, now);
    }

    /// Tokens that were revoked in an earlier room of this name are revoked in this one too.
    pub fn remember(&mut self, revoked: &Revocations) {
        self.revoked.extend(revoked);
    }

    /// The tokens that are revoked in this room.
    pub fn revocations(&self) -> &Revocations {
        &self.revoked
    }

    /// When [`Room::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        earliest([
            self.deadlines.next(),
            self.ends_at(),
            self.door_opens.next(),
            self.speakers.simulated.next(),
            self.departed_until(),
            self.calls_due.next(),
            self.news_until(),
        ])
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<RoomOutput> {
        self.outputs.pop_front()
    }

    pub(crate) fn command(&mut self, command: impl Into<sfu::Command>) {
        let (leg, command) = (Leg::HOME, command.into());
        self.outputs.push_back(RoomOutput::ToMedia { leg, command });
    }

    pub(crate) fn tell(&mut self, session: SessionId, message: SessionMessage) {
        self.outputs
            .push_back(RoomOutput::ToSession { session, message });
    }

    /// Sends to one participant. Without a signal connection, a message that a resume does not bring anyway is kept for
    /// the participant.
    pub(crate) fn send(&mut self, to: ParticipantSid, response: impl Into<Response>) {
        let Some(participant) = self.participants.get_mut(&to) else {
            return;
        };
        let response = response.into();
        match participant.session {
            Some(session) => self.tell(session, SessionMessage::Response(response)),
            // A forwarded participant does not come back for messages.
            None if participant.forwarded_from.is_some() => {}
            None if outlives_connection(&response) => {
                keep_missed(&mut participant.missed, response)
            }
            None => {}
        }
    }

    /// Sends to everybody with a signal connection, except one.
    pub(crate) fn broadcast(
        &mut self,
        response: impl Into<Response>,
        except: Option<ParticipantSid>,
    ) {
        let response = response.into();
        let sessions = self
            .sessions
            .iter()
            .filter(|(_, sid)| Some(**sid) != except);
        self.outputs
            .extend(sessions.map(|(&session, _)| RoomOutput::ToSession {
                session,
                message: SessionMessage::Response(response.clone()),
            }));
    }
}

/// Keeps a message; of messages about the same state only the newest.
fn keep_missed(missed: &mut Vec<Response>, response: Response) {
    let subject = response.subject();
    let is_same = |known: &&mut Response| subject.is_some() && known.subject() == subject;
    if let Some(known) = missed.iter_mut().find(is_same) {
        *known = response;
    } else if missed.len() < MAX_MISSED {
        missed.push(response);
    }
}

/// Whether a client that lost its connection must still hear this. `reconnect` brings the state of everybody;
/// negotiation starts anew with the client's offer and with ours.
fn outlives_connection(response: &Response) -> bool {
    use signal_response::Message as M;
    matches!(
        response.message(),
        Some(
            M::Mute(_)
                | M::TrackPublished(_)
                | M::TrackUnpublished(_)
                | M::RequestResponse(_)
                | M::TrackSubscribed(_)
                | M::SubscriptionPermissionUpdate(_)
                | M::PublishDataTrackResponse(_)
                | M::UnpublishDataTrackResponse(_)
        )
    )
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // The start of the virtual clock is a real instant.
mod tests {
    use super::*;
    use livekit::{AddTrackRequest, ConnectionSettings, JoinRequest, TrackType};
    use protocol::token::Grant;

    fn media(event: sfu::Event) -> RoomInput {
        let leg = Leg::HOME;
        RoomInput::Media { leg, event }
    }

    fn join(room: &mut Room, session: u64, identity: &str, now: Instant) -> ParticipantSid {
        let settings = ConnectionSettings {
            auto_subscribe: true,
            ..Default::default()
        };
        let request = JoinRequest {
            connection_settings: Some(settings),
            ..Default::default()
        };
        let grant = Grant {
            identity: identity.to_owned(),
            ..Grant::default()
        };
        let join = Join {
            session: SessionId(session),
            grant,
            request,
            two_connections: false,
            mls: false,
        };
        room.handle(RoomInput::Join(Box::new(join)), now);
        let peer = room.sessions[&SessionId(session)];
        room.handle(media(sfu::Event::Connected { peer }), now);
        peer
    }

    #[test]
    fn who_comes_and_goes_leaves_nothing_behind() {
        let (config, mut now) = (Arc::new(Config::default()), Instant::now());
        let mut room = Room::new("R".into(), None, config, [1; 32], Duration::ZERO, now);
        let listener = join(&mut room, 0, "listener", now);
        for session in 1..100 {
            let peer = join(&mut room, session, &format!("speaker {session}"), now);
            let request = AddTrackRequest {
                cid: "mic".into(),
                r#type: TrackType::Audio.into(),
                ..Default::default()
            };
            let request = Box::new(signal_request::Message::AddTrack(request));
            room.handle(
                RoomInput::Request {
                    session: SessionId(session),
                    request,
                },
                now,
            );
            let track = room.participants[&peer].tracks[0].sid;
            let mid = "3".to_owned();
            let codec = sfu::TrackCodec {
                mime_type: "audio/opus".to_owned(),
                ..Default::default()
            };
            let bound = sfu::Event::TrackBound {
                peer,
                track,
                mid,
                codec,
                layers: Vec::new(),
            };
            room.handle(media(bound), now);
            // Received once it is announced.
            now += Duration::from_millis(100);
            room.handle_timeout(now);
            let speakers = vec![sfu::Speaker { peer, level: 1.0 }];
            room.handle(
                media(sfu::Event::SpeakersChanged {
                    room: room.sid,
                    speakers,
                }),
                now,
            );
            assert!(room.participants[&listener].subscriptions[&track].active);
            let leave = Box::new(signal_request::Message::Leave(Default::default()));
            room.handle(
                RoomInput::Request {
                    session: SessionId(session),
                    request: leave,
                },
                now,
            );
        }
        assert_eq!(
            (
                room.participants.len(),
                room.identities.len(),
                room.sessions.len()
            ),
            (1, 1, 1)
        );
        assert!(room.tracks.is_empty() && room.participants[&listener].subscriptions.is_empty());
        assert!(!room.speakers.is_anybody_speaking());
        assert_eq!(room.departed.len(), 99);
        room.handle_timeout(now + seconds(60));
        assert_eq!(room.departed.len(), 0);
    }

    #[test]
    fn the_tag_of_a_room_says_how_many_voices_are_forwarded() {
        let (config, now) = (Arc::new(Config::default()), Instant::now());
        for (tag, expected) in [
            ("0", Some(0)),
            ("12", Some(12)),
            ("all", None),
            ("-1", None),
        ] {
            let settings = livekit::RoomConfiguration {
                tags: [(AUDIO_TOP_N.to_owned(), tag.to_owned())].into(),
                ..Default::default()
            };
            let (name, config) = ("R".into(), config.clone());
            let seed = [1; 32];
            let mut room = Room::new(name, Some(&settings), config, seed, Duration::ZERO, now);
            (0..2).for_each(|session| _ = join(&mut room, session, &session.to_string(), now));
            let limit = |output: &RoomOutput| match output {
                RoomOutput::ToMedia {
                    command: sfu::Command::Room(sfu::RoomCommand::SetAudioTopN { limit, .. }),
                    ..
                } => Some(*limit),
                _ => None,
            };
            let limits: Vec<_> = room.outputs.iter().filter_map(limit).collect();
            assert_eq!(limits, expected.into_iter().collect::<Vec<_>>(), "{tag}");
        }
    }
}
