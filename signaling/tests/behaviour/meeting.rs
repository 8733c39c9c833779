//! A room, its sessions and a stand-in for the media engine on one virtual clock.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{
    DataTrackSid, ParticipantSid, RoomSid, TrackSid,
    error::Error,
    livekit::{
        self, AddTrackRequest, ConnectionSettings, JoinRequest, SessionDescription,
        signal_request as request,
    },
    signal::{self, Encoding, Frame},
    token::{Grant, VideoGrant},
};
use sfu::{
    Command, DataCommand, DescriptionCommand, Event, MemberCommand, RoomCommand,
    SubscriptionCommand, TrackCommand,
};
use signaling::{
    ApiCall, ApiReply, CloseCause, Config, Join, Leg, Room, RoomInput, RoomMessage, RoomOutput,
    Session, SessionId, SessionOutput,
};

pub use protocol::livekit::{
    TrackSource, signal_request::Message as Ask, signal_response::Message as Told,
};

/// Since 1970, when a meeting starts.
pub const UNIX_START: Duration = Duration::from_secs(1_800_000_000);

/// The news of a participant are out by then.
pub const NEWS: Duration = Duration::from_millis(100);

/// A stand-in for `sfu::Shard`, not the media engine: it answers every offer, binds tracks whose cid stands in the
/// "SDP" (a list of words), and asks for negotiation when a subscription comes after the first offer.
#[derive(Default)]
pub struct FakeShard {
    pub peers: BTreeMap<ParticipantSid, FakePeer>,
    pub commands: Vec<Command>,
    pub room_closed: bool,
    /// It takes nobody who is forwarded.
    pub full: bool,
    /// It does not answer yet when somebody is forwarded.
    pub silent: bool,
    /// Who publishes which data tracks under which handles.
    pub data_tracks: BTreeMap<DataTrackSid, (ParticipantSid, u16)>,
    events: VecDeque<Event>,
}

#[derive(Default)]
pub struct FakePeer {
    pub tracks: Vec<sfu::PublishedTrack>,
    pub subscriptions: BTreeMap<TrackSid, sfu::TrackSetting>,
    pub offered: bool,
    /// Data tracks it gets, and under which handles.
    pub data: BTreeMap<DataTrackSid, u16>,
    /// Of a peer with a second PeerConnection.
    pub subscriber: Option<FakeSubscriber>,
    bound: BTreeSet<TrackSid>,
}

#[derive(Default)]
pub struct FakeSubscriber {
    pub primary: bool,
    /// Of the last offer.
    pub id: u32,
    /// The last offer is not answered.
    pub waits: bool,
    changed: bool,
}

