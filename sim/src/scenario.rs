//! The scenario of a run, drawn from its seed.

use std::time::Duration;

use client::media::Layer;
use node::Bounds;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{media::Kind, network::Profile, server::Pace};

/// The most microphones of a room: a server may leave out the quietest of more.
pub const MICROPHONES: usize = 5;

/// A mask for the seed from which forwarding is drawn.
const FORWARDING: u64 = 0x666f_7277_6172_6400;

/// A mask for the seed from which the server's own troubles are drawn.
const TROUBLE: u64 = 0x7472_6f75_626c_6500;

/// Something that happens to a person. Indices count the things that exist at that moment, and wrap.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The person comes into the room, or back.
    Join,
    /// The person leaves with a goodbye.
    Leave,
    /// The page is reloaded.
    Reload {
        /// The old page closed its WebSocket.
        says_goodbye: bool,
    },
    /// A source is muted or unmuted.
    ToggleMute(usize),
    /// Another source is published.
    Publish(Kind),
    /// A source is published no longer.
    Unpublish(usize),
    /// A source is unpublished and published again at once.
    Republish(usize),
    /// The person wants another size of somebody's picture, or nothing of it.
    Wish {
        /// Index of the picture among all in the room.
        picture: usize,
        /// Nothing is wanted.
        disabled: bool,
        /// The highest layer wanted.
        layer: Layer,
    },
    /// The WebSocket breaks; the client resumes.
    CutWire {
        /// The server does not notice.
        half_open: bool,
    },
    /// The client begins a new session.
    ReconnectFully,
    /// Nothing passes for a while.
    CutNetwork(Duration),
    /// The address that the server sees changes.
    Rebind,
    /// The network becomes another one.
    Network(Box<(Profile, Profile)>),
    /// The client offers anew, whatever else is being negotiated.
    Renegotiate {
        /// The offer restarts ICE, for which the client gives up an offer in flight.
        restart_ice: bool,
    },
    /// An application does something to the person.
    Moderate(Moderation),
    /// The client reads nothing from its WebSocket for a while.
    StallWire(Duration),
    /// A shard of the server is lost by a bug, whoever is on it.
    RestartShard(usize),
}

/// An act of an application on a person through the server API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moderation {
    /// A track is muted.
    MuteTrack(usize),
    /// The person is thrown out; their token still lets them in.
    Remove,
    /// The person gets metadata.
    SetMetadata(u32),
    /// The person may receive, or may not.
    MayReceive(bool),
    /// The person is moved to the other room.
    Move,
    /// The person is forwarded to the other room.
    Forward,
    /// The person is not forwarded any more.
    StopForwarding,
    /// The room that the person is in is deleted.
    DeleteRoom,
}

/// The end of a server, with joins under way.
#[derive(Debug, Clone)]
pub struct Stop {
    /// The people who reload their pages just before.
    pub reload: Vec<usize>,
    /// The time from then until the server is told to stop.
    pub after: Duration,
}

/// A participant.
#[derive(Debug, Clone)]
pub struct Cast {
    /// Index of the room.
    pub room: usize,
    pub offer_with_join: bool,
    /// The client speaks the older protocol.
    pub two_connections: bool,
    /// No datagrams get through, only TCP.
    pub tcp: bool,
    pub sources: Vec<Kind>,
    /// The network, up and down.
    pub network: (Profile, Profile),
}

