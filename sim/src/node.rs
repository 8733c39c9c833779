//! The server without its shell: shards, rooms and sessions, and the messages between them, carried at once.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{
    ParticipantSid, RoomName, RoomSid,
    error::Error,
    livekit::JoinRequest,
    signal::Frame,
    token::{Grant, VideoGrant},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sfu::{
    Command, Datagram, Destination, Event, Negotiator, SendBatch, Shard, TransportProtocol,
    negotiator::Output,
};
use signaling::{
    ApiCall, ApiReply, Config, Join, Room, RoomInput, RoomMessage, RoomOutput, Session, SessionId,
    SessionOutput,
};

/// The time since 1970 when a run starts.
const UNIX_START: Duration = Duration::from_secs(1_800_000_000);

/// Id of a WebSocket, for its whole life.
pub type WireId = u64;

/// The node's output for the world.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Datagrams: from, to, bytes.
    pub datagrams: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Frames for clients; `None` closes the WebSocket.
    pub frames: Vec<(WireId, Option<Frame>)>,
}

#[derive(Debug, Default)]
struct Batch {
    sent: Vec<(Destination, Vec<u8>)>,
    open: Option<(Destination, Vec<u8>)>,
}

impl SendBatch for Batch {
    fn reserve(&mut self, to: Destination, len: usize) -> Option<&mut [u8]> {
        Some(self.open.insert((to, vec![0xaa; len])).1.as_mut_slice())
    }

    fn commit(&mut self, len: usize) {
        let (to, mut bytes) = self.open.take().expect("a reservation before a commit");
        bytes.truncate(len);
        self.sent.push((to, bytes));
    }
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

/// A shard with its addresses.
struct MediaThread {
    address: SocketAddr,
    /// The address at which TCP connections are taken.
    tcp_address: SocketAddr,
    config: sfu::Config,
    shard: Shard,
    rooms: usize,
}

/// A room with its negotiator.
struct Hosted {
    room: Room,
    /// The negotiator between the room and its shard.
    negotiator: Negotiator,
    sid: RoomSid,
    name: RoomName,
    thread: usize,
}

/// A session with its WebSocket and its room.
struct Seat {
    session: Session,
    wire: WireId,
    room: Option<u64>,
}

/// The server of one run: shards, rooms and sessions.
pub struct Node {
    threads: Vec<MediaThread>,
    rooms: BTreeMap<u64, Hosted>,
    by_name: BTreeMap<RoomName, u64>,
    by_sid: BTreeMap<RoomSid, u64>,
    peers: BTreeMap<ParticipantSid, u64>,
    seats: BTreeMap<SessionId, Seat>,
    wires: BTreeMap<WireId, SessionId>,
    /// Signed grants: a token is an index into this list.
    tokens: Vec<Grant>,
    replies: Vec<Result<ApiReply, Error>>,
    config: Arc<Config>,
    rng: StdRng,
    /// The share of batches from shard to shard that are lost, and the numbers that choose them.
    relay_loss: (f64, StdRng),
    start: Instant,
    next_room: u64,
    next_session: u64,
}

impl Node {
    /// A node with a shard for each address.
    pub fn new(
        addresses: &[SocketAddr],
        certificate: &sfu::Certificate,
        config: Config,
        seed: u64,
        start: Instant,
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let over_tcp = |address: &SocketAddr| SocketAddr::new(address.ip(), address.port() + 1000);
        let threads = addresses.iter().zip(0..).map(|(address, index)| {
            let config = sfu::Config {
                addresses: vec![*address],
                tcp_addresses: vec![over_tcp(address)],
                index,
                seed: rng.random(),
                certificate: certificate.clone(),
                connect_timeout_ms: 15_000,
                consent_timeout_ms: 30_000,
                max_peers: 1000,
                max_tracks_per_peer: 32,
                max_data_rate: 2 << 20,
                congestion_control: true,
                audio_top_n: 5,
            };
            MediaThread {
                address: *address,
                tcp_address: over_tcp(address),
                shard: Shard::new(config.clone()),
                config,
                rooms: 0,
            }
        });
        Self {
            threads: threads.collect(),
            rooms: BTreeMap::new(),
            by_name: BTreeMap::new(),
            by_sid: BTreeMap::new(),
            peers: BTreeMap::new(),
            seats: BTreeMap::new(),
            wires: BTreeMap::new(),
            tokens: Vec::new(),
            replies: Vec::new(),
            config: Arc::new(config),
            rng,
            relay_loss: (0.0, StdRng::seed_from_u64(!seed)),
            start,
            next_room: 1,
            next_session: 1,
        }
    }

    /// Loses this share of the batches from shard to shard from now on.
    pub fn lose_relayed(&mut self, share: f64) {
        self.relay_loss.0 = share;
    }

