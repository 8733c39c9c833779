//! The world of one run: its clock, its network, its people and its server.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use client::TrackSetting;
use protocol::{
    RoomName,
    signal::{Frame, decode_join_request},
};
use signaling::Config;

use crate::{
    forward_participant::Forward,
    log::Log,
    media::Kind,
    network::{Line, Profile, bits},
    os,
    person::{Act, Person, SECOND},
    scenario::{Action, Moderation, Scenario, Stop},
    server::{Outbox, Server, WireId},
};

/// The least step of time: events within it are handled together, as by a real loop.
const STEP: Duration = Duration::from_micros(200);

/// The number of steps without progress after which a run is stuck.
const STANDSTILL: u32 = 50_000;

/// The time that media may need after a cut of the network: the client has to notice, to dial and to restart ICE.
const AFTER_CUT: Duration = Duration::from_secs(9);

/// The time that media may need after the server's view of an address became wrong: until the next STUN check, and its
/// answer.
const AFTER_REBIND: Duration = Duration::from_secs(4);

/// The time that media may need after a client reads again.
const AFTER_STALL: Duration = Duration::from_secs(2);

/// The time that media may need after a shard was lost: clients are told to connect anew.
const AFTER_RESTART: Duration = Duration::from_secs(9);

/// Something under way.
#[derive(Debug)]
enum Flight {
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    Dial {
        wire: WireId,
        parameter: String,
        token: Option<String>,
    },
    Dialled(WireId),
    Refused(WireId),
    ToServer(WireId, Option<Frame>),
    ToClient(WireId, Option<Frame>),
}

/// A person's access to the server.
struct Access {
    up: Line,
    down: Line,
    /// The address by which the server sees the person, on the first peer connection.
    public: SocketAddr,
    tcp: bool,
    cut_until: Option<Instant>,
    /// The longest absence of a sound, at the worst of the person's networks.
    silence: Duration,
    /// The longest delay of a sound, up and down.
    delay: [Duration; 2],
    /// Arrival of the last frame of a WebSocket, each way: frames do not overtake.
    frames: [Option<Instant>; 2],
}

/// A time in which a person's network explains silence.
#[derive(Debug, Clone, Copy)]
pub struct Excuse {
    pub person: usize,
    pub from: Instant,
    pub to: Instant,
}

/// Everything that exists in one run.
pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub log: Log,
    pub server: Server,
    pub people: Vec<Person>,
    pub excuses: Vec<Excuse>,
    access: Vec<Access>,
    script: VecDeque<(Duration, usize, Action)>,
    flights: BinaryHeap<Reverse<(Instant, u64)>>,
    under_way: BTreeMap<u64, Flight>,
    sequence: u64,
    next_source: u32,
    next_port: u16,
    /// People who were forbidden to receive, and since when; `None`: they may again.
    pub deaf: BTreeMap<usize, Option<Instant>>,
    /// People who are to be in another room too.
    pub forwards: BTreeMap<usize, Forward>,
    /// In the end the server stops, before everybody has left.
    pub stops: Option<Stop>,
}

impl Access {
    /// The port of this access that an address names.
    fn is_at(&self, address: SocketAddr) -> bool {
        let ports = [self.public.port(), self.public.port() + SECOND];
        self.public.ip() == address.ip() && ports.contains(&address.port())
    }

    fn change(&mut self, (up, down): (Profile, Profile)) {
        let old = [self.up.profile, self.down.profile].map(|p| p.delay);
        self.up.profile = up;
        self.down.profile = down;
        let later = up.delay.saturating_sub(old[0]) + down.delay.saturating_sub(old[1]);
        self.excuse(up, down, later);
    }

    /// Updates silence and delay for a network. Everything waits behind bytes that are sent again over TCP, and over
    /// both ways in a row.
    fn excuse(&mut self, up: Profile, down: Profile, later: Duration) {
        let tcp = match self.tcp && (up.loses() || down.loses()) {
            true => Duration::from_secs(2),
            false => Duration::ZERO,
        };
        let silence = up.longest_silence() + down.longest_silence() + later + tcp;
        self.silence = self.silence.max(silence);
        self.delay = [
            self.delay[0].max(up.delay + up.jitter),
            self.delay[1].max(down.delay + down.jitter),
        ];
    }
}