impl FakeShard {
    fn handle(&mut self, command: Command) {
        self.commands.push(command.clone());
        if let Command::Member(MemberCommand::AddRelayed { peer, .. }) = command {
            let reason = "full".into();
            match (self.full, self.silent) {
                (true, _) => self
                    .events
                    .push_back(Event::NegotiationFailed { peer, reason }),
                (_, false) => self.events.push_back(Event::Connected { peer }),
                (false, true) => {}
            }
        }
        match command {
            Command::Member(MemberCommand::Add { peer, .. })
            | Command::Member(MemberCommand::AddRelayed { peer, .. }) => {
                assert!(
                    self.peers.insert(peer, FakePeer::default()).is_none(),
                    "a sid is used once"
                );
            }
            Command::Member(MemberCommand::AddSecondConnection { peer, primary }) => {
                let state = self.peers.get_mut(&peer).expect("after the peer");
                assert!(state.subscriptions.is_empty(), "before its subscriptions");
                state.subscriber = Some(FakeSubscriber {
                    primary,
                    ..Default::default()
                });
            }
            Command::Description(DescriptionCommand::OfferSubscriber { peer, .. }) => {
                self.offer_subscriber(peer)
            }
            Command::Description(DescriptionCommand::Answer { peer, id, .. }) => {
                let state = self.peers.get_mut(&peer).expect("answered by a peer");
                let subscriber = state.subscriber.as_mut().expect("offered");
                if !subscriber.waits || id != subscriber.id {
                    return;
                }
                subscriber.waits = false;
                if std::mem::take(&mut subscriber.changed) {
                    self.offer_subscriber(peer);
                }
            }
            Command::Member(MemberCommand::Remove { peer }) => {
                let gone = self
                    .peers
                    .remove(&peer)
                    .expect("only peers that exist are removed");
                for track in gone.tracks {
                    self.drop_track(track.sid);
                }
                self.drop_data_tracks(|_, publisher| publisher != peer);
            }
            Command::Description(DescriptionCommand::Offer {
                peer,
                id,
                description,
            }) => self.offer(peer, id, &description),
            Command::Track(TrackCommand::Publish { peer, track })
            | Command::Track(TrackCommand::PublishRelayed { peer, track, .. }) => {
                let tracks = &mut self
                    .peers
                    .get_mut(&peer)
                    .expect("published by a peer")
                    .tracks;
                match tracks.iter_mut().find(|known| known.sid == track.sid) {
                    Some(known) => *known = track,
                    None => tracks.push(track),
                }
            }
            Command::Track(TrackCommand::Unpublish { peer, track }) => {
                let tracks = &mut self
                    .peers
                    .get_mut(&peer)
                    .expect("unpublished by a peer")
                    .tracks;
                let is_backup = |of: sfu::BackupOf| of.track == track;
                tracks.retain(|t| t.sid != track && !t.backup_of.is_some_and(is_backup));
                self.drop_track(track);
            }
            Command::Subscription(SubscriptionCommand::Subscribe {
                peer,
                track,
                setting,
            }) => {
                let published = self
                    .peers
                    .values()
                    .flat_map(|peer| &peer.tracks)
                    .any(|other| other.sid == track);
                assert!(published, "only published tracks are subscribed to");
                let peer_state = self.peers.get_mut(&peer).expect("subscribed by a peer");
                assert!(
                    peer_state.subscriptions.insert(track, setting).is_none(),
                    "subscribed once"
                );
                self.negotiate(peer);
            }
            Command::Subscription(SubscriptionCommand::Unsubscribe { peer, track }) => {
                let peer_state = self.peers.get_mut(&peer).expect("unsubscribed by a peer");
                assert!(
                    peer_state.subscriptions.remove(&track).is_some(),
                    "unsubscribed once"
                );
                self.negotiate(peer);
            }
            Command::Subscription(SubscriptionCommand::SetSetting {
                peer,
                track,
                setting,
            }) => {
                let peer = self.peers.get_mut(&peer).expect("set by a peer");
                *peer
                    .subscriptions
                    .get_mut(&track)
                    .expect("set where subscribed") = setting;
            }
            Command::Data(DataCommand::Publish {
                peer,
                track,
                handle,
            }) => {
                let taken = self.data_tracks.insert(track, (peer, handle.get()));
                assert_eq!(taken, None, "published once");
            }
            Command::Data(DataCommand::Unpublish { peer, track }) => {
                assert_eq!(self.data_tracks[&track].0, peer, "its own");
                self.drop_data_tracks(|other, _| other != track);
            }
            Command::Data(DataCommand::Subscribe {
                peer,
                track,
                handle,
            }) => {
                assert_ne!(self.data_tracks[&track].0, peer, "another's");
                let data = &mut self.peers.get_mut(&peer).expect("a peer").data;
                let taken = data.values().any(|other| *other == handle.get());
                assert!(!taken && data.insert(track, handle.get()).is_none());
            }
            Command::Data(DataCommand::Unsubscribe { peer, track }) => {
                let data = &mut self.peers.get_mut(&peer).expect("a peer").data;
                data.remove(&track).expect("unsubscribed once");
            }
            Command::Room(RoomCommand::Close { .. }) => self.room_closed = true,
            _ => {}
        }
    }

