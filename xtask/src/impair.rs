//! A bad network between real clients and the server: a UDP relay on the loopback interface.
//!
//! Clients send to the relay's port; each client address gets an upstream socket of its own, so that the server sees
//! one address per client, as through a NAT. What happens to a packet depends on the seed, the direction, the client's
//! rank and the packet's index only. Commands come as lines on the standard input:
//! `{"up":{…},"down":{…}}` sets new impairments, `"stats"` prints counters, `"rebind"` gives every client another address
//! as a NAT that has forgotten its mappings does, the end of the input ends the relay.

use std::{
    collections::{BTreeMap, BinaryHeap},
    error::Error,
    io::{BufRead, Write},
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::{Value, json};

use crate::random::Random;

/// Options of `cargo xtask impair`.
#[derive(Args)]
pub struct Options {
    /// Where clients send to; port 0 takes a free one. The address is printed as the first line.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The server's media address.
    #[arg(long)]
    to: SocketAddr,
    /// Seed of all decisions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of packets lost, 0 to 1, both ways.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Delay in milliseconds, both ways.
    #[arg(long, default_value_t = 0)]
    delay: u64,
}

/// What is done to the packets of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Impairment {
    loss: f64,
    duplicate: f64,
    /// Share of packets held back by `reorder_by`, so that later ones overtake them.
    reorder: f64,
    reorder_by: Duration,
    delay: Duration,
    /// Added to the delay: uniform between zero and this.
    jitter: Duration,
    /// Bits per second of each client's link; 0: no limit.
    rate: f64,
    /// What would wait longer than this for the link is lost.
    queue: Duration,
}