impl World {
    pub fn new(seed: u64, scenario: &Scenario, certificate: &sfu::Certificate, log: Log) -> Self {
        let start = Instant::now();
        let shards: Vec<_> = (0..scenario.shards)
            .map(|index| SocketAddr::from(([192, 0, 2, 1], 7882 + index as u16)))
            .collect();
        // Short timeouts, since ghosts of pages that vanished would keep a run going for long.
        let config = Config {
            resume_timeout: 8,
            empty_timeout: 20,
            ..Config::default()
        };
        let mut world = Self {
            now: start,
            start,
            log,
            server: Server::new(&shards, certificate, config, scenario.pace, seed, start),
            people: Vec::new(),
            excuses: Vec::new(),
            access: Vec::new(),
            script: scenario.script.clone().into(),
            flights: BinaryHeap::new(),
            under_way: BTreeMap::new(),
            sequence: 0,
            next_source: 1,
            next_port: 30_000,
            deaf: BTreeMap::new(),
            forwards: BTreeMap::new(),
            stops: scenario.stops.clone(),
        };
        world.server.lose_relayed(scenario.relay_loss);
        let (shards, loss) = (scenario.shards, scenario.relay_loss);
        world.note(&format!("{shards} shards, {loss} lost between them"));
        for (index, cast) in scenario.cast.iter().enumerate() {
            let room = RoomName::from(format!("room-{}", cast.room).as_str());
            let lot = seed ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let person = Person::new(index, room, cast, lot, start);
            world.people.push(person);
            for kind in &cast.sources {
                world.publish(index, *kind);
            }
            let (up, down) = cast.network;
            let public = world.public_address(index);
            let mut access = Access {
                up: Line::new(up, lot ^ 1),
                down: Line::new(down, lot ^ 2),
                public,
                tcp: cast.tcp,
                cut_until: None,
                silence: Duration::ZERO,
                delay: [Duration::ZERO; 2],
                frames: [None; 2],
            };
            access.excuse(up, down, Duration::ZERO);
            world.access.push(access);
            world.note(&format!(
                "person {index} has {:?}, two connections: {}, TCP: {}, up {up:?}, down {down:?}",
                cast.sources, cast.two_connections, cast.tcp
            ));
        }
        world
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut standstill = 0;
        while let Some(at) = self.next_wake().filter(|at| *at <= end) {
            standstill = if at > self.now { 0 } else { standstill + 1 };
            assert!(standstill < STANDSTILL, "time stands still");
            self.now = at.max(self.now + STEP);
            os::set_clock(self.now - self.start);
            self.step();
        }
        self.now = self.now.max(end);
        os::set_clock(self.now - self.start);
    }

    /// Makes every network good and every client read from now on; a network that is cut comes back first.
    pub fn calm(&mut self) {
        let cuts = self.access.iter().filter_map(|access| access.cut_until);
        let cut = cuts
            .max()
            .map(|until| until.saturating_duration_since(self.now));
        self.run(cut.unwrap_or_default());
        self.note("calm");
        self.server.end_stalls();
        for access in &mut self.access {
            access.up.profile = Profile::GOOD;
            access.down.profile = Profile::GOOD;
        }
    }

    /// Lets an action happen.
    pub fn act(&mut self, person: usize, action: Action) {
        let now = self.now;
        if !self.is_possible(person, &action) {
            return;
        }
        self.note(&format!("{person} {action:?}"));
        let p = &mut self.people[person];
        match action {
            Action::Join => p.join(now),
            Action::Leave => p.leave(now),
            Action::Reload { says_goodbye } => {
                p.vanish(says_goodbye);
                p.join(now);
            }
            Action::ToggleMute(index) => {
                let index = index % p.sources.len();
                let muted = !p.sources[index].muted;
                p.set_muted(index, muted);
            }
            Action::Publish(kind) => self.publish(person, kind),
            Action::Unpublish(index) => {
                let index = index % p.sources.len();
                p.unpublish(index, now);
            }
            Action::Republish(index) => {
                let index = index % p.sources.len();
                let kind = p.sources[index].kind;
                p.unpublish(index, now);
                self.publish(person, kind);
            }
            Action::Wish {
                picture,
                disabled,
                layer,
            } => self.wish(person, picture, disabled, layer),
            Action::CutWire { half_open } => p.cut_wire(half_open, now),
            Action::ReconnectFully => p.reconnect_fully(now),
            Action::CutNetwork(duration) => {
                // A cut within a cut ends no earlier: bytes under way over TCP arrive at the end of the first.
                let cut = self.access[person].cut_until.unwrap_or(now);
                let until = cut.max(now + duration);
                self.access[person].cut_until = Some(until);
                self.excuse(person, now, until + AFTER_CUT);
            }
            Action::Rebind => {
                self.access[person].public = self.public_address(person);
                self.excuse(person, now, now + AFTER_REBIND);
            }
            Action::Network(lines) => self.access[person].change(*lines),
            Action::Renegotiate { restart_ice } => p.renegotiate(restart_ice, now),
            Action::Moderate(what) => self.moderate(person, what),
            Action::StallWire(duration) => {
                if let Some(wire) = p.wire() {
                    self.server.stall(wire, now + duration);
                    // What is new meanwhile is heard after it.
                    self.excuse(person, now, now + duration + AFTER_STALL);
                }
            }
            Action::RestartShard(shard) => self.restart_shard(shard),
        }
        self.settle();
    }

