//! One media thread: a shard, its queues and its turns.

use std::{
    cell::Cell,
    collections::VecDeque,
    net::SocketAddr,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use node::{
    HostedShard,
    turn::{RELAYED_PER_TURN, Rest, TIME_FOR_COMMANDS, by_number, by_time},
};
use protocol::RoomSid;
use rand::Rng;
use sfu::{Datagram, Destination, SendBatch, ShardCommand, TransportProtocol, stats::Stats};

use super::{Outbox, Server};

/// The distance of the port for TCP from that for UDP.
const TCP: u16 = 1000;

/// The longest that a command takes, where threads have much to do.
const COMMAND: Duration = Duration::from_micros(600);

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

impl Batch {
    fn send(self, out: &mut Outbox) {
        let sent = self.sent.into_iter();
        out.datagrams
            .extend(sent.map(|(to, bytes)| (to.local, to.remote, bytes)));
    }
}

/// A message for a media thread.
pub enum ToShard {
    Open(RoomSid),
    Command(Box<ShardCommand>),
}

/// A shard with its addresses and queues.
pub struct MediaThread {
    address: SocketAddr,
    /// The address at which TCP connections are taken.
    tcp_address: SocketAddr,
    config: sfu::Config,
    shard: HostedShard<RoomSid>,
    queue: VecDeque<ToShard>,
    /// Batches of packets from other shards.
    relayed: VecDeque<Vec<Vec<u8>>>,
    /// The shard has worked since it was asked for what it has to say.
    has_worked: bool,
    pub ready_at: Instant,
}

impl MediaThread {
    pub fn new(
        address: SocketAddr,
        index: u16,
        certificate: &sfu::Certificate,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let tcp_address = SocketAddr::new(address.ip(), address.port() + TCP);
        let config = sfu::Config {
            addresses: vec![address],
            tcp_addresses: vec![tcp_address],
            index,
            seed,
            certificate: certificate.clone(),
            connect_timeout_ms: 15_000,
            consent_timeout_ms: 30_000,
            max_peers: 1000,
            max_tracks_per_peer: 32,
            max_data_rate: 2 << 20,
            congestion_control: true,
            audio_top_n: 5,
        };
        Self {
            address,
            tcp_address,
            shard: HostedShard::new(config.clone()),
            config,
            queue: VecDeque::new(),
            relayed: VecDeque::new(),
            has_worked: false,
            ready_at: now,
        }
    }

    pub fn config(&self) -> &sfu::Config {
        &self.config
    }

    pub fn is_at(&self, address: SocketAddr) -> bool {
        [self.address, self.tcp_address].contains(&address)
    }

    /// Number of participants.
    pub fn peers(&self) -> usize {
        self.shard.peers()
    }

    pub fn stats(&self) -> Stats {
        self.shard.state().stats()
    }

    pub fn send(&mut self, message: ToShard) {
        self.queue.push_back(message);
    }

    /// Begins anew with an empty shard.
    pub fn restart(&mut self, seed: [u8; 32]) {
        let config = sfu::Config {
            seed,
            ..self.config.clone()
        };
        self.shard.restart(config);
        self.has_worked = true;
    }

    pub fn receive(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
        now: Instant,
        out: &mut Outbox,
    ) {
        let protocol = match self.address == to {
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
        self.shard
            .shard()
            .handle_datagram(datagram, now, &mut batch);
        self.has_worked = true;
        batch.send(out);
    }

    pub fn flush(&mut self, now: Instant, out: &mut Outbox) {
        let mut batch = Batch::default();
        self.shard.shard().flush(now, &mut batch);
        batch.send(out);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.shard.state().poll_timeout().map(|(at, _)| at)
    }

    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            let mut batch = Batch::default();
            self.shard.shard().handle_timeout(now, &mut batch);
            self.has_worked = true;
            batch.send(out);
        }
    }

    /// Whether there is something to do.
    pub fn is_busy(&self) -> bool {
        self.has_worked || self.has_commands() || !self.relayed.is_empty()
    }

    pub fn has_commands(&self) -> bool {
        !self.queue.is_empty()
    }
}

impl Server {
    /// One turn: commands, packets of other shards, and then what the shard has to say.
    pub fn shard_turn(&mut self, index: usize, ready_at: Instant, now: Instant, out: &mut Outbox) {
        let longest = match self.pace.waits > 0.0 && !self.hurried {
            true => COMMAND,
            false => Duration::ZERO,
        };
        let turns = &mut self.turns;
        let MediaThread {
            shard,
            queue,
            relayed,
            ..
        } = &mut self.threads[index];
        let (mut batch, spent) = (Batch::default(), Cell::new(Duration::ZERO));
        let rest = by_time(
            TIME_FOR_COMMANDS,
            || now + spent.get(),
            || queue.pop_front(),
            |message, _| {
                match message {
                    ToShard::Open(room) => shard.open(room, room),
                    ToShard::Command(command) => shard.handle_command(*command, now, &mut batch),
                }
                if !longest.is_zero() {
                    spent.set(spent.get() + longest.mul_f64(turns.random()));
                }
                ControlFlow::Continue(())
            },
        );
        by_number(
            RELAYED_PER_TURN,
            || relayed.pop_front(),
            |packets| {
                for packet in packets {
                    shard.shard().handle_relayed(&packet, now, &mut batch);
                }
                shard.shard().flush(now, &mut batch);
            },
        );
        batch.send(out);
        let thread = &mut self.threads[index];
        thread.has_worked = false;
        thread.ready_at = ready_at;
        if rest == Rest::Waits && thread.has_commands() {
            self.met.rests += 1;
            thread.ready_at = ready_at.max(now + spent.get());
        }
        self.relay(index);
        while let Some((room, event)) = self.threads[index].shard.poll_event() {
            if let Some(task) = self.rooms.get_mut(room) {
                task.events.push_back(event);
            }
        }
    }

    /// Hands over the packets and requests of a shard for others.
    fn relay(&mut self, index: usize) {
        let mut batches = vec![Vec::new(); self.threads.len()];
        let mut requests = Vec::new();
        let shard = self.threads[index].shard.shard();
        shard.drain_relayed(|to, packet| {
            if let Some(batch) = batches.get_mut(usize::from(to)) {
                batch.push(packet.to_vec());
            }
        });
        requests.extend(std::iter::from_fn(|| shard.poll_request()));
        for (to, request) in requests {
            if let Some(thread) = self.threads.get_mut(usize::from(to)) {
                thread.send(ToShard::Command(Box::new(request.into())));
            }
        }
        let (loss, rng) = &mut self.relay_loss;
        for (thread, batch) in self.threads.iter_mut().zip(batches) {
            if !batch.is_empty() && (*loss == 0.0 || !rng.random_bool(*loss)) {
                thread.relayed.push_back(batch);
            }
        }
    }
}