/// What one packet meets: when its copies leave, after its arrival. No copy: it is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Fate {
    copies: [Option<Duration>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Direction {
    Up,
    Down,
}

impl Impairment {
    /// Pure: the same seed, direction, client and index meet the same fate.
    fn fate(&self, seed: u64, direction: Direction, client: u64, index: u64) -> Fate {
        let mut random = Random::of(seed, client * 2 + direction as u64, index);
        let lost = random.chance(self.loss);
        let doubled = random.chance(self.duplicate);
        let held = random.chance(self.reorder);
        let mut leaves = || {
            let late = if held {
                self.reorder_by
            } else {
                Duration::ZERO
            };
            self.delay + self.jitter.mul_f64(random.fraction()) + late
        };
        let first = leaves();
        let second = leaves();
        Fate {
            copies: [
                (!lost).then_some(first),
                (!lost && doubled).then_some(second),
            ],
        }
    }

    /// How long a packet of `len` bytes waits for a link that is busy until `free_at`; `None`: its queue is full.
    fn wait(&self, len: usize, free_at: &mut Instant, now: Instant) -> Option<Duration> {
        if self.rate <= 0.0 {
            return Some(Duration::ZERO);
        }
        let start = (*free_at).max(now);
        if start - now > self.queue {
            return None;
        }
        *free_at = start + Duration::from_secs_f64(len as f64 * 8.0 / self.rate);
        Some(*free_at - now)
    }

    /// From JSON with times in milliseconds; what is not named is zero.
    fn parse(value: &Value) -> Self {
        let number = |key: &str| value[key].as_f64().unwrap_or(0.0).max(0.0);
        let time = |key: &str| Duration::from_secs_f64(number(key) / 1000.0);
        Self {
            loss: number("loss"),
            duplicate: number("duplicate"),
            reorder: number("reorder"),
            reorder_by: time("reorder_by"),
            delay: time("delay"),
            jitter: time("jitter"),
            rate: number("rate"),
            queue: time("queue"),
        }
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Counters {
    packets: u64,
    lost: u64,
    duplicated: u64,
}

/// A datagram that waits for its time.
struct Parcel {
    leaves: Instant,
    /// Keeps datagrams of the same instant in order.
    number: u64,
    bytes: Vec<u8>,
    route: Route,
}

#[derive(Clone)]
enum Route {
    ToServer(Arc<UdpSocket>),
    ToClient(SocketAddr),
}

impl PartialEq for Parcel {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Parcel {}
impl PartialOrd for Parcel {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Parcel {
    /// Reversed: the heap's greatest is the parcel that leaves first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.leaves, other.number).cmp(&(self.leaves, self.number))
    }
}

#[derive(Default)]
struct State {
    /// How often the addresses of the clients have changed.
    generation: u64,
    impairments: BTreeMap<Direction, Impairment>,
    /// When each client's link will have sent what it holds.
    free_at: BTreeMap<(Direction, u64), Instant>,
    counters: BTreeMap<Direction, Counters>,
    waiting: BinaryHeap<Parcel>,
    parcels: u64,
}

struct Relay {
    seed: u64,
    clients: UdpSocket,
    state: Mutex<State>,
    changed: Condvar,
}

/// Runs until the standard input ends.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let clients = UdpSocket::bind(options.listen)?;
    let address = clients.local_addr()?;
    let both = Impairment {
        loss: options.loss,
        delay: Duration::from_millis(options.delay),
        ..Impairment::default()
    };
    let relay = Arc::new(Relay {
        seed: options.seed,
        clients,
        state: Mutex::default(),
        changed: Condvar::new(),
    });
    relay.impair(both, both);
    thread::spawn({
        let relay = relay.clone();
        move || relay.deliver()
    });
    thread::spawn({
        let (relay, to) = (relay.clone(), options.to);
        move || relay.receive_from_clients(to)
    });
    say(&json!({ "listening": address.to_string(), "seed": options.seed }))?;
    relay.obey()
}

impl Relay {
    fn impair(&self, up: Impairment, down: Impairment) {
        let mut state = self.lock();
        state.impairments.insert(Direction::Up, up);
        state.impairments.insert(Direction::Down, down);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn obey(&self) -> Result<(), Box<dyn Error>> {
        for line in std::io::stdin().lock().lines() {
            let command: Value = serde_json::from_str(&line?)?;
            if command == json!("rebind") {
                self.lock().generation += 1;
            } else if command != json!("stats") {
                self.impair(
                    Impairment::parse(&command["up"]),
                    Impairment::parse(&command["down"]),
                );
            }
            let state = self.lock();
            let count = |direction| {
                let c = state.counters.get(&direction).copied().unwrap_or_default();
                json!({ "packets": c.packets, "lost": c.lost, "duplicated": c.duplicated })
            };
            say(&json!({ "up": count(Direction::Up), "down": count(Direction::Down) }))?;
        }
        Ok(())
    }

    fn receive_from_clients(self: Arc<Self>, to: SocketAddr) {
        let mut upstream: BTreeMap<SocketAddr, (u64, Arc<UdpSocket>, u64)> = BTreeMap::new();
        let mut generation = 0;
        let mut buffer = [0; 65536];
        loop {
            // A closed client port comes back as an error of this call (ICMP): not the end of the others.
            let Ok((len, from)) = self.clients.recv_from(&mut buffer) else {
                continue;
            };
            let current = self.lock().generation;
            if std::mem::replace(&mut generation, current) != current {
                upstream.clear();
            }
            let rank = upstream.len() as u64;
            let (rank, socket, index) = match upstream.entry(from) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let Ok(socket) = connect(to) else { continue };
                    thread::spawn({
                        let (relay, socket) = (self.clone(), socket.clone());
                        move || relay.receive_from_server(&socket, generation, rank, from)
                    });
                    entry.insert((rank, socket, 0))
                }
            };
            let route = Route::ToServer(socket.clone());
            self.pass(Direction::Up, *rank, *index, &buffer[..len], &route);
            *index += 1;
        }
    }

    fn receive_from_server(
        &self,
        socket: &UdpSocket,
        generation: u64,
        rank: u64,
        client: SocketAddr,
    ) {
        let mut buffer = [0; 65536];
        let mut index = 0;
        let route = Route::ToClient(client);
        loop {
            let Ok(len) = socket.recv(&mut buffer) else {
                // The server is away (restarting): its port may come back.
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            if self.lock().generation != generation {
                // Nothing comes through a mapping that is forgotten.
                return;
            }
            self.pass(Direction::Down, rank, index, &buffer[..len], &route);
            index += 1;
        }
    }

    fn pass(&self, direction: Direction, client: u64, index: u64, bytes: &[u8], route: &Route) {
        let now = Instant::now();
        let mut state = self.lock();
        let impairment = state
            .impairments
            .get(&direction)
            .copied()
            .unwrap_or_default();
        let mut fate = impairment.fate(self.seed, direction, client, index);
        if fate.copies[0].is_some() {
            let free_at = state.free_at.entry((direction, client)).or_insert(now);
            match impairment.wait(bytes.len(), free_at, now) {
                None => fate.copies = [None; 2],
                Some(waits) => fate
                    .copies
                    .iter_mut()
                    .flatten()
                    .for_each(|after| *after += waits),
            }
        }
        let counters = state.counters.entry(direction).or_default();
        counters.packets += 1;
        counters.lost += u64::from(fate.copies[0].is_none());
        counters.duplicated += u64::from(fate.copies[1].is_some());
        for after in fate.copies.into_iter().flatten() {
            if after.is_zero() {
                self.send(bytes, route);
                continue;
            }
            state.parcels += 1;
            let number = state.parcels;
            state.waiting.push(Parcel {
                leaves: now + after,
                number,
                bytes: bytes.to_vec(),
                route: route.clone(),
            });
            self.changed.notify_one();
        }
    }

    fn deliver(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            state = match state.waiting.peek().map(|parcel| parcel.leaves) {
                None => self.changed.wait(state).unwrap_or_else(|e| e.into_inner()),
                Some(leaves) if leaves > now => {
                    let waited = self.changed.wait_timeout(state, leaves - now);
                    waited.unwrap_or_else(|e| e.into_inner()).0
                }
                Some(_) => {
                    if let Some(parcel) = state.waiting.pop() {
                        self.send(&parcel.bytes, &parcel.route);
                    }
                    state
                }
            };
        }
    }

    /// A datagram that cannot be sent is lost, as on any network.
    fn send(&self, bytes: &[u8], route: &Route) {
        let _ = match route {
            Route::ToServer(socket) => socket.send(bytes),
            Route::ToClient(address) => self.clients.send_to(bytes, address),
        };
    }
}

fn connect(to: SocketAddr) -> std::io::Result<Arc<UdpSocket>> {
    let socket = UdpSocket::bind(SocketAddr::new(to.ip(), 0))?;
    socket.connect(to)?;
    Ok(Arc::new(socket))
}

fn say(value: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_delays_what_it_carries_and_loses_what_its_queue_cannot_hold() {
        let slow = Impairment {
            rate: 80_000.0,
            queue: Duration::from_millis(250),
            ..Impairment::default()
        };
        let now = Instant::now();
        let mut free_at = now;
        // 1000 bytes take a tenth of a second.
        let waits: Vec<_> = (0..5).map(|_| slow.wait(1000, &mut free_at, now)).collect();
        let tenths = |n: u64| Some(Duration::from_millis(100 * n));
        assert_eq!(waits, [tenths(1), tenths(2), tenths(3), None, None]);
        let later = now + Duration::from_secs(1);
        assert_eq!(slow.wait(1000, &mut free_at, later), tenths(1));
    }

    #[test]
    fn what_happens_to_a_packet_depends_on_its_index_and_not_on_the_others() {
        let bad = Impairment {
            loss: 0.1,
            duplicate: 0.1,
            reorder: 0.1,
            reorder_by: Duration::from_millis(30),
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(5),
            ..Impairment::default()
        };
        let forward: Vec<_> = (0..500).map(|i| bad.fate(3, Direction::Up, 1, i)).collect();
        let mut backward: Vec<_> = (0..500)
            .rev()
            .map(|i| bad.fate(3, Direction::Up, 1, i))
            .collect();
        backward.reverse();
        assert_eq!(forward, backward);
        assert!(forward.iter().any(|fate| fate.copies[0].is_none()));
        assert!(forward.iter().any(|fate| fate.copies[1].is_some()));
        let down: Vec<_> = (0..500)
            .map(|i| bad.fate(3, Direction::Down, 1, i))
            .collect();
        assert_ne!(forward, down, "the directions are independent");
    }

    #[test]
    fn a_network_without_impairment_loses_and_delays_nothing() {
        for index in 0..1000 {
            let fate = Impairment::default().fate(9, Direction::Down, 0, index);
            assert_eq!(fate.copies, [Some(Duration::ZERO), None]);
        }
    }

    #[test]
    fn the_parcel_that_leaves_first_is_delivered_first() {
        let start = Instant::now();
        let mut heap = BinaryHeap::new();
        for (number, after) in [(1, 30), (2, 10), (3, 10), (4, 20)] {
            heap.push(Parcel {
                leaves: start + Duration::from_millis(after),
                number,
                bytes: Vec::new(),
                route: Route::ToClient(SocketAddr::from(([127, 0, 0, 1], 9))),
            });
        }
        let order: Vec<_> = std::iter::from_fn(|| heap.pop())
            .map(|p| p.number)
            .collect();
        assert_eq!(order, [2, 3, 4, 1]);
    }
}