/// The course of one run: people, networks and events.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Number of media threads of the server.
    pub shards: usize,
    /// Share of batches lost between the media threads, until the end: the losses must be repaired.
    pub relay_loss: f64,
    /// The people.
    pub cast: Vec<Cast>,
    /// The events, in order: when, to whom, what.
    pub script: Vec<(Duration, usize, Action)>,
    /// The time from which nothing happens any more, on good networks.
    pub quiet_from: Duration,
    /// How quickly the server works.
    pub pace: Pace,
    /// In the end the server stops, before everybody has left.
    pub stops: Option<Stop>,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let people = *[2, 2, 2, 3, 3, 3, 4, 4, 5, 6]
            .choose(&mut rng)
            .unwrap_or(&2);
        let rooms = if people >= 4 && rng.random_bool(0.4) {
            2
        } else {
            1
        };
        let mut microphones = [0; 2];
        let cast: Vec<_> = (0..people)
            .map(|index| {
                let room = index % rooms;
                let mut sources = Vec::new();
                if microphones[room] < MICROPHONES && rng.random_bool(0.9) {
                    microphones[room] += 1;
                    sources.push(Kind::Sound);
                }
                if rng.random_bool(0.7) {
                    let simulcast = rng.random_bool(0.5);
                    sources.push(if simulcast {
                        Kind::Simulcast
                    } else {
                        Kind::Picture
                    });
                }
                let tcp = rng.random_bool(0.15);
                let mut network = network(&mut rng, people);
                if tcp {
                    unlimited(&mut network);
                }
                Cast {
                    room,
                    offer_with_join: rng.random_bool(0.7),
                    two_connections: rng.random_bool(0.25),
                    tcp,
                    sources,
                    network,
                }
            })
            .collect();
        let mut script = Vec::new();
        for person in 0..people {
            let at = if person == 0 {
                0
            } else {
                rng.random_range(0..5000)
            };
            script.push((Duration::from_millis(at), person, Action::Join));
        }
        let busy = rng.random_range(5_000..16_000);
        for _ in 0..rng.random_range(2..=9) {
            let at = Duration::from_millis(rng.random_range(2_000..2_000 + busy));
            let person = rng.random_range(0..people);
            let mut action = action(&mut rng, people);
            if action == Action::Moderate(Moderation::MayReceive(false)) {
                let later = at + Duration::from_millis(rng.random_range(100..4_000));
                let again = Action::Moderate(Moderation::MayReceive(true));
                script.push((later, person, again));
            }
            if let (Action::Network(network), true) = (&mut action, cast[person].tcp) {
                unlimited(network);
            }
            script.push((at, person, action));
        }
        let shards = rng.random_range(1..=2);
        let mut scenario = Self {
            shards,
            relay_loss: 0.0,
            cast,
            script,
            quiet_from: Duration::from_millis(2_500 + busy),
            pace: Pace::IDLE,
            stops: None,
        };
        // Drawn from numbers of its own: the rest of a seed's run is the same with and without.
        let mut rng = StdRng::seed_from_u64(seed ^ FORWARDING);
        if rng.random_bool(0.4) {
            scenario.forward(rooms, busy, &mut rng);
        }
        scenario.trouble(busy, &mut StdRng::seed_from_u64(seed ^ TROUBLE));
        scenario
            .script
            .sort_by_key(|(at, person, _)| (*at, *person));
        scenario
    }

    /// Forwards some people to the other room. Where there was one room only, one person is in the other.
    fn forward(&mut self, rooms: usize, busy: u64, rng: &mut StdRng) {
        if rooms == 1 {
            let mut network = network(rng, self.cast.len());
            let tcp = rng.random_bool(0.15);
            if tcp {
                unlimited(&mut network);
            }
            self.cast.push(Cast {
                room: 1,
                offer_with_join: rng.random_bool(0.7),
                two_connections: rng.random_bool(0.25),
                tcp,
                sources: vec![Kind::Sound],
                network,
            });
            let at = Duration::from_millis(rng.random_range(0..5000));
            let person = self.cast.len() - 1;
            self.script.push((at, person, Action::Join));
        }
        if rng.random_bool(0.3) {
            self.relay_loss = rng.random_range(0.01..0.15);
        }
        for _ in 0..rng.random_range(1..=3) {
            let at = rng.random_range(1_000..2_000 + busy);
            let person = rng.random_range(0..self.cast.len());
            let mut then = |at, what| {
                let at = Duration::from_millis(at);
                self.script.push((at, person, Action::Moderate(what)));
            };
            then(at, Moderation::Forward);
            if rng.random_bool(0.4) {
                let later = rng.random_range(at..2_000 + busy);
                then(later, Moderation::StopForwarding);
            }
        }
    }
}

