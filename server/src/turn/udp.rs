//! TURN over UDP: one thread, as it only moves datagrams between two sockets.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use sfu::{Destination, SendBatch, TransportProtocol};

use super::{Client, TurnServer, moment};
use crate::{
    links::{LinkReceiver, LinkSender, thread_queue},
    per_address::network,
    udp::{Batch, MediaSockets, Receiver, Wake},
};

/// The time between two looks for allocations that have ended. Answers to strangers are counted anew then.
const SWEEP: Duration = Duration::from_secs(1);

/// The answers per second to clients of one address without an allocation: somebody with a forged address could make us
/// send as many to another. A company behind one address joins with less.
pub const MAX_STRANGERS_ANSWERS: u32 = 100;

/// The answers per second that are longer than their requests: those to Binding requests.
pub const MAX_LONGER_ANSWERS: u32 = 10;

/// The most addresses that are counted. When there are more within a second, further ones get no answer.
const MAX_STRANGERS: usize = 100_000;

/// The most receive batches of one socket before others have their turn.
const MAX_BATCHES: usize = 16;

/// The thread of TURN over UDP. It ends with the process.
pub struct TurnUdp {
    server: Arc<TurnServer>,
    sockets: Arc<MediaSockets>,
    wake: Arc<Wake>,
    batch: Batch,
    sender: LinkSender,
    queue: LinkReceiver,
    clients: HashMap<Key, Client>,
    /// Clients by relayed address.
    relayed: HashMap<SocketAddr, Key>,
    strangers: Strangers,
}

/// The answers to strangers of each address in this second.
#[derive(Default)]
struct Strangers(HashMap<IpAddr, Answers>);

#[derive(Default)]
struct Answers {
    all: u32,
    longer: u32,
}

impl Strangers {
    /// Whether a request of `request` bytes may be answered with `reply` bytes.
    fn may_answer(&mut self, ip: IpAddr, request: usize, reply: usize) -> bool {
        let network = network(ip);
        if self.0.len() >= MAX_STRANGERS && !self.0.contains_key(&network) {
            return false;
        }
        let answers = self.0.entry(network).or_default();
        answers.all += 1;
        answers.longer += u32::from(reply > request);
        answers.all <= MAX_STRANGERS_ANSWERS
            && (reply <= request || answers.longer <= MAX_LONGER_ANSWERS)
    }
}

/// A client's five-tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    remote: SocketAddr,
    local: SocketAddr,
}

impl TurnUdp {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub fn start(server: Arc<TurnServer>, sockets: MediaSockets) -> io::Result<()> {
        let wake = Arc::new(Wake::new()?);
        let sockets = Arc::new(sockets);
        let (sender, queue) = thread_queue(wake.clone());
        let worker = move || Self {
            server,
            batch: Batch::new(sockets.clone()),
            sockets,
            wake,
            sender,
            queue,
            clients: HashMap::new(),
            relayed: HashMap::new(),
            strangers: Strangers::default(),
        };
        std::thread::Builder::new()
            .name("turn-udp".to_owned())
            .spawn(move || worker().run())?;
        Ok(())
    }

    fn run(&mut self) {
        let mut receiver = Receiver::new();
        let mut swept = Instant::now();
        loop {
            let ready = match self.sockets.wait(&self.wake, Some(SWEEP)) {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!(%error, "cannot wait for TURN datagrams");
                    std::thread::sleep(SWEEP);
                    continue;
                }
            };
            for index in 0..self.sockets.len() {
                if ready.readable(index) {
                    self.receive(&mut receiver, index);
                }
            }
            if ready.woken() {
                self.wake.clear();
                self.send_relayed();
            }
            let now = Instant::now();
            if now - swept >= SWEEP {
                swept = now;
                self.sweep(now);
            }
            self.batch.send();
        }
    }

    fn receive(&mut self, receiver: &mut Receiver, index: usize) {
        let sockets = self.sockets.clone();
        for _ in 0..MAX_BATCHES {
            let moment = moment();
            let more = receiver.receive(&sockets, index, |datagram| {
                let key = Key {
                    remote: datagram.remote,
                    local: datagram.local,
                };
                self.handle(key, datagram.payload, moment);
            });
            self.batch.send();
            if !more {
                return;
            }
        }
    }

    fn handle(&mut self, key: Key, bytes: &[u8], moment: turn::Moment) {
        if let Some(client) = self.clients.get_mut(&key) {
            let reply = client.handle(bytes, moment);
            if !client.has_allocation() {
                self.forget(key);
            }
            if let Some(reply) = reply {
                self.send(key, &reply);
            }
            return;
        }
        // Nothing is kept of a client without an allocation.
        let mut client = Client::new(self.server.clone(), key.remote, self.sender.clone());
        let reply = client.handle(bytes, moment);
        let is_stranger = !client.has_allocation();
        if let Some(relayed) = client.association.relayed() {
            self.relayed.insert(relayed, key);
            self.clients.insert(key, client);
        }
        let Some(reply) = reply else { return };
        let (ip, sizes) = (key.remote.ip(), (bytes.len(), reply.len()));
        if !is_stranger || self.strangers.may_answer(ip, sizes.0, sizes.1) {
            self.send(key, &reply);
        }
    }

    fn send(&mut self, key: Key, bytes: &[u8]) {
        send(&mut self.batch, key, bytes);
    }

    /// Sends the datagrams of the shards to the clients.
    fn send_relayed(&mut self) {
        let now = Instant::now();
        while let Some(out) = self.queue.try_recv() {
            self.queue.sent(out.frames.len());
            let key = self.relayed.get(&out.path.remote);
            let client = key.and_then(|key| Some((*key, self.clients.get(key)?)));
            if let Some((key, client)) = client {
                let batch = &mut self.batch;
                client.wrap(&out, false, now, |message| send(batch, key, message));
            }
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.strangers.0.clear();
        let over = |client: &Client| client.association.expires().is_none_or(|at| now >= at);
        let over: Vec<Key> = self
            .clients
            .iter()
            .filter(|(_, client)| over(client))
            .map(|(key, _)| *key)
            .collect();
        over.into_iter().for_each(|key| self.forget(key));
    }

    fn forget(&mut self, key: Key) {
        self.clients.remove(&key);
        self.relayed.retain(|_, other| *other != key);
    }
}

fn send(batch: &mut Batch, key: Key, bytes: &[u8]) {
    let to = Destination {
        remote: key.remote,
        local: key.local,
        protocol: TransportProtocol::Udp,
    };
    if let Some(buffer) = batch.reserve(to, bytes.len()) {
        buffer[..bytes.len()].copy_from_slice(bytes);
        batch.commit(bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_get_few_answers_that_are_longer_than_their_requests() {
        let (mut strangers, ip) = (Strangers::default(), "2001:db8::1".parse().unwrap());
        let neighbour = "2001:db8::2".parse().unwrap();
        let mut longer = (0..100)
            .filter(|_| strangers.may_answer(ip, 20, 44))
            .count();
        assert_eq!(longer, MAX_LONGER_ANSWERS as usize);
        assert!(
            !strangers.may_answer(neighbour, 20, 44),
            "of the same network"
        );
        assert!(!strangers.may_answer(ip, 100, 100), "so many in all");
        let other = "192.0.2.1".parse().unwrap();
        longer = (0..200)
            .filter(|_| strangers.may_answer(other, 108, 108))
            .count();
        assert_eq!(longer, MAX_STRANGERS_ANSWERS as usize);
    }
}