    /// A client opened a WebSocket and was admitted.
    pub fn open(&mut self, wire: WireId, caller: Caller, now: Instant) {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let place = caller.token.and_then(|token| token.parse::<usize>().ok());
        let grant = place.and_then(|place| self.tokens.get(place).cloned());
        let grant = grant.unwrap_or_else(|| Grant {
            api_key: "key".into(),
            identity: caller.identity.clone(),
            name: caller.identity,
            video: Some(VideoGrant {
                room_join: true,
                room: caller.room.as_str().to_owned(),
                ..VideoGrant::default()
            }),
            ..Grant::default()
        });
        let join = Join {
            session,
            grant,
            request: caller.request,
            two_connections: caller.two_connections,
        };
        let state = Session::new(join, &self.config, self.unix(now), now);
        let seat = Seat {
            session: state,
            wire,
            room: None,
        };
        self.seats.insert(session, seat);
        self.wires.insert(wire, session);
    }

    /// Takes a client's frame; `None`: its WebSocket is closed.
    pub fn handle_frame(&mut self, wire: WireId, frame: Option<Frame>, now: Instant) {
        let Some(seat) = self.wires.get(&wire).and_then(|id| self.seats.get_mut(id)) else {
            return;
        };
        match frame {
            Some(frame) => seat.session.handle_frame(frame, now),
            None => seat.session.handle_closed(now),
        }
    }

    /// Takes a datagram; its media is forwarded by [`Node::pump`].
    pub fn handle_datagram(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
        now: Instant,
        out: &mut Outbox,
    ) {
        let mut threads = self.threads.iter_mut();
        let Some(thread) = threads.find(|t| t.address == to || t.tcp_address == to) else {
            return;
        };
        let protocol = match thread.address == to {
            true => TransportProtocol::Udp,
            false => TransportProtocol::Tcp,
        };
        let datagram = Datagram {
            remote: from,
            local: to,
            protocol,
            payload,
        };
        let mut batch = Batch::default();
        thread.shard.handle_datagram(datagram, now, &mut batch);
        send(batch, out);
    }

    /// Makes a call of the server API.
    pub fn api(
        &mut self,
        room: &RoomName,
        call: ApiCall,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<ApiReply, Error> {
        let id = *self.by_name.get(room).ok_or(Error::RoomNotFound)?;
        if let Some(hosted) = self.rooms.get_mut(&id) {
            hosted.room.handle(RoomInput::Api { id: 0, call }, now);
        }
        self.drain_room(id, now, out);
        // Some calls are answered after messages between rooms.
        if self.replies.is_empty() {
            self.pump(now, out);
        }
        self.replies.pop().ok_or(Error::RoomNotFound)?
    }

    /// The room as the API sees it, opened if it is not open.
    pub fn opened(
        &mut self,
        name: &RoomName,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<ApiReply, Error> {
        if !self.by_name.contains_key(name) {
            self.open_room(name.clone(), now);
        }
        self.api(name, ApiCall::GetRoom, now, out)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        for thread in &mut self.threads {
            if thread.shard.poll_timeout().is_some_and(|(at, _)| at <= now) {
                let mut batch = Batch::default();
                thread.shard.handle_timeout(now, &mut batch);
                send(batch, out);
            }
        }
        for hosted in self.rooms.values_mut() {
            if hosted.room.poll_timeout().is_some_and(|at| at <= now) {
                hosted.room.handle_timeout(now);
            }
        }
        for seat in self.seats.values_mut() {
            if seat.session.poll_timeout().is_some_and(|at| at <= now) {
                seat.session.handle_timeout(now);
            }
        }
    }

    /// When [`Node::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let threads = self.threads.iter();
        let shards = threads.filter_map(|thread| Some(thread.shard.poll_timeout()?.0));
        let rooms = self
            .rooms
            .values()
            .filter_map(|hosted| hosted.room.poll_timeout());
        let seats = self
            .seats
            .values()
            .filter_map(|seat| seat.session.poll_timeout());
        shards.chain(rooms).chain(seats).min()
    }

    /// Carries messages between the parts until none has any.
    pub fn pump(&mut self, now: Instant, out: &mut Outbox) {
        for thread in &mut self.threads {
            let mut batch = Batch::default();
            thread.shard.flush(now, &mut batch);
            send(batch, out);
        }
        loop {
            let mut idle = true;
            let sessions: Vec<_> = self.seats.keys().copied().collect();
            for id in sessions {
                while let Some(output) = self
                    .seats
                    .get_mut(&id)
                    .and_then(|s| s.session.poll_output())
                {
                    idle = false;
                    self.session_output(id, output, now, out);
                }
            }
            let rooms: Vec<_> = self.rooms.keys().copied().collect();
            for id in rooms {
                idle &= !self.drain_room(id, now, out);
            }
            idle &= !self.relay(now, out);
            for index in 0..self.threads.len() {
                while let Some(event) = self.threads[index].shard.poll_event() {
                    idle = false;
                    self.deliver(event);
                }
            }
            if idle {
                return;
            }
        }
    }

    /// The things that should be gone when everybody has left, in words; empty when nothing is left.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (index, thread) in self.threads.iter().enumerate() {
            let stats = thread.shard.stats();
            let sizes = [stats.peers, stats.rooms, stats.up_tracks, stats.down_tracks];
            if sizes != [0; 4] {
                left.push(format!(
                    "shard {index} still has {} peers, {} rooms, {} tracks, {} subscriptions",
                    sizes[0], sizes[1], sizes[2], sizes[3]
                ));
            }
        }
        let open = self.rooms.values();
        left.extend(open.map(|hosted| format!("room {} is still open", hosted.name.as_str())));
        if !self.seats.is_empty() {
            left.push(format!("{} sessions are still open", self.seats.len()));
        }
        left
    }

