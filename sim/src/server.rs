//! The server without its shell: the switchboard of `node`, driven by calls.
//!
//! As in the shell there is a task for each session and each room, and a thread for each shard, with a queue before
//! each. Whose turn is next is chosen by the seed. Nothing here decides what goes where.

mod room;
mod session;
mod shard;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use node::{Bounds, Directory, Limits, RoomKey};
use protocol::{
    RoomName, RoomSid,
    error::Error,
    livekit::JoinRequest,
    signal::Frame,
    token::{Grant, VideoGrant},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use signaling::{ApiCall, ApiReply, Config, Join, RoomInput, Session, SessionId};

use room::{RoomMail, RoomTask};
use session::SessionTask;
use shard::MediaThread;

/// The time since 1970 when a run starts.
const UNIX_START: Duration = Duration::from_secs(1_800_000_000);

/// The API key of all tokens.
const API_KEY: &str = "key";

/// More rooms than a run has.
const LIMITS: Limits = Limits {
    all: 100,
    per_key: 100,
};

/// The longest time for which a room is held up.
const HELD_UP: Duration = Duration::from_millis(300);

/// Id of a WebSocket, for its whole life.
pub type WireId = u64;

/// The server's output for the world.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Datagrams: from, to, bytes.
    pub datagrams: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Frames for clients; `None` closes the WebSocket.
    pub frames: Vec<(WireId, Option<Frame>)>,
}

/// A client that opens a WebSocket.
#[derive(Debug)]
pub struct Caller {
    pub identity: String,
    /// The room of the token that the client's application gave it.
    pub room: RoomName,
    /// The token that the server gave the client since.
    pub token: Option<String>,
    pub request: JoinRequest,
    pub two_connections: bool,
}

/// How quickly the parts of a server have their turns, and how much waits for a client that does not read.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The share of turns after which a task or thread waits.
    pub waits: f64,
    /// The longest wait.
    pub longest: Duration,
    /// The bounds of a session's mailbox.
    pub mailbox: Bounds,
}

impl Pace {
    /// Everybody's turn comes at once.
    pub const IDLE: Self = Self {
        waits: 0.0,
        longest: Duration::ZERO,
        mailbox: Bounds::SERVER,
    };
}

/// What a run has met that is rare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Met {
    /// Sessions closed because their clients did not read.
    pub overflows: u32,
    /// Shards that began anew.
    pub restarts: u32,
    /// Joins that were under way when their room ended.
    pub redirects: u32,
    /// Turns in which commands were left for the next.
    pub rests: u32,
    /// Joins that were refused because the server stops.
    pub refused: u32,
}

impl Met {
    /// Adds what another run has met.
    pub fn add(&mut self, other: Self) {
        self.overflows += other.overflows;
        self.restarts += other.restarts;
        self.redirects += other.redirects;
        self.rests += other.rests;
        self.refused += other.refused;
    }
}

/// A task or a thread of the server.
#[derive(Debug, Clone, Copy)]
enum Part {
    Session(SessionId),
    Room(RoomSid),
    Shard(usize),
}

/// The server of one run: shards, rooms and sessions.
pub struct Server {
    directory: Directory<RoomSid>,
    threads: Vec<MediaThread>,
    rooms: BTreeMap<RoomSid, RoomTask>,
    sessions: BTreeMap<SessionId, SessionTask>,
    wires: BTreeMap<WireId, SessionId>,
    /// WebSockets whose clients read nothing, and until when.
    stalled: BTreeMap<WireId, Instant>,
    /// Signed grants: a token is an index into this list.
    tokens: Vec<Grant>,
    replies: BTreeMap<u64, Result<ApiReply, Error>>,
    config: Arc<Config>,
    rng: StdRng,
    pace: Pace,
    /// The numbers that choose whose turn is next, and who waits.
    turns: StdRng,
    /// Everybody's turn comes at once, whatever the pace: somebody waits for an answer.
    hurried: bool,
    /// The share of batches from shard to shard that are lost, and the numbers that choose them.
    relay_loss: (f64, StdRng),
    met: Met,
    start: Instant,
    next_call: u64,
    next_session: u64,
}

impl Server {
    /// A server with a shard for each address.
    pub fn new(
        addresses: &[SocketAddr],
        certificate: &sfu::Certificate,
        config: Config,
        pace: Pace,
        seed: u64,
        start: Instant,
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let threads: Vec<_> = addresses
            .iter()
            .zip(0..)
            .map(|(address, index)| {
                MediaThread::new(*address, index, certificate, rng.random(), start)
            })
            .collect();
        Self {
            directory: Directory::new(threads.len(), LIMITS, config.auto_create),
            threads,
            rooms: BTreeMap::new(),
            sessions: BTreeMap::new(),
            wires: BTreeMap::new(),
            stalled: BTreeMap::new(),
            tokens: Vec::new(),
            replies: BTreeMap::new(),
            config: Arc::new(config),
            rng,
            pace,
            turns: StdRng::seed_from_u64(seed.rotate_left(32)),
            hurried: false,
            relay_loss: (0.0, StdRng::seed_from_u64(!seed)),
            met: Met::default(),
            start,
            next_call: 1,
            next_session: 1,
        }
    }

