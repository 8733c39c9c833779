//! A person in a meeting: a native client, its sources, its listener, and its dialling.

mod listen;
mod speak;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use client::{
    DataChannel, Event, Options, Participant, Reconnect, TrackSetting, Transmit, media::Layer,
};
use protocol::{
    RoomName, TrackSid,
    livekit::{DisconnectReason, JoinRequest, signal_response::Message},
    signal::{self, Encoding, Frame},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use speak::publish;

use crate::{
    listener::Listener,
    media::Kind,
    scenario::Cast,
    server::{Caller, WireId},
};

/// The waits before each attempt to dial, milliseconds: those of LiveKit's clients.
const RETRY_DELAYS: [u64; 10] = [0, 300, 1200, 2700, 4800, 7000, 7000, 7000, 7000, 7000];

/// The number of attempts to resume before the session is given up for a new one.
const RESUME_ATTEMPTS: usize = 3;

/// The least time that a WebSocket may take to open, and then to bring its first message.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// The time from one data message to the next.
const DATA_EVERY: Duration = Duration::from_millis(400);

/// The distance from the port of the first peer connection to that of the second.
pub const SECOND: u16 = 20_000;

/// Something that a person does to the world.
#[derive(Debug)]
pub enum Act {
    /// Send a datagram.
    Send(Transmit),
    /// Open a WebSocket.
    Dial {
        wire: WireId,
        parameter: String,
        token: Option<String>,
    },
    /// Send a frame.
    Frame(WireId, Frame),
    /// Close a WebSocket.
    HangUp(WireId),
}

/// The state of the person's WebSocket.
#[derive(Debug)]
enum Link {
    Closed,
    Dialing {
        at: Instant,
        parameter: String,
    },
    Opening {
        wire: WireId,
        by: Instant,
    },
    Open {
        wire: WireId,
        respond_by: Option<Instant>,
    },
}

/// Something that a person publishes.
#[derive(Debug)]
pub struct Source {
    /// Id of the source, unique in a run.
    pub id: u32,
    pub kind: Kind,
    pub muted: bool,
    cid: String,
    /// The server takes the source.
    live: bool,
    next: Instant,
    count: u32,
    /// Layers whose next picture is a key frame.
    keys: Vec<Option<Layer>>,
    /// When the source last sent, and since when it has not sent as it should.
    sent: Option<Instant>,
}

/// One person, with everything that belongs to them in the run.
pub struct Person {
    pub index: usize,
    pub identity: String,
    pub room: RoomName,
    /// The person wants to be in the room.
    pub present: bool,
    pub sources: Vec<Source>,
    pub participant: Option<Participant>,
    pub listener: Listener,
    pub local: SocketAddr,
    /// The token that the server gave the person; the page gets one of its own when it is loaded.
    token: Option<String>,
    two_connections: bool,
    /// Somebody threw the person out, or tried.
    pub unwelcome: bool,
    /// The person's metadata, as the server said last.
    pub metadata: Option<String>,
    /// Sources that the server mutes, and since when: the client may not know.
    pub muting: Vec<(u32, Instant)>,
    /// The person's wishes for pictures, by source.
    pub wishes: BTreeMap<u32, TrackSetting>,
    /// Number of data messages sent in this life, and number of the life.
    pub data_sent: (u32, u32),
    pub talkative: bool,
    link: Link,
    attempt: usize,
    /// The server has taken the person in this life.
    joined: bool,
    pub data_open: bool,
    data_next: Instant,
    rng: StdRng,
    start: Instant,
    next_wire: WireId,
    options: Options,
    acts: VecDeque<Act>,
    /// Lines for the log.
    pub notes: Vec<String>,
    /// Things that must not happen, and did.
    pub complaints: Vec<String>,
    /// Times in which the person sent no sound of a source, by source.
    pub pauses: Vec<(u32, Instant, Instant)>,
    /// Every source that the person ever had.
    ids: Vec<u32>,
    /// Pictures wished for that were set for the present subscription.
    wished: Vec<TrackSid>,
}

impl Person {
    pub fn new(index: usize, room: RoomName, cast: &Cast, seed: u64, start: Instant) -> Self {
        let mut options = Options {
            offer_with_join: cast.offer_with_join,
            ..Options::default()
        };
        options.peer.tcp = cast.tcp;
        Self {
            index,
            identity: format!("person-{index}"),
            room,
            present: false,
            sources: Vec::new(),
            participant: None,
            listener: Listener::default(),
            local: SocketAddr::from(([10, 0, 0, index as u8 + 1], 20_000)),
            token: None,
            two_connections: cast.two_connections,
            unwelcome: false,
            metadata: None,
            muting: Vec::new(),
            wishes: BTreeMap::new(),
            data_sent: (0, 0),
            talkative: true,
            link: Link::Closed,
            attempt: 0,
            joined: false,
            data_open: false,
            data_next: start,
            rng: StdRng::seed_from_u64(seed),
            start,
            next_wire: index as WireId * 1_000_000,
            options,
            acts: VecDeque::new(),
            notes: Vec::new(),
            complaints: Vec::new(),
            pauses: Vec::new(),
            ids: Vec::new(),
            wished: Vec::new(),
        }
    }

    /// The caller for a WebSocket of this person.
    pub fn caller(&self, token: Option<String>, request: JoinRequest) -> Caller {
        Caller {
            identity: self.identity.clone(),
            room: self.room.clone(),
            token,
            request,
            two_connections: self.two_connections,
        }
    }

    /// The address on which the person receives, with two peer connections.
    pub fn second(&self) -> Option<SocketAddr> {
        self.options.subscriber
    }

    /// Comes into the room, from a new socket.
    pub fn join(&mut self, now: Instant) {
        self.present = true;
        self.local.set_port(self.local.port() + 1);
        self.token = None;
        let second = SocketAddr::new(self.local.ip(), self.local.port() + SECOND);
        self.options.subscriber = self.two_connections.then_some(second);
        let mut participant = match Participant::new(self.options.clone(), self.local, now) {
            Ok(participant) => participant,
            Err(error) => return self.complaints.push(format!("cannot join: {error}")),
        };
        for source in &mut self.sources {
            source.live = false;
            source.cid = participant.publish(publish(self.index, source), now);
        }
        self.participant = Some(participant);
        self.begin_life(now);
        self.attempt = 0;
        self.dial(now);
    }

    /// Leaves with a goodbye.
    pub fn leave(&mut self, now: Instant) {
        self.present = false;
        if let Some(participant) = &mut self.participant {
            participant.leave(now);
        }
    }

    /// Closes or reloads the page: sockets vanish, the WebSocket with a goodbye or without.
    pub fn vanish(&mut self, says_goodbye: bool) {
        self.present = false;
        self.participant = None;
        self.listener.deafen();
        let link = std::mem::replace(&mut self.link, Link::Closed);
        if let (Link::Open { wire, .. } | Link::Opening { wire, .. }, true) = (link, says_goodbye) {
            self.acts.push_back(Act::HangUp(wire));
        }
    }

    /// Breaks the WebSocket, for the client and, unless `half_open`, for the server.
    pub fn cut_wire(&mut self, half_open: bool, now: Instant) {
        let link = std::mem::replace(&mut self.link, Link::Closed);
        if let (Link::Open { wire, .. } | Link::Opening { wire, .. }, false) = (link, half_open) {
            self.acts.push_back(Act::HangUp(wire));
        }
        if let Some(participant) = &mut self.participant {
            participant.signal_lost(now);
        }
    }

    /// Gives the session up for a new one.
    pub fn reconnect_fully(&mut self, now: Instant) {
        if let Some(participant) = &mut self.participant {
            participant.reconnect_fully(now);
        }
    }

    /// Offers anew, once the first offer is the server's.
    pub fn renegotiate(&mut self, restart_ice: bool, now: Instant) {
        if self.joined
            && let Some(participant) = self.participant.as_mut().filter(|p| !p.has_left())
            && let Err(error) = participant.renegotiate(restart_ice, now)
        {
            self.complaints.push(format!("cannot offer: {error}"));
        }
    }

    /// Publishes another source.
    pub fn publish(&mut self, id: u32, kind: Kind, now: Instant) {
        let mut source = Source {
            id,
            kind,
            muted: false,
            cid: String::new(),
            live: false,
            next: now,
            count: 0,
            keys: Vec::new(),
            sent: None,
        };
        if let Some(participant) = self.participant.as_mut().filter(|p| !p.has_left()) {
            source.cid = participant.publish(publish(self.index, &source), now);
        }
        self.ids.push(id);
        self.sources.push(source);
    }

    /// Whether the person has, or had, this source.
    pub fn had(&self, source: u32) -> bool {
        self.ids.contains(&source)
    }

    /// Ends a source.
    pub fn unpublish(&mut self, index: usize, now: Instant) {
        let source = self.sources.remove(index);
        if let Some(participant) = self.participant.as_mut().filter(|p| !p.has_left())
            && let Err(error) = participant.unpublish(&source.cid, now)
        {
            self.complaints.push(format!("cannot unpublish: {error}"));
        }
    }

    /// Mutes or unmutes a source.
    pub fn set_muted(&mut self, index: usize, muted: bool) {
        let source = &mut self.sources[index];
        source.muted = muted;
        if let Some(participant) = self.participant.as_mut().filter(|p| !p.has_left())
            && let Err(error) = participant.set_muted(&source.cid, muted)
        {
            self.complaints.push(format!("cannot mute: {error}"));
        }
    }

    /// Sets how the person wants to see a source of somebody else, from now on.
    pub fn wish(&mut self, source: u32, setting: TrackSetting) {
        self.wishes.insert(source, setting);
        self.wished.clear();
    }

    /// Whether the media of the person is connected.
    pub fn is_connected(&self) -> bool {
        self.participant
            .as_ref()
            .is_some_and(Participant::is_connected)
    }

    /// Whether the WebSocket is open and was answered.
    pub fn is_linked(&self) -> bool {
        matches!(
            self.link,
            Link::Open {
                respond_by: None,
                ..
            }
        )
    }

    /// The WebSocket of the person has opened.
    pub fn opened(&mut self, opened: WireId, now: Instant) {
        if matches!(self.link, Link::Opening { wire, .. } if wire == opened) {
            self.link = Link::Open {
                wire: opened,
                respond_by: Some(now + DIAL_TIMEOUT),
            };
        } else {
            // The client has given it up meanwhile.
            self.acts.push_back(Act::HangUp(opened));
        }
    }

    /// The server does not take the WebSocket.
    pub fn refused(&mut self, refused: WireId, now: Instant) {
        if matches!(self.link, Link::Opening { wire, .. } if wire == refused) {
            self.cut_wire(true, now);
        }
    }

    /// The WebSocket, if it is open.
    pub fn wire(&self) -> Option<WireId> {
        match self.link {
            Link::Open { wire, .. } => Some(wire),
            _ => None,
        }
    }

    /// Takes a frame; `None`: the server closed the WebSocket.
    pub fn handle_frame(&mut self, from: WireId, frame: Option<Frame>, now: Instant) {
        let Link::Open { wire, respond_by } = &mut self.link else {
            return;
        };
        if *wire != from {
            return;
        }
        let Some(frame) = frame else {
            self.link = Link::Closed;
            if let Some(participant) = &mut self.participant {
                participant.signal_lost(now);
            }
            return;
        };
        *respond_by = None;
        let Some(participant) = &mut self.participant else {
            return;
        };
        let taken = signal::decode_response(&frame)
            .map_err(|error| error.to_string())
            .and_then(|response| {
                participant
                    .handle_signal(response, now)
                    .map_err(|error| error.to_string())
            });
        if let Err(error) = taken {
            self.complaints
                .push(format!("message of the server: {error}"));
        }
        self.drain(now);
    }

    pub fn handle_datagram(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
        now: Instant,
    ) {
        let second = self.options.subscriber;
        if (to == self.local || Some(to) == second)
            && let Some(participant) = &mut self.participant
        {
            participant.handle_datagram(to, from, payload, now);
        }
        self.drain(now);
    }

    /// When [`Person::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let participant = self.participant.as_ref()?;
        let link = match &self.link {
            Link::Dialing { at, .. } => Some(*at),
            Link::Opening { by, .. } => Some(*by),
            Link::Open { respond_by, .. } => *respond_by,
            Link::Closed => None,
        };
        let media = self
            .sources
            .iter()
            .filter(|source| source.live && !participant.has_left());
        let media = media.map(|source| source.next);
        let data = (self.data_open && self.talkative).then_some(self.data_next);
        [participant.poll_timeout(), link, data]
            .into_iter()
            .flatten()
            .chain(media)
            .min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.link {
            Link::Dialing { at, parameter } if *at <= now => {
                let wire = self.next_wire;
                self.next_wire += 1;
                let parameter = std::mem::take(parameter);
                let token = self.token.clone();
                self.acts.push_back(Act::Dial {
                    wire,
                    parameter,
                    token,
                });
                self.link = Link::Opening {
                    wire,
                    by: now + DIAL_TIMEOUT,
                };
            }
            Link::Opening { by, .. } if *by <= now => self.cut_wire(true, now),
            Link::Open {
                respond_by: Some(by),
                ..
            } if *by <= now => self.cut_wire(false, now),
            _ => {}
        }
        if let Some(participant) = &mut self.participant
            && participant.poll_timeout().is_some_and(|at| at <= now)
        {
            participant.handle_timeout(now);
        }
        self.play(now);
        self.talk(now);
    }

    /// The next act; to be asked after everything else.
    pub fn poll_act(&mut self, now: Instant) -> Option<Act> {
        self.drain(now);
        self.acts.pop_front()
    }

    fn drain(&mut self, now: Instant) {
        while let Some(event) = self.participant.as_mut().and_then(Participant::poll_event) {
            self.on_event(event, now);
        }
        let Some(participant) = &mut self.participant else {
            return;
        };
        while let Some(transmit) = participant.poll_transmit() {
            self.acts.push_back(Act::Send(transmit));
        }
        if let Link::Open { wire, .. } = self.link {
            while let Some(request) = participant.poll_signal() {
                let frame = signal::encode_request(&request, Encoding::Protobuf);
                self.acts.push_back(Act::Frame(wire, frame));
            }
        }
        if participant.has_left() {
            self.vanish(true);
        }
    }

    fn on_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Frame { track, frame } => return self.on_frame(track, frame, now),
            Event::Joined(_) => {
                self.joined = true;
                self.notes.push("joined".into());
            }
            Event::Connected => {
                self.attempt = 0;
                self.listener.connected(now);
                self.notes.push("connected".into());
            }
            Event::Resumed => {
                self.attempt = 0;
                // Messages that the client was sent meanwhile may be lost: it corrects the server.
                self.end_muting(None, now + Duration::from_secs(1));
                self.notes.push("resumed".into());
            }
            // LiveKit's clients resume then, which restarts ICE.
            Event::ConnectionLost => {
                self.notes.push("connection lost".into());
                self.cut_wire(false, now);
            }
            Event::ConnectionRestored => self.notes.push("connection restored".into()),
            Event::Left(reason) => self.on_left(reason),
            Event::Reconnecting(kind) => self.on_reconnecting(kind, now),
            Event::TrackPublished { cid, .. } => {
                if let Some(source) = self.sources.iter_mut().find(|source| source.cid == cid) {
                    source.live = true;
                    source.next = now;
                    source.keys = source.kind.layers().to_vec();
                    self.notes.push(format!("published {}", source.id));
                }
            }
            Event::TrackUnpublished { cid } => {
                self.complaints
                    .push(format!("{cid} was unpublished by the server"));
            }
            Event::KeyFrameRequested { cid, layer } => {
                if let Some(source) = self.sources.iter_mut().find(|source| source.cid == cid) {
                    source.keys.extend(match layer {
                        Some(layer) => vec![Some(layer)],
                        None => source.kind.layers().to_vec(),
                    });
                }
            }
            Event::TrackSubscribed { track, kind, .. } => {
                let connected = self.is_connected();
                self.listener.subscribed(track, kind, connected, now);
            }
            Event::TrackUnsubscribed { track } => {
                self.listener.unsubscribed(track);
                self.wished.retain(|wished| *wished != track);
            }
            Event::ChannelOpen(DataChannel::Reliable) => {
                self.data_open = true;
                self.data_next = now;
            }
            Event::Data {
                channel: DataChannel::Reliable,
                packet,
            } => self.on_data(&packet),
            Event::TrackMuted { cid, muted } => {
                if let Some(source) = self.sources.iter_mut().find(|source| source.cid == cid) {
                    source.muted = muted;
                    let id = source.id;
                    self.end_muting(Some(id), now);
                    self.notes.push(format!("{id} was muted: {muted}"));
                }
            }
            Event::TokenRefreshed(token) => self.token = Some(token),
            Event::Signal(message) => self.on_signal(*message),
            // Simulated rooms are not encrypted.
            Event::Group(_) => {}
            Event::ParticipantsChanged(_)
            | Event::ChannelOpen(_)
            | Event::Data { .. }
            | Event::DataTrack(_)
            | Event::Packet { .. }
            | Event::SpeakersChanged(_) => {}
        }
        self.tell_wishes();
    }

    fn on_signal(&mut self, message: Message) {
        if let Message::RoomMoved(moved) = message
            && let Some(room) = moved.room
        {
            self.notes.push(format!("moved to {}", room.name));
            self.room = RoomName::from(room.name.as_str());
            self.token = Some(moved.token);
        }
    }

    /// The client knows from now on whether the source is muted; with `None`, all sources.
    fn end_muting(&mut self, source: Option<u32>, now: Instant) {
        let (pauses, is) = (&mut self.pauses, |id| source.is_none_or(|s| s == id));
        self.muting.retain(|(id, since)| {
            if is(*id) {
                pauses.push((*id, *since, now));
            }
            !is(*id)
        });
    }

    fn on_left(&mut self, reason: DisconnectReason) {
        self.notes.push(format!("left: {}", reason.as_str_name()));
        let expected = [
            DisconnectReason::ParticipantRemoved,
            DisconnectReason::RoomDeleted,
        ];
        if self.unwelcome && expected.contains(&reason) {
            self.present = false;
        }
        if self.present {
            self.complaints
                .push(format!("thrown out: {}", reason.as_str_name()));
        }
    }

    fn on_reconnecting(&mut self, kind: Reconnect, now: Instant) {
        self.notes.push(format!("reconnecting: {kind:?}"));
        if kind == Reconnect::Full {
            self.begin_life(now);
            for source in &mut self.sources {
                source.live = false;
            }
        } else if self.attempt >= RESUME_ATTEMPTS {
            return self.reconnect_fully(now);
        }
        self.dial(now);
    }

    /// Begins a new life: a new peer connection, on which nothing of the old one goes on.
    fn begin_life(&mut self, now: Instant) {
        self.end_muting(None, now);
        self.listener.deafen();
        self.wished.clear();
        (self.joined, self.data_open) = (false, false);
        self.data_sent = (0, self.data_sent.1 + 1);
    }

    fn dial(&mut self, now: Instant) {
        let link = std::mem::replace(&mut self.link, Link::Closed);
        if let Link::Open { wire, .. } | Link::Opening { wire, .. } = link {
            self.acts.push_back(Act::HangUp(wire));
        }
        let Some(delay) = RETRY_DELAYS.get(self.attempt) else {
            return self.complaints.push("gave up dialling".into());
        };
        let delay = Duration::from_millis(delay * self.rng.random_range(50..=150) / 100);
        self.attempt += 1;
        let Some(participant) = &mut self.participant else {
            return;
        };
        match participant.join_parameter(now) {
            Ok(parameter) => {
                self.link = Link::Dialing {
                    at: now + delay,
                    parameter,
                }
            }
            Err(error) => self.complaints.push(format!("no join parameter: {error}")),
        }
    }
}