    /// Number of panics in shards so far.
    pub fn panics(&self) -> u64 {
        self.threads
            .iter()
            .map(|thread| thread.shard.stats().panics)
            .sum()
    }

    fn unix(&self, now: Instant) -> Duration {
        UNIX_START + (now - self.start)
    }

    fn session_output(
        &mut self,
        id: SessionId,
        output: SessionOutput,
        now: Instant,
        out: &mut Outbox,
    ) {
        let Some(seat) = self.seats.get_mut(&id) else {
            return;
        };
        match output {
            SessionOutput::Send(frame) => out.frames.push((seat.wire, Some(frame))),
            SessionOutput::SignToken(grant) => {
                let token = self.tokens.len().to_string();
                self.tokens.push(*grant);
                seat.session.handle_token(token, now);
            }
            SessionOutput::Close(_) => {
                out.frames.push((seat.wire, None));
                self.wires.remove(&seat.wire);
                self.seats.remove(&id);
            }
            SessionOutput::ToRoom(RoomInput::Join(join)) => self.join(join, now),
            SessionOutput::ToRoom(input) => {
                let room = seat.room.and_then(|room| self.rooms.get_mut(&room));
                if let Some(hosted) = room {
                    hosted.room.handle(input, now);
                }
            }
        }
    }

    fn join(&mut self, join: Box<Join>, now: Instant) {
        let Some(name) = join.grant.room() else {
            return;
        };
        let id = match self.by_name.get(&name) {
            Some(id) => *id,
            None => self.open_room(name, now),
        };
        if let Some(seat) = self.seats.get_mut(&join.session) {
            seat.room = Some(id);
        }
        if let Some(hosted) = self.rooms.get_mut(&id) {
            hosted.room.handle(RoomInput::Join(join), now);
        }
    }

    fn open_room(&mut self, name: RoomName, now: Instant) -> u64 {
        let seed = self.rng.random();
        let unix = self.unix(now);
        let room = Room::new(name.clone(), None, self.config.clone(), seed, unix, now);
        let indices = 0..self.threads.len();
        let thread = indices
            .min_by_key(|index| self.threads[*index].rooms)
            .unwrap_or(0);
        self.threads[thread].rooms += 1;
        let negotiator = Negotiator::new(&self.threads[thread].config, self.rng.random());
        let (id, sid) = (self.next_room, room.sid());
        self.next_room += 1;
        self.by_name.insert(name.clone(), id);
        self.by_sid.insert(sid, id);
        self.rooms.insert(
            id,
            Hosted {
                room,
                negotiator,
                sid,
                name,
                thread,
            },
        );
        id
    }

    /// Carries out the outputs of a room and its negotiator. True: there were any.
    fn drain_room(&mut self, id: u64, now: Instant, out: &mut Outbox) -> bool {
        let mut busy = false;
        loop {
            busy |= self.drain_outputs(id, now, out);
            let Some(hosted) = self.rooms.get_mut(&id) else {
                return busy;
            };
            match hosted.negotiator.poll() {
                Some(Output::Command(command)) => self.command(id, command, now, out),
                Some(Output::Event(event)) => hosted.room.handle(RoomInput::Media(event), now),
                None => return busy,
            }
            busy = true;
        }
    }