    fn offer_subscriber(&mut self, peer: ParticipantSid) {
        let state = self.peers.get_mut(&peer).expect("offered to a peer");
        let subscriber = state.subscriber.as_mut().expect("which has two");
        subscriber.id += 1;
        subscriber.waits = true;
        let mids = state.subscriptions.keys().enumerate();
        self.events.push_back(Event::Offer {
            peer,
            id: subscriber.id,
            sdp: "offer".to_owned(),
            mid_to_track: mids.map(|(mid, track)| (mid.to_string(), *track)).collect(),
        });
    }

    fn negotiate(&mut self, peer: ParticipantSid) {
        let state = self.peers.get_mut(&peer);
        if let Some(subscriber) = state.and_then(|peer| peer.subscriber.as_mut()) {
            match (subscriber.id, subscriber.waits) {
                (0, _) => {}
                (_, true) => subscriber.changed = true,
                (_, false) => self.offer_subscriber(peer),
            }
            return;
        }
        if self.peers.get(&peer).is_some_and(|peer| peer.offered) {
            self.events.push_back(Event::NegotiationNeeded {
                peer,
                missing: Default::default(),
            });
        }
    }

    fn offer(&mut self, peer: ParticipantSid, id: u32, offer: &sfu::sdp::SessionDescription) {
        let Some(state) = self.peers.get_mut(&peer) else {
            return;
        };
        state.offered = true;
        let msids = offer.media.iter().filter_map(|media| media.msid.as_ref());
        let offered: Vec<&str> = msids.filter_map(|msid| msid.track.as_deref()).collect();
        for track in &state.tracks {
            let offered = track.cids.iter().any(|cid| offered.contains(&cid.as_str()));
            let (peer, track) = (peer, track.sid);
            if offered && state.bound.insert(track) {
                let mid = "7".to_owned();
                let codec = sfu::TrackCodec {
                    mime_type: "video/VP8".to_owned(),
                    ..Default::default()
                };
                self.events.push_back(Event::TrackBound {
                    peer,
                    track,
                    mid,
                    codec,
                    layers: Vec::new(),
                });
            } else if !offered && state.bound.remove(&track) {
                self.events.push_back(Event::TrackUnbound { peer, track });
            }
        }
        let mids = state.subscriptions.keys().enumerate();
        let mid_to_track = mids.map(|(mid, track)| (mid.to_string(), *track)).collect();
        let sdp = "answer".to_owned();
        self.events.push_back(Event::Answer {
            peer,
            id,
            sdp,
            mid_to_track,
            missing: Default::default(),
        });
    }

    fn drop_data_tracks(&mut self, stays: impl Fn(DataTrackSid, ParticipantSid) -> bool) {
        self.data_tracks
            .retain(|track, (publisher, _)| stays(*track, *publisher));
        for peer in self.peers.values_mut() {
            peer.data
                .retain(|track, _| self.data_tracks.contains_key(track));
        }
    }

    fn drop_track(&mut self, track: TrackSid) {
        for peer in self.peers.values_mut() {
            peer.subscriptions.remove(&track);
        }
    }
}

/// A client: what it heard, and how its connection ended.
pub struct Client {
    session: Session,
    pub heard: Vec<Told>,
    pub closed: Option<CloseCause>,
    pub signed: Vec<Grant>,
}

pub struct Meeting {
    pub room: Room,
    pub shard: FakeShard,
    pub clients: BTreeMap<SessionId, Client>,
    pub now: Instant,
    pub config: Arc<Config>,
    pub closed: bool,
    /// Webhook events, in order.
    pub events: Vec<livekit::WebhookEvent>,
    /// What those who send agents hear, in order.
    pub news: Vec<signaling::RoomNews>,
    pub redirected: Vec<Join>,
    /// What the room said to others.
    pub to_rooms: Vec<(RoomSid, RoomMessage)>,
    /// Who joins from now on speaks the older protocol.
    pub two_connections: bool,
    /// Id of the next connection.
    pub next_session: u64,
    api_reply: Option<Result<ApiReply, Error>>,
}