    /// Loses this share of the batches from shard to shard from now on.
    pub fn lose_relayed(&mut self, share: f64) {
        self.relay_loss.0 = share;
    }

    /// A client opened a WebSocket. False: it is refused.
    pub fn open(&mut self, wire: WireId, caller: Caller, now: Instant) -> bool {
        let place = caller.token.and_then(|token| token.parse::<usize>().ok());
        let grant = place.and_then(|place| self.tokens.get(place).cloned());
        let grant = grant.unwrap_or_else(|| Grant {
            api_key: API_KEY.into(),
            identity: caller.identity.clone(),
            name: caller.identity,
            video: Some(VideoGrant {
                room_join: true,
                room: caller.room.as_str().to_owned(),
                ..VideoGrant::default()
            }),
            ..Grant::default()
        });
        let admitted = grant.room().is_some_and(|room| {
            let key = RoomKey::new(API_KEY, room);
            self.directory.admits(&key, API_KEY).is_ok()
        });
        if !admitted {
            self.met.refused += 1;
            return false;
        }
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let join = Join {
            session: id,
            grant,
            request: caller.request,
            two_connections: caller.two_connections,
            mls: false,
        };
        let session = Session::new(join, &self.config, self.unix(now), now);
        let task = SessionTask::new(session, wire, self.pace.mailbox, now);
        self.sessions.insert(id, task);
        self.wires.insert(wire, id);
        true
    }

    /// Takes a client's frame; `None`: its WebSocket is closed.
    pub fn handle_frame(&mut self, wire: WireId, frame: Option<Frame>) {
        if let Some(id) = self.wires.get(&wire)
            && let Some(task) = self.sessions.get_mut(id)
        {
            task.frames.push_back(frame);
        }
    }

    /// The client reads nothing from this WebSocket for a while.
    pub fn stall(&mut self, wire: WireId, until: Instant) {
        self.stalled.insert(wire, until);
    }

    /// All clients read from now on.
    pub fn end_stalls(&mut self) {
        self.stalled.clear();
    }

    /// A bug of ours: the shard is lost, and its thread begins anew.
    pub fn restart(&mut self, shard: usize) {
        let seed = self.rng.random();
        let index = shard % self.threads.len();
        self.threads[index].restart(seed);
        self.met.restarts += 1;
    }

    /// The server stops: everybody is told to go.
    pub fn close(&mut self, now: Instant) {
        self.directory.close();
        let open: Vec<_> = self.directory.iter().map(|(_, sid)| *sid).collect();
        for room in open {
            self.tell(room, RoomMail::Input(RoomInput::Shutdown));
            self.hold_up(room, now);
        }
    }

    /// An application deletes a room, and does not wait for the answer.
    pub fn delete_room(&mut self, name: &RoomName, now: Instant) {
        let key = RoomKey::new(API_KEY, name.clone());
        if let Some(room) = self.directory.find(&key).copied() {
            let call = ApiCall::DeleteRoom;
            self.tell(room, RoomMail::Input(RoomInput::Api { id: 0, call }));
            self.hold_up(room, now);
        }
    }

    /// Where the server is busy, a room comes to what it is told a while later, and finds what came meanwhile.
    fn hold_up(&mut self, room: RoomSid, now: Instant) {
        if let Some(task) = self.rooms.get_mut(&room)
            && self.pace.waits > 0.0
        {
            task.ready_at = now + HELD_UP.mul_f64(self.turns.random());
        }
    }

    /// Takes a datagram; its media is forwarded by [`Server::pump`].
    pub fn handle_datagram(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
        now: Instant,
        out: &mut Outbox,
    ) {
        let mut threads = self.threads.iter_mut();
        if let Some(thread) = threads.find(|thread| thread.is_at(to)) {
            thread.receive(from, to, payload, now, out);
        }
    }