    /// The longest absence of a sound from one person to another, beyond the time that excuses cover.
    pub fn silence(&self, publisher: usize, listener: usize) -> Duration {
        self.access[publisher].silence + self.access[listener].silence
    }

    /// The longest delay of a sound from one person to another.
    pub fn transit(&self, publisher: usize, listener: usize) -> Duration {
        self.access[publisher].delay[0] + self.access[listener].delay[1]
    }

    /// A shard is lost. Everybody who was on it comes back.
    fn restart_shard(&mut self, shard: usize) {
        self.server.restart(shard);
        for person in 0..self.people.len() {
            self.excuse(person, self.now, self.now + AFTER_RESTART);
        }
        self.forwards_are_lost();
    }

    /// Adds a line to the log.
    pub fn note(&mut self, line: &str) {
        self.log.note(line);
    }

    fn is_possible(&self, person: usize, action: &Action) -> bool {
        let p = &self.people[person];
        match action {
            Action::Join => !p.present && p.participant.is_none(),
            Action::CutNetwork(_)
            | Action::Rebind
            | Action::Network(..)
            | Action::RestartShard(_) => true,
            // Somebody who is not there can be allowed to receive all the same.
            Action::Moderate(Moderation::MayReceive(true)) => true,
            Action::ToggleMute(_) | Action::Unpublish(_) | Action::Republish(_) => {
                p.present && !p.sources.is_empty()
            }
            _ => p.present,
        }
    }

    /// Notes that a person's network explains silence for a time.
    pub fn excuse(&mut self, person: usize, from: Instant, to: Instant) {
        self.excuses.push(Excuse { person, from, to });
    }

    fn publish(&mut self, person: usize, kind: Kind) {
        let id = self.next_source;
        self.next_source += 1;
        self.people[person].publish(id, kind, self.now);
    }

    fn wish(&mut self, person: usize, picture: usize, disabled: bool, layer: client::media::Layer) {
        let others = self.people.iter().filter(|other| other.index != person);
        let room = &self.people[person].room;
        let others = others.filter(|other| self.is_in(other, room));
        let pictures: Vec<_> = others
            .flat_map(|other| &other.sources)
            .filter(|source| source.kind != Kind::Sound)
            .map(|source| source.id)
            .collect();
        let Some(source) = pictures.get(picture % pictures.len().max(1)) else {
            return;
        };
        let setting = TrackSetting {
            disabled,
            layer,
            ..TrackSetting::default()
        };
        self.people[person].wish(*source, setting);
    }

    fn public_address(&mut self, person: usize) -> SocketAddr {
        self.next_port += 1;
        SocketAddr::from(([203, 0, 113, person as u8 + 1], self.next_port))
    }

    fn next_wake(&self) -> Option<Instant> {
        let flight = self.flights.peek().map(|Reverse((at, _))| *at);
        let script = self.script.front().map(|(at, ..)| self.start + *at);
        let people = self.people.iter().filter_map(Person::poll_timeout);
        people
            .chain(flight)
            .chain(script)
            .chain(self.server.poll_timeout())
            .min()
    }

    fn step(&mut self) {
        let mut out = Outbox::default();
        while let Some(Reverse((at, key))) = self.flights.peek().copied()
            && at <= self.now
        {
            self.flights.pop();
            if let Some(flight) = self.under_way.remove(&key) {
                self.arrive(flight, &mut out);
            }
        }
        while let Some((at, ..)) = self.script.front()
            && self.start + *at <= self.now
            && let Some((_, person, action)) = self.script.pop_front()
        {
            self.act(person, action);
        }
        for person in &mut self.people {
            if person.poll_timeout().is_some_and(|at| at <= self.now) {
                person.handle_timeout(self.now);
            }
        }
        self.server.handle_timeout(self.now, &mut out);
        self.server.pump(self.now, &mut out);
        self.post(out);
        self.settle();
    }

