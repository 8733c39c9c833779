//! A room of a thousand who come within ten seconds, as their clients know it.
//!
//! Room, sessions and frames are the real ones. Media is not carried: whoever comes is connected a moment later, a sound
//! that was announced is offered at once, and of the shard's work only the list of subscriptions is kept. Some read
//! slowly, some stop reading for a while, some leave and come back, some lose their signal connection and resume.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use node::{Bounds, Mail, Mailbox};
use protocol::{
    ParticipantSid, TrackSid,
    livekit::{
        AddTrackRequest, ConnectionSettings, JoinRequest, LeaveRequest, ParticipantInfo,
        SignalRequest, SignalResponse, TrackType, participant_info::State, signal_request,
        signal_response::Message,
    },
    signal::{Encoding, Frame, decode_response, encode_request},
    token::{Grant, VideoGrant},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sfu::{Command, Event, MemberCommand, SubscriptionCommand, TrackCommand};
use signaling::{
    CloseCause, Config, Join, Leg, Room, RoomInput, RoomOutput, Session, SessionId, SessionOutput,
};

const UNIX: Duration = Duration::from_secs(1_800_000_000);

/// They come within this time, …
const ARRIVE: Duration = Duration::from_secs(10);

/// … and so much later everybody must know everybody.
const SETTLE: Duration = Duration::from_secs(35);

/// The time that media takes to connect, milliseconds.
const CONNECT_MS: u64 = 200;

/// The first so many have microphones.
const SPEAKERS: usize = 5;

/// Bytes per second that a slow reader reads.
const SLOW: f64 = 8_000.0;

/// The times between which some read nothing.
const STALL: [Duration; 2] = [Duration::from_secs(4), Duration::from_secs(16)];

/// What happened in a crowded room.
#[derive(Debug, Default)]
pub struct CrowdOutcome {
    /// Complaints that people would have; empty when all was well.
    pub complaints: Vec<String>,
    /// Messages that clients read.
    pub messages: usize,
    /// Bytes of those.
    pub bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Come(usize),
    Leave(usize),
    Cut(usize),
    Resume(usize),
    Read(usize),
    Connected(ParticipantSid),
    Speak,
}

#[derive(Clone, Copy, PartialEq)]
enum Pace {
    Quick,
    Slow,
    Stalls,
}

/// A signal connection.
struct SignalConnection {
    id: SessionId,
    session: Session,
    mailbox: Mailbox<()>,
    /// The client is busy reading until then.
    busy_until: Instant,
}

struct Person {
    identity: String,
    pace: Pace,
    connection: Option<SignalConnection>,
    sid: String,
    /// Others, as the client knows them: sid, version and number of tracks.
    known: BTreeMap<String, (String, u32, usize)>,
}

struct Crowd {
    room: Room,
    people: Vec<Person>,
    sessions: BTreeMap<SessionId, usize>,
    subscribed: BTreeSet<(ParticipantSid, TrackSid)>,
    tracks: BTreeSet<(ParticipantSid, TrackSid)>,
    inputs: VecDeque<RoomInput>,
    /// Those for whom there is something to read.
    mail: BTreeSet<usize>,
    due: BTreeSet<(Instant, Due)>,
    /// Frames that were decoded lately, by address: most are everybody's.
    decoded: BTreeMap<usize, (Frame, Arc<SignalResponse>)>,
    config: Arc<Config>,
    outcome: CrowdOutcome,
    start: Instant,
    now: Instant,
    next_session: u64,
}

/// So many people come within ten seconds; the seed chooses when some of them leave, come back and lose their
/// connection.
pub fn crowd(seed: u64, people: usize, start: Instant) -> CrowdOutcome {
    let mut crowd = Crowd::new(people, start);
    crowd.plan(&mut StdRng::seed_from_u64(seed));
    crowd.run(start + ARRIVE + SETTLE);
    crowd.judge();
    crowd.outcome
}

impl Crowd {
    fn new(people: usize, start: Instant) -> Self {
        let config = Arc::new(Config::default());
        let person = |index: usize| Person {
            identity: format!("person-{index:04}"),
            pace: match index % 50 {
                17 | 42 => Pace::Slow,
                29 => Pace::Stalls,
                _ => Pace::Quick,
            },
            connection: None,
            sid: String::new(),
            known: BTreeMap::new(),
        };
        Self {
            room: Room::new("R".into(), None, config.clone(), [7; 32], UNIX, start),
            people: (0..people).map(person).collect(),
            sessions: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            tracks: BTreeSet::new(),
            inputs: VecDeque::new(),
            mail: BTreeSet::new(),
            due: BTreeSet::new(),
            decoded: BTreeMap::new(),
            config,
            outcome: CrowdOutcome::default(),
            start,
            now: start,
            next_session: 1,
        }
    }

    fn plan(&mut self, rng: &mut StdRng) {
        let count = u32::try_from(self.people.len()).unwrap_or(u32::MAX);
        for (index, place) in (0..self.people.len()).zip(0..) {
            let comes = self.start + ARRIVE * place / count;
            self.due.insert((comes, Due::Come(index)));
            let first = comes + Duration::from_millis(rng.random_range(500..8_000));
            let then = first + Duration::from_millis(rng.random_range(300..3_000));
            match index % 20 {
                7 => self
                    .due
                    .extend([(first, Due::Leave(index)), (then, Due::Come(index))]),
                13 => self
                    .due
                    .extend([(first, Due::Cut(index)), (then, Due::Resume(index))]),
                // For good.
                18 => _ = self.due.insert((first, Due::Leave(index))),
                _ => {}
            }
        }
        let speech = (1..60).map(|half| self.start + half * Duration::from_millis(500));
        self.due.extend(speech.map(|at| (at, Due::Speak)));
    }

    fn run(&mut self, until: Instant) {
        loop {
            let next = self.due.first().map(|(at, _)| *at);
            let room = self.room.poll_timeout();
            let Some(at) = next.into_iter().chain(room).min().filter(|at| *at <= until) else {
                return;
            };
            self.now = self.now.max(at);
            if room.is_some_and(|room| room <= self.now) {
                self.room.handle_timeout(self.now);
            } else if let Some((_, due)) = self.due.pop_first() {
                self.carry_out(due);
            }
            self.settle();
        }
    }

    fn carry_out(&mut self, due: Due) {
        match due {
            Due::Come(index) => self.open(index, false),
            Due::Resume(index) => self.open(index, true),
            Due::Leave(index) => {
                self.ask(
                    index,
                    signal_request::Message::Leave(LeaveRequest::default()),
                );
                self.hang_up(index);
                self.people[index].known.clear();
            }
            Due::Cut(index) => self.hang_up(index),
            Due::Read(index) => _ = self.mail.insert(index),
            Due::Connected(peer) => {
                let connected = Event::Connected { peer };
                self.inputs.push_back(RoomInput::Media {
                    leg: Leg::HOME,
                    event: connected,
                });
            }
            Due::Speak => {
                let loud = self.tracks.iter().map(|(peer, _)| *peer);
                let level = (self.now - self.start).as_millis() % 7 + 1;
                let speakers = loud.map(|peer| sfu::Speaker {
                    peer,
                    level: level as f32 / 10.0,
                });
                let event = Event::SpeakersChanged {
                    room: self.room.sid(),
                    speakers: speakers.collect(),
                };
                self.inputs.push_back(RoomInput::Media {
                    leg: Leg::HOME,
                    event,
                });
            }
        }
    }

    fn open(&mut self, index: usize, resumes: bool) {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let person = &mut self.people[index];
        let grant = Grant {
            api_key: "key".into(),
            name: format!("Name of {}", person.identity),
            identity: person.identity.clone(),
            video: Some(VideoGrant {
                room_join: true,
                room: "R".into(),
                ..VideoGrant::default()
            }),
            ..Grant::default()
        };
        let request = JoinRequest {
            connection_settings: Some(ConnectionSettings {
                auto_subscribe: true,
                ..ConnectionSettings::default()
            }),
            reconnect: resumes,
            participant_sid: match resumes {
                true => person.sid.clone(),
                false => String::new(),
            },
            ..JoinRequest::default()
        };
        let join = Join {
            session: id,
            grant,
            request,
            two_connections: false,
            mls: false,
        };
        let unix = UNIX + (self.now - self.start);
        person.connection = Some(SignalConnection {
            id,
            session: Session::new(join, &self.config, unix, self.now),
            mailbox: Mailbox::new(Bounds::SERVER),
            busy_until: self.now,
        });
        self.sessions.insert(id, index);
        self.drain_session(index);
    }

    /// The client's connection is gone; nobody tells the client.
    fn hang_up(&mut self, index: usize) {
        if let Some(connection) = &mut self.people[index].connection {
            connection.session.handle_closed(self.now);
        }
        self.drain_session(index);
        self.close(index);
    }

    fn close(&mut self, index: usize) {
        if let Some(connection) = self.people[index].connection.take() {
            self.sessions.remove(&connection.id);
        }
    }

    fn ask(&mut self, index: usize, message: signal_request::Message) {
        let request = SignalRequest {
            message: Some(message),
        };
        let frame = encode_request(&request, Encoding::Protobuf);
        if let Some(connection) = &mut self.people[index].connection {
            connection.session.handle_frame(frame, self.now);
        }
        self.drain_session(index);
    }

    /// Carries messages until nobody has any that can be read now.
    fn settle(&mut self) {
        loop {
            while let Some(output) = self.room.poll_output() {
                self.room_output(output);
            }
            if let Some(input) = self.inputs.pop_front() {
                self.room.handle(input, self.now);
            } else if let Some(index) = self.mail.pop_first() {
                self.read(index);
            } else {
                return;
            }
        }
    }

    fn room_output(&mut self, output: RoomOutput) {
        match output {
            RoomOutput::ToSession { session, message } => {
                let Some(&index) = self.sessions.get(&session) else {
                    return;
                };
                let person = &mut self.people[index];
                let Some(connection) = &mut person.connection else {
                    return;
                };
                if connection.mailbox.push(Mail::Message(message)).is_ok() {
                    self.mail.insert(index);
                } else {
                    let complaint = format!("{} was closed for slowness", person.identity);
                    self.outcome.complaints.push(complaint);
                    self.hang_up(index);
                    let at = self.now + Duration::from_secs(1);
                    self.due.insert((at, Due::Resume(index)));
                }
            }
            RoomOutput::ToMedia { command, .. } => self.command(command),
            _ => {}
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Member(MemberCommand::Add { peer, .. }) => {
                let at = self.now + Duration::from_millis(CONNECT_MS);
                self.due.insert((at, Due::Connected(peer)));
            }
            Command::Member(MemberCommand::Remove { peer }) => {
                self.subscribed.retain(|(other, _)| *other != peer);
                self.tracks.retain(|(other, _)| *other != peer);
                self.due.retain(|(_, due)| *due != Due::Connected(peer));
            }
            Command::Subscription(SubscriptionCommand::Subscribe { peer, track, .. }) => {
                _ = self.subscribed.insert((peer, track))
            }
            Command::Subscription(SubscriptionCommand::Unsubscribe { peer, track }) => {
                _ = self.subscribed.remove(&(peer, track))
            }
            // The sound is in the client's next offer.
            Command::Track(TrackCommand::Publish { peer, track }) => {
                self.tracks.insert((peer, track.sid));
                let bound = Event::TrackBound {
                    peer,
                    track: track.sid,
                    mid: "3".into(),
                    codec: sfu::TrackCodec {
                        mime_type: "audio/opus".into(),
                        ..sfu::TrackCodec::default()
                    },
                    layers: Vec::new(),
                };
                self.inputs.push_back(RoomInput::Media {
                    leg: Leg::HOME,
                    event: bound,
                });
            }
            _ => {}
        }
    }

    /// The client reads what it can.
    fn read(&mut self, index: usize) {
        while let Some(message) = self.next_mail(index) {
            if let Some(connection) = &mut self.people[index].connection {
                connection.session.handle_message(message, self.now);
            }
            self.drain_session(index);
        }
    }

    fn next_mail(&mut self, index: usize) -> Option<signaling::SessionMessage> {
        let person = &mut self.people[index];
        let connection = person.connection.as_mut()?;
        let [from, until] = STALL.map(|at| self.start + at);
        if person.pace == Pace::Stalls && (from..until).contains(&self.now) {
            connection.busy_until = until;
        }
        if self.now < connection.busy_until {
            self.due.insert((connection.busy_until, Due::Read(index)));
            return None;
        }
        match connection.mailbox.pop()? {
            Mail::Message(message) => Some(message),
            Mail::Moved(()) => None,
        }
    }

    fn drain_session(&mut self, index: usize) {
        while let Some(connection) = &mut self.people[index].connection {
            match connection.session.poll_output() {
                None => return,
                Some(SessionOutput::ToRoom(input)) => self.inputs.push_back(input),
                Some(SessionOutput::SignToken(_)) => {
                    connection.session.handle_token("token".into(), self.now);
                }
                Some(SessionOutput::Send(frame)) => self.frame(index, &frame),
                Some(SessionOutput::Close(cause)) => {
                    if cause != CloseCause::Connection {
                        let identity = &self.people[index].identity;
                        let complaint = format!("{identity} was closed: {}", cause.as_str());
                        self.outcome.complaints.push(complaint);
                    }
                    self.close(index);
                }
            }
        }
    }

    /// The client has read a frame.
    fn frame(&mut self, index: usize, frame: &Frame) {
        self.outcome.messages += 1;
        self.outcome.bytes += frame.len();
        let person = &mut self.people[index];
        if let Some(connection) = person
            .connection
            .as_mut()
            .filter(|_| person.pace == Pace::Slow)
        {
            connection.busy_until = self.now + Duration::from_secs_f64(frame.len() as f64 / SLOW);
        }
        let response = self.decode(frame);
        let person = &mut self.people[index];
        match &response.message {
            Some(Message::Join(join)) => {
                person.known.clear();
                person.sid = join
                    .participant
                    .as_ref()
                    .map(|own| own.sid.clone())
                    .unwrap_or_default();
                join.other_participants
                    .iter()
                    .for_each(|other| person.hear_of(other));
                if index < SPEAKERS {
                    let request = AddTrackRequest {
                        cid: "microphone".into(),
                        r#type: TrackType::Audio.into(),
                        ..AddTrackRequest::default()
                    };
                    self.ask(index, signal_request::Message::AddTrack(request));
                }
            }
            Some(Message::Update(update)) => {
                update
                    .participants
                    .iter()
                    .for_each(|other| person.hear_of(other));
            }
            Some(Message::Leave(leave)) => {
                let complaint = format!(
                    "{} was told to leave: {:?}",
                    person.identity,
                    leave.reason()
                );
                self.outcome.complaints.push(complaint);
            }
            _ => {}
        }
    }

    fn decode(&mut self, frame: &Frame) -> Arc<SignalResponse> {
        let Frame::Binary(bytes) = frame else {
            return Arc::default();
        };
        let address = bytes.as_ptr() as usize;
        if let Some((known, response)) = self.decoded.get(&address)
            && known == frame
        {
            return response.clone();
        }
        if self.decoded.len() >= 64 {
            self.decoded.clear();
        }
        let response = Arc::new(decode_response(frame).expect("a frame of ours"));
        self.decoded
            .insert(address, (frame.clone(), response.clone()));
        response
    }

    fn judge(&mut self) {
        let here = self
            .people
            .iter()
            .filter(|person| person.connection.is_some());
        let here: BTreeMap<_, _> = here
            .map(|person| (person.identity.clone(), person.sid.clone()))
            .collect();
        let gone = self
            .people
            .iter()
            .zip(0..)
            .filter(|(_, index)| index % 20 == 18)
            .count();
        let complaints = &mut self.outcome.complaints;
        if here.len() != self.people.len() - gone {
            complaints.push(format!("{} are here", here.len()));
        }
        if self.tracks.len() != SPEAKERS {
            complaints.push(format!("{} speak", self.tracks.len()));
        }
        let speak: BTreeSet<_> = self
            .tracks
            .iter()
            .map(|(peer, _)| peer.to_string())
            .collect();
        for person in self
            .people
            .iter()
            .filter(|person| person.connection.is_some())
        {
            let known = person
                .known
                .iter()
                .map(|(identity, (sid, ..))| (identity, sid));
            let others = here
                .iter()
                .filter(|(identity, _)| **identity != person.identity);
            if !known.eq(others) {
                let (known, others) = (person.known.len(), here.len() - 1);
                complaints.push(format!("{} knows {known} of {others}", person.identity));
            }
            let silent =
                |(sid, _, tracks): &&(String, u32, usize)| speak.contains(sid) != (*tracks == 1);
            if let Some((sid, ..)) = person.known.values().find(silent) {
                complaints.push(format!("{} has wrong tracks of {sid}", person.identity));
            }
            let Ok(peer) = person.sid.parse::<ParticipantSid>() else {
                continue;
            };
            let mut heard = self
                .tracks
                .iter()
                .filter(|(publisher, _)| *publisher != peer);
            if !heard.all(|(_, track)| self.subscribed.contains(&(peer, *track))) {
                complaints.push(format!("{} does not hear everybody", person.identity));
            }
        }
    }
}

impl Person {
    fn hear_of(&mut self, other: &ParticipantInfo) {
        if other.identity == self.identity {
            return;
        }
        if other.state() == State::Disconnected {
            self.known.remove(&other.identity);
            return;
        }
        let known = self.known.get(&other.identity);
        if known.is_some_and(|(sid, version, _)| *sid == other.sid && *version > other.version) {
            return;
        }
        let now = (other.sid.clone(), other.version, other.tracks.len());
        self.known.insert(other.identity.clone(), now);
    }
}