    /// Makes a call of the server API, and waits for the answer.
    pub fn api(
        &mut self,
        room: &RoomName,
        call: ApiCall,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<ApiReply, Error> {
        let key = RoomKey::new(API_KEY, room.clone());
        let room = *self.directory.find(&key).ok_or(Error::RoomNotFound)?;
        let id = self.next_call;
        self.next_call += 1;
        self.tell(room, RoomMail::Input(RoomInput::Api { id, call }));
        self.hurried = true;
        self.pump(now, out);
        self.hurried = false;
        let reply = self.replies.remove(&id);
        reply.unwrap_or(Err(Error::RoomNotFound))
    }

    /// The room as the API sees it, opened if it is not open.
    pub fn opened(
        &mut self,
        name: &RoomName,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<ApiReply, Error> {
        self.find_or_open(name, now)?;
        self.api(name, ApiCall::GetRoom, now, out)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        for thread in &mut self.threads {
            thread.handle_timeout(now, out);
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        for task in self.rooms.values_mut() {
            task.has_timed_out |= is_due(task.poll_timeout());
        }
        for task in self.sessions.values_mut() {
            task.has_timed_out |= is_due(task.poll_timeout());
        }
    }

    /// When [`Server::handle_timeout`] and [`Server::pump`] are due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let threads = self.threads.iter();
        let shards = threads.filter_map(|thread| thread.poll_timeout());
        let rooms = self.rooms.values().filter_map(RoomTask::poll_timeout);
        let sessions = self.sessions.values();
        let sessions = sessions.filter_map(SessionTask::poll_timeout);
        let waiting = self.parts().map(|part| self.ready_at(part));
        shards.chain(rooms).chain(sessions).chain(waiting).min()
    }

    /// Gives everybody turns who has something to do, until nobody has.
    pub fn pump(&mut self, now: Instant, out: &mut Outbox) {
        for thread in &mut self.threads {
            thread.flush(now, out);
        }
        loop {
            let ready = self.parts().filter(|part| {
                let at = self.ready_at(*part);
                at <= now || self.hurried && self.waits_for_nobody(*part, now)
            });
            let ready: Vec<_> = ready.collect();
            if ready.is_empty() {
                return;
            }
            let part = ready[self.turns.random_range(0..ready.len())];
            let ready_at = self.next_turn(now);
            match part {
                Part::Session(id) => self.session_turn(id, ready_at, now, out),
                Part::Room(sid) => self.room_turn(sid, ready_at, now),
                Part::Shard(index) => self.shard_turn(index, ready_at, now, out),
            }
        }
    }

    /// The tasks and threads that have something to do.
    fn parts(&self) -> impl Iterator<Item = Part> {
        let sessions = self.sessions.iter().filter(|(_, task)| task.is_busy());
        let rooms = self.rooms.iter().filter(|(_, task)| task.is_busy());
        let shards = self.threads.iter().enumerate();
        let shards = shards.filter(|(_, thread)| thread.is_busy());
        sessions
            .map(|(id, _)| Part::Session(*id))
            .chain(rooms.map(|(sid, _)| Part::Room(*sid)))
            .chain(shards.map(|(index, _)| Part::Shard(index)))
    }

    fn ready_at(&self, part: Part) -> Instant {
        match part {
            Part::Session(id) => {
                let task = &self.sessions[&id];
                // Somebody who is cut off does not wait for the client.
                let stall = self.stalled.get(&task.wire).filter(|_| task.is_blocked());
                stall.map_or(task.ready_at, |until| task.ready_at.max(*until))
            }
            Part::Room(sid) => self.rooms[&sid].ready_at,
            Part::Shard(index) => self.threads[index].ready_at,
        }
    }

    /// Whether only the pace keeps it waiting.
    fn waits_for_nobody(&self, part: Part, now: Instant) -> bool {
        match part {
            Part::Session(id) => {
                let task = &self.sessions[&id];
                !task.is_blocked() || self.stalled.get(&task.wire).is_none_or(|at| *at <= now)
            }
            _ => true,
        }
    }

    /// When somebody whose turn it is has the next one.
    fn next_turn(&mut self, now: Instant) -> Instant {
        let Pace { waits, longest, .. } = self.pace;
        if waits == 0.0 || self.hurried || !self.turns.random_bool(waits) {
            return now;
        }
        now + longest.mul_f64(self.turns.random())
    }

    /// The things that should be gone when everybody has left, in words; empty when nothing is left.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (index, thread) in self.threads.iter().enumerate() {
            let stats = thread.stats();
            let sizes = [stats.peers, stats.rooms, stats.up_tracks, stats.down_tracks];
            if sizes != [0; 4] {
                left.push(format!(
                    "shard {index} still has {} peers, {} rooms, {} tracks, {} subscriptions",
                    sizes[0], sizes[1], sizes[2], sizes[3]
                ));
            }
            if thread.has_commands() {
                left.push(format!(
                    "shard {index} has commands that it never had time for"
                ));
            }
        }
        let open = self.directory.iter();
        left.extend(open.map(|(key, _)| format!("room {} is still open", key.name.as_str())));
        if self.rooms.len() != self.directory.len() {
            left.push(format!("{} tasks of rooms", self.rooms.len()));
        }
        if !self.sessions.is_empty() {
            left.push(format!("{} sessions are still open", self.sessions.len()));
        }
        left
    }

    /// Number of panics in shards so far.
    pub fn panics(&self) -> u64 {
        self.threads
            .iter()
            .map(|thread| thread.stats().panics)
            .sum()
    }

    /// What was met that is rare.
    pub fn met(&self) -> Met {
        self.met
    }

    fn unix(&self, now: Instant) -> Duration {
        UNIX_START + (now - self.start)
    }
}