    fn arrive(&mut self, flight: Flight, out: &mut Outbox) {
        let now = self.now;
        match flight {
            Flight::Datagram { from, to, bytes } => {
                if let Some(index) = self.access.iter().position(|access| access.is_at(to)) {
                    let mut local = self.people[index].local;
                    local.set_port(local.port() + (to.port() - self.access[index].public.port()));
                    self.people[index].handle_datagram(from, local, &bytes, now);
                } else {
                    self.server.handle_datagram(from, to, &bytes, now, out);
                }
            }
            Flight::Dial {
                wire,
                parameter,
                token,
            } => {
                let person = &mut self.people[owner(wire)];
                let is_open = match decode_join_request(&parameter) {
                    Ok(request) => self.server.open(wire, person.caller(token, request), now),
                    Err(error) => {
                        person.complaints.push(error.to_string());
                        false
                    }
                };
                let answer = match is_open {
                    true => Flight::Dialled(wire),
                    false => Flight::Refused(wire),
                };
                self.post_frame(wire, 1, answer);
            }
            Flight::Dialled(wire) => self.people[owner(wire)].opened(wire, now),
            Flight::Refused(wire) => self.people[owner(wire)].refused(wire, now),
            Flight::ToServer(wire, frame) => self.server.handle_frame(wire, frame),
            Flight::ToClient(wire, frame) => {
                self.people[owner(wire)].handle_frame(wire, frame, now)
            }
        }
    }

    /// Carries out the acts of people, and notes their lines.
    fn settle(&mut self) {
        for index in 0..self.people.len() {
            while let Some(act) = self.people[index].poll_act(self.now) {
                match act {
                    Act::Send(transmit) => self.post_up(index, transmit),
                    Act::Dial {
                        wire,
                        parameter,
                        token,
                    } => {
                        let dial = Flight::Dial {
                            wire,
                            parameter,
                            token,
                        };
                        self.post_frame(wire, 0, dial);
                    }
                    Act::Frame(wire, frame) => {
                        self.post_frame(wire, 0, Flight::ToServer(wire, Some(frame)));
                    }
                    Act::HangUp(wire) => self.post_frame(wire, 0, Flight::ToServer(wire, None)),
                }
            }
            for note in std::mem::take(&mut self.people[index].notes) {
                self.note(&format!("{index} {note}"));
            }
        }
    }

    /// Sends everything that the node has for the world.
    pub fn post(&mut self, out: Outbox) {
        for (from, to, bytes) in out.datagrams {
            if let Some(index) = self.access.iter().position(|access| access.is_at(to)) {
                self.post_datagram(index, 1, from, to, bytes);
            }
        }
        for (wire, frame) in out.frames {
            self.post_frame(wire, 1, Flight::ToClient(wire, frame));
        }
    }

    fn post_up(&mut self, index: usize, transmit: client::Transmit) {
        let mut from = self.access[index].public;
        if Some(transmit.local) == self.people[index].second() {
            from.set_port(from.port() + SECOND);
        }
        self.post_datagram(index, 0, from, transmit.remote, transmit.payload);
    }

    fn post_datagram(
        &mut self,
        index: usize,
        way: usize,
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let access = &mut self.access[index];
        let line = match way {
            0 => &mut access.up,
            _ => &mut access.down,
        };
        let cut_until = access.cut_until.filter(|until| *until > self.now);
        let arrivals = match (access.tcp, cut_until) {
            (true, until) => [Some(line.carry_in_order(until.unwrap_or(self.now))), None],
            (false, Some(_)) => return,
            (false, None) => line.carry(bits(&bytes), self.now),
        };
        self.fly_datagram(arrivals, from, to, bytes);
    }

    fn fly_datagram(
        &mut self,
        arrivals: [Option<Instant>; 2],
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let [first, again] = arrivals;
        self.log
            .count(&[from.port().to_le_bytes(), to.port().to_le_bytes()].concat());
        self.log.count(&bits(&bytes).to_le_bytes());
        if let Some(at) = again {
            let bytes = bytes.clone();
            self.fly(at, Flight::Datagram { from, to, bytes });
        }
        if let Some(at) = first {
            self.fly(at, Flight::Datagram { from, to, bytes });
        }
    }

    /// Posts a frame of a WebSocket, which comes late where datagrams are lost, but it comes, and in order.
    fn post_frame(&mut self, wire: WireId, way: usize, flight: Flight) {
        let access = &mut self.access[owner(wire)];
        let line = if way == 0 { &access.up } else { &access.down };
        let leaves = access
            .cut_until
            .map_or(self.now, |until| until.max(self.now));
        let at = leaves + line.profile.delay + line.profile.jitter / 2;
        let at = access.frames[way].map_or(at, |last| last.max(at));
        access.frames[way] = Some(at);
        self.fly(at, flight);
    }

    fn fly(&mut self, at: Instant, flight: Flight) {
        self.sequence += 1;
        self.flights.push(Reverse((at, self.sequence)));
        self.under_way.insert(self.sequence, flight);
    }
}

/// The person whose WebSocket this is.
fn owner(wire: WireId) -> usize {
    (wire / 1_000_000) as usize
}