impl Scenario {
    /// A server that is busy, clients that do not read, a shard that is lost, a server that stops.
    fn trouble(&mut self, busy: u64, rng: &mut StdRng) {
        if rng.random_bool(0.5) {
            self.pace.waits = rng.random_range(0.02..0.4);
            self.pace.longest = Duration::from_millis(rng.random_range(1..=10));
        }
        let people = self.cast.len();
        if rng.random_bool(0.5) {
            self.pace.mailbox = Bounds {
                messages: rng.random_range(6..12),
                bytes: 64 * 1024,
            };
            for _ in 0..rng.random_range(1..=3) {
                let at = rng.random_range(1_000..2_000 + busy);
                let stall = rng.random_range(200..12_000);
                let person = rng.random_range(0..people);
                let mut then = |at, action| {
                    let at = Duration::from_millis(at);
                    self.script.push((at, person, action));
                };
                then(at, Action::StallWire(Duration::from_millis(stall)));
                // An application that is never content gives the person much to read.
                for _ in 0..rng.random_range(0..20) {
                    let within = (at + rng.random_range(0..stall)).min(2_000 + busy);
                    let metadata = Moderation::SetMetadata(rng.random_range(0..1000));
                    then(within, Action::Moderate(metadata));
                }
            }
        }
        if rng.random_bool(0.15) {
            let at = Duration::from_millis(rng.random_range(1_000..2_000 + busy));
            let shard = rng.random_range(0..self.shards);
            self.script.push((at, 0, Action::RestartShard(shard)));
        }
        if rng.random_bool(0.2) {
            let at = rng.random_range(2_000..2_000 + busy);
            let person = rng.random_range(0..people);
            let delete = Action::Moderate(Moderation::DeleteRoom);
            self.script
                .push((Duration::from_millis(at), person, delete));
            for _ in 0..rng.random_range(1..=people) {
                let about = Duration::from_millis(at - 300 + rng.random_range(0..600));
                let says_goodbye = rng.random_bool(0.7);
                let reload = Action::Reload { says_goodbye };
                self.script
                    .push((about, rng.random_range(0..people), reload));
            }
        }
        if rng.random_bool(0.3) {
            let reload = (0..people).filter(|_| rng.random_bool(0.5)).collect();
            let after = Duration::from_millis(rng.random_range(0..400));
            self.stops = Some(Stop { reload, after });
        }
    }
}

fn action(rng: &mut StdRng, people: usize) -> Action {
    match rng.random_range(0..32) {
        0..2 => Action::Join,
        2..4 => Action::Leave,
        4..7 => Action::Reload {
            says_goodbye: rng.random_bool(0.6),
        },
        7..9 => Action::ToggleMute(rng.random_range(0..4)),
        9 => Action::Publish(Kind::Picture),
        10 => Action::Publish(Kind::Simulcast),
        11 => Action::Unpublish(rng.random_range(0..4)),
        12..14 => Action::Republish(rng.random_range(0..4)),
        14..17 => Action::Wish {
            picture: rng.random_range(0..8),
            disabled: rng.random_bool(0.25),
            layer: *Layer::ALL.choose(rng).unwrap_or(&Layer::Low),
        },
        17..19 => Action::CutWire {
            half_open: rng.random_bool(0.4),
        },
        19..21 => Action::ReconnectFully,
        21 => Action::CutNetwork(Duration::from_millis(rng.random_range(200..3_000))),
        22 => Action::CutNetwork(Duration::from_millis(rng.random_range(3_000..20_000))),
        23 => Action::Rebind,
        24..27 => Action::Renegotiate {
            restart_ice: rng.random_bool(0.4),
        },
        27 => Action::Moderate(Moderation::MuteTrack(rng.random_range(0..4))),
        28 => Action::Moderate(Moderation::SetMetadata(rng.random_range(0..1000))),
        29 => Action::Moderate(Moderation::MayReceive(false)),
        30 => Action::Moderate(match rng.random_bool(0.5) {
            true => Moderation::Remove,
            false => Moderation::Move,
        }),
        _ => Action::Network(Box::new(network(rng, people))),
    }
}

/// Removes the limit of a rate. A TCP connection that is too narrow fills its buffers, and everything is late by many
/// seconds: no meeting to judge.
fn unlimited((up, down): &mut (Profile, Profile)) {
    (up.rate, down.rate) = (None, None);
}

fn network(rng: &mut StdRng, people: usize) -> (Profile, Profile) {
    let plain = Profile {
        delay: Duration::from_millis(rng.random_range(2..80)),
        ..Profile::GOOD
    };
    let (mut up, mut down) = (plain, plain);
    match rng.random_range(0..20) {
        0..8 => {}
        8..11 => {
            up.loss = rng.random_range(0.0..0.06);
            down.loss = rng.random_range(0.0..0.06);
        }
        11..13 => {
            up.burst = Some((rng.random_range(0.001..0.006), rng.random_range(0.1..0.5)));
            down.burst = Some((rng.random_range(0.001..0.006), rng.random_range(0.1..0.5)));
        }
        13..16 => {
            for line in [&mut up, &mut down] {
                line.jitter = Duration::from_millis(rng.random_range(5..60));
                line.reorder = rng.random_range(0.0..0.05);
                line.duplicate = rng.random_range(0.0..0.05);
            }
        }
        16..19 => {
            down.rate = Some(80_000 * people as u64 + rng.random_range(20_000..200_000));
            down.queue = Duration::from_millis(rng.random_range(100..400));
        }
        _ => {
            up.delay = Duration::from_millis(250);
            down.delay = Duration::from_millis(250);
        }
    }
    (up, down)
}