pub fn grant(identity: &str) -> Grant {
    let video = VideoGrant {
        room_join: true,
        room: "Room".into(),
        ..VideoGrant::default()
    };
    Grant {
        api_key: "key".into(),
        identity: identity.into(),
        name: format!("Name of {identity}"),
        video: Some(video),
        ..Grant::default()
    }
}

/// `v=0`, then the client's ids of the tracks that it sends; anything else is no SDP.
pub fn offer(id: u32, sdp: &str) -> SessionDescription {
    let section = |cid: &str| format!("\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=msid:- {cid}");
    let sdp = match sdp.strip_prefix("v=0") {
        Some(cids) => format!(
            "v=0{}",
            cids.split_ascii_whitespace()
                .map(section)
                .collect::<String>()
        ),
        None => sdp.to_owned(),
    };
    SessionDescription {
        r#type: "offer".into(),
        sdp,
        id,
        ..Default::default()
    }
}

pub fn join_request(sdp: &str) -> JoinRequest {
    JoinRequest {
        connection_settings: Some(ConnectionSettings {
            auto_subscribe: true,
            ..Default::default()
        }),
        publisher_offer: (!sdp.is_empty()).then(|| offer(1, sdp)),
        ..Default::default()
    }
}

pub fn camera(cid: &str) -> AddTrackRequest {
    AddTrackRequest {
        cid: cid.into(),
        r#type: livekit::TrackType::Video.into(),
        source: TrackSource::Camera.into(),
        ..Default::default()
    }
}