    /// Carries out the outputs of a room. True: there were any.
    fn drain_outputs(&mut self, id: u64, now: Instant, out: &mut Outbox) -> bool {
        let (mut busy, mut closed) = (false, false);
        while let Some(output) = self.rooms.get_mut(&id).and_then(|h| h.room.poll_output()) {
            busy = true;
            match output {
                RoomOutput::ToSession { session, message } => {
                    if let Some(seat) = self.seats.get_mut(&session) {
                        seat.session.handle_message(message, now);
                    }
                }
                RoomOutput::ToMedia(command) => {
                    if let Some(hosted) = self.rooms.get_mut(&id) {
                        hosted.negotiator.handle_command(command);
                    }
                }
                RoomOutput::Redirect(join) => self.join(join, now),
                RoomOutput::Closed => closed = true,
                RoomOutput::ToRoom { room, message } => self.tell_room(id, room, message, now),
                RoomOutput::ApiReply { reply, .. } => self.replies.push(reply),
                RoomOutput::Webhook(_) | RoomOutput::Agents(_) => {}
            }
            if closed {
                self.by_name.retain(|_, room| *room != id);
            }
        }
        if closed {
            self.close_room(id, now, out);
        }
        busy
    }

    fn tell_room(&mut self, from: u64, to: RoomSid, message: RoomMessage, now: Instant) {
        let Some(sender) = self.rooms.get(&from) else {
            return;
        };
        let input = RoomInput::FromRoom {
            room: sender.sid,
            shard: sender.thread as u16,
            message,
        };
        let receiver = self.by_sid.get(&to).and_then(|id| self.rooms.get_mut(id));
        match receiver {
            Some(hosted) => hosted.room.handle(input, now),
            None => {
                if let Some(hosted) = self.rooms.get_mut(&from) {
                    hosted.room.handle(RoomInput::RoomGone { room: to }, now);
                }
            }
        }
    }

    /// Carries packets and requests between shards. True: there were any.
    fn relay(&mut self, now: Instant, out: &mut Outbox) -> bool {
        let (mut packets, mut requests) = (Vec::new(), Vec::new());
        let (loss, rng) = &mut self.relay_loss;
        for thread in &mut self.threads {
            let before = packets.len();
            thread
                .shard
                .drain_relayed(|shard, packet| packets.push((shard, packet.to_vec())));
            if *loss > 0.0 && packets.len() > before && rng.random_bool(*loss) {
                packets.truncate(before);
            }
            requests.extend(std::iter::from_fn(|| thread.shard.poll_request()));
        }
        let busy = !packets.is_empty() || !requests.is_empty();
        let mut batch = Batch::default();
        for (shard, request) in requests {
            if let Some(thread) = self.threads.get_mut(usize::from(shard)) {
                thread.shard.handle_command(request, now, &mut batch);
            }
        }
        for (shard, packet) in packets {
            if let Some(thread) = self.threads.get_mut(usize::from(shard)) {
                thread.shard.handle_relayed(&packet, now, &mut batch);
                thread.shard.flush(now, &mut batch);
            }
        }
        send(batch, out);
        busy
    }

    fn close_room(&mut self, id: u64, now: Instant, out: &mut Outbox) {
        let Some(hosted) = self.rooms.remove(&id) else {
            return;
        };
        self.by_sid.remove(&hosted.sid);
        self.peers.retain(|_, room| *room != id);
        let thread = &mut self.threads[hosted.thread];
        thread.rooms -= 1;
        let mut batch = Batch::default();
        let close = Command::CloseRoom { room: hosted.sid };
        thread.shard.handle_command(close, now, &mut batch);
        send(batch, out);
        for seat in self.seats.values_mut().filter(|seat| seat.room == Some(id)) {
            seat.session.handle_closed(now);
        }
    }

    fn command(&mut self, id: u64, command: Command, now: Instant, out: &mut Outbox) {
        match &command {
            Command::AddPeer { peer, .. } | Command::AddRelayedPeer { peer, .. } => {
                self.peers.insert(*peer, id);
            }
            Command::RemovePeer { peer } => drop(self.peers.remove(peer)),
            _ => {}
        }
        let Some(hosted) = self.rooms.get(&id) else {
            return;
        };
        let mut batch = Batch::default();
        self.threads[hosted.thread]
            .shard
            .handle_command(command, now, &mut batch);
        send(batch, out);
    }

    /// Hands an event to the room it is about; an event about somebody who is gone goes to nobody.
    fn deliver(&mut self, event: Event) {
        let room = match (event.peer(), event.room()) {
            (Some(peer), _) => self.peers.get(&peer),
            (None, room) => room.and_then(|room| self.by_sid.get(&room)),
        };
        if let Some(hosted) = room.and_then(|room| self.rooms.get_mut(room)) {
            hosted.negotiator.handle_event(event);
        }
    }
}

fn send(batch: Batch, out: &mut Outbox) {
    let sent = batch.sent.into_iter();
    out.datagrams
        .extend(sent.map(|(to, bytes)| (to.local, to.remote, bytes)));
}