impl Meeting {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        Self::seeded(config, 7)
    }

    /// Rooms with different seeds have different sids.
    pub fn seeded(config: Config, seed: u8) -> Self {
        let (config, now) = (Arc::new(config), Instant::now());
        Self {
            room: Room::new(
                "Room".into(),
                None,
                config.clone(),
                [seed; 32],
                UNIX_START,
                now,
            ),
            shard: FakeShard::default(),
            clients: BTreeMap::new(),
            now,
            config,
            closed: false,
            events: Vec::new(),
            news: Vec::new(),
            redirected: Vec::new(),
            to_rooms: Vec::new(),
            next_session: 1,
            api_reply: None,
            two_connections: false,
        }
    }

    /// Opens a connection and lets everything settle.
    pub fn open(&mut self, grant: Grant, request: JoinRequest) -> SessionId {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let join = Join {
            session,
            grant,
            request,
            two_connections: self.two_connections,
            mls: false,
        };
        let state = Session::new(join, &self.config, UNIX_START, self.now);
        let client = Client {
            session: state,
            heard: Vec::new(),
            closed: None,
            signed: Vec::new(),
        };
        self.clients.insert(session, client);
        self.settle();
        session
    }

    /// Joins with an offer; the media is not connected yet.
    pub fn join(&mut self, identity: &str) -> SessionId {
        self.open(grant(identity), join_request("v=0"))
    }

    /// Joins and connects its media.
    pub fn enter(&mut self, identity: &str) -> SessionId {
        let session = self.join(identity);
        self.connect(session);
        session
    }

    /// Comes back to the participant of `old`.
    pub fn resume(&mut self, identity: &str, old: SessionId) -> SessionId {
        let participant_sid = self.sid(old).to_string();
        let request = JoinRequest {
            reconnect: true,
            participant_sid,
            ..join_request("")
        };
        self.open(grant(identity), request)
    }

    pub fn connect(&mut self, session: SessionId) {
        let peer = self.sid(session);
        self.media(Event::Connected { peer });
        self.advance(NEWS);
    }

    /// Announces a camera and offers it.
    pub fn publish(&mut self, session: SessionId, cid: &str) -> TrackSid {
        self.ask(session, Ask::AddTrack(camera(cid)));
        let track = self.published(session, cid).expect("track_published");
        self.ask(session, Ask::Offer(offer(2, &format!("v=0 {cid}"))));
        self.advance(NEWS);
        track
    }

    /// The track of the last `track_published` for `cid`.
    pub fn published(&self, session: SessionId, cid: &str) -> Option<TrackSid> {
        let mut answers = self.clients[&session].heard.iter().rev();
        answers.find_map(|told| match told {
            Told::TrackPublished(published) if published.cid == cid => {
                Some(published.track.as_ref().unwrap().sid.parse().unwrap())
            }
            _ => None,
        })
    }

    pub fn ask(&mut self, session: SessionId, message: request::Message) {
        self.ask_as(session, message, Encoding::Protobuf);
    }

    pub fn ask_as(&mut self, session: SessionId, message: request::Message, encoding: Encoding) {
        let request = livekit::SignalRequest {
            message: Some(message),
        };
        self.frame(session, signal::encode_request(&request, encoding));
    }

    pub fn frame(&mut self, session: SessionId, frame: Frame) {
        self.clients
            .get_mut(&session)
            .unwrap()
            .session
            .handle_frame(frame, self.now);
        self.settle();
    }

    /// The connection breaks without a word.
    pub fn cut(&mut self, session: SessionId) {
        self.clients
            .get_mut(&session)
            .unwrap()
            .session
            .handle_closed(self.now);
        self.settle();
    }

    pub fn media(&mut self, event: Event) {
        let leg = Leg::HOME;
        self.room.handle(RoomInput::Media { leg, event }, self.now);
        self.settle();
    }

    pub fn input(&mut self, input: RoomInput) {
        self.room.handle(input, self.now);
        self.settle();
    }

    pub fn shutdown(&mut self) {
        self.room.handle(RoomInput::Shutdown, self.now);
        self.settle();
    }

    pub fn api(&mut self, call: ApiCall) -> Result<ApiReply, Error> {
        self.room.handle(RoomInput::Api { id: 9, call }, self.now);
        self.settle();
        self.api_reply.take().expect("answered in the same turn")
    }

    /// A call that may be answered later, by [`Meeting::answer`].
    pub fn call(&mut self, call: ApiCall) {
        self.room.handle(RoomInput::Api { id: 9, call }, self.now);
        self.settle();
    }

    pub fn answer(&mut self) -> Option<Result<ApiReply, Error>> {
        self.api_reply.take()
    }

    pub fn participants(&mut self) -> Vec<livekit::ParticipantInfo> {
        match self.api(ApiCall::ListParticipants) {
            Ok(ApiReply::Participants(participants)) => participants,
            other => panic!("{other:?}"),
        }
    }

    /// Lets time pass, waking everybody when they asked to be.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let sessions = self
                .clients
                .values()
                .filter_map(|client| client.session.poll_timeout());
            let Some(next) = sessions
                .chain(self.room.poll_timeout())
                .min()
                .filter(|next| *next <= end)
            else {
                break;
            };
            self.now = self.now.max(next);
            for client in self.clients.values_mut() {
                client.session.handle_timeout(self.now);
            }
            self.room.handle_timeout(self.now);
            self.settle();
            let again = self.room.poll_timeout();
            assert!(
                again.is_none_or(|again| again > self.now),
                "a timer that stays due never sleeps"
            );
        }
        self.now = end;
    }

    /// Carries messages until nobody has any.
    pub fn settle(&mut self) {
        loop {
            let mut idle = true;
            let sessions: Vec<_> = self.clients.keys().copied().collect();
            for session in sessions {
                while let Some(output) = self
                    .clients
                    .get_mut(&session)
                    .unwrap()
                    .session
                    .poll_output()
                {
                    idle = false;
                    self.session_output(session, output);
                }
            }
            while let Some(output) = self.room.poll_output() {
                idle = false;
                self.room_output(output);
            }
            if let Some(event) = self.shard.events.pop_front() {
                idle = false;
                let leg = Leg::HOME;
                self.room.handle(RoomInput::Media { leg, event }, self.now);
            }
            if idle {
                return;
            }
        }
    }

    fn session_output(&mut self, session: SessionId, output: SessionOutput) {
        let client = self.clients.get_mut(&session).unwrap();
        assert_eq!(client.closed, None, "nothing follows Close");
        match output {
            SessionOutput::Send(frame) => {
                let response = signal::decode_response(&frame).expect("we write what we can read");
                client
                    .heard
                    .push(response.message.expect("no empty message"));
            }
            SessionOutput::ToRoom(input) => self.room.handle(input, self.now),
            SessionOutput::SignToken(grant) => {
                client
                    .session
                    .handle_token(format!("token {}", client.signed.len()), self.now);
                client.signed.push(*grant);
            }
            SessionOutput::Close(cause) => client.closed = Some(cause),
        }
    }

    fn room_output(&mut self, output: RoomOutput) {
        match output {
            RoomOutput::ToSession { session, message } => {
                self.clients
                    .get_mut(&session)
                    .unwrap()
                    .session
                    .handle_message(message, self.now);
            }
            RoomOutput::ToMedia { command, .. } => self.shard.handle(command),
            RoomOutput::ApiReply { id: 9, reply } => self.api_reply = Some(reply),
            RoomOutput::ApiReply { .. } => panic!("another call's id"),
            RoomOutput::Webhook(event) => self.events.push(*event),
            RoomOutput::Agents(news) => self.news.push(news),
            // What comes of it is in `encryption`.
            RoomOutput::Group(_) => {}
            RoomOutput::Closed => self.closed = true,
            RoomOutput::Redirect(join) => self.redirected.push(*join),
            RoomOutput::ToRoom { room, message } => self.to_rooms.push((room, message)),
        }
    }

    /// The participant a session joined as.
    pub fn sid(&self, session: SessionId) -> ParticipantSid {
        let join = self.clients[&session]
            .heard
            .iter()
            .find_map(|told| match told {
                Told::Join(join) => Some(join),
                _ => None,
            });
        join.expect("joined")
            .participant
            .as_ref()
            .unwrap()
            .sid
            .parse()
            .unwrap()
    }

    pub fn join_response(&self, session: SessionId) -> &livekit::JoinResponse {
        match &self.clients[&session].heard[0] {
            Told::Join(join) => join,
            other => panic!("first came {other:?}"),
        }
    }

    /// All a client heard so far, and forgets it.
    pub fn take_heard(&mut self, session: SessionId) -> Vec<Told> {
        std::mem::take(&mut self.clients.get_mut(&session).unwrap().heard)
    }

    /// What a client heard since `start` (the length of `heard` then).
    pub fn since(&self, session: SessionId, start: usize) -> &[Told] {
        &self.clients[&session].heard[start..]
    }

    pub fn heard(&self, session: SessionId) -> usize {
        self.clients[&session].heard.len()
    }

    pub fn leave_of(
        &self,
        session: SessionId,
    ) -> Option<(livekit::DisconnectReason, livekit::leave_request::Action)> {
        self.clients[&session]
            .heard
            .iter()
            .find_map(|told| match told {
                Told::Leave(leave) => Some((leave.reason(), leave.action())),
                _ => None,
            })
    }

    pub fn subscriptions(&self, session: SessionId) -> Vec<TrackSid> {
        self.shard.peers[&self.sid(session)]
            .subscriptions
            .keys()
            .copied()
            .collect()
    }
}

/// All participants in the updates of a conversation, in order.
pub fn updates(heard: &[Told]) -> Vec<livekit::ParticipantInfo> {
    let updates = heard.iter().filter_map(|told| match told {
        Told::Update(update) => Some(update.participants.clone()),
        _ => None,
    });
    updates.flatten().collect()
}

/// Where in a conversation the first message of a kind is.
pub fn position(heard: &[Told], kind: impl Fn(&Told) -> bool) -> Option<usize> {
    heard.iter().position(kind)
}
