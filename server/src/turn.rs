//! The shell of the TURN server: clients over UDP (a thread with sockets of its own) and over TLS (tasks), and between
//! them and the shards the links of allocations. The crate `turn` decides what is allowed.

mod stream;
mod udp;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use protocol::turn::TurnServers;
use sfu::{Destination, TransportProtocol};
use turn::{Association, Moment, Outcome, Quotas, Registry, Settings, auth::Nonces};

use crate::{
    config::Turn,
    links::{Link, LinkSender, MAX_FRAMED, Outgoing, datagrams},
    media::Media,
    metrics::{Metrics, Refusal},
};

pub use udp::TurnUdp;

/// The realm of our challenges, which are short.
const REALM: &str = "conclave";

/// The TURN server of the process.
pub struct TurnServer {
    settings: Settings,
    registry: Mutex<Registry>,
    users: TurnServers,
    media: Arc<Media>,
    /// The shard of each media address.
    shards: HashMap<SocketAddr, usize>,
    metrics: Metrics,
}

impl TurnServer {
    /// A server that relays to the shards of `media`, for the users of `users`.
    pub fn new(
        media: Arc<Media>,
        users: TurnServers,
        config: &Turn,
        metrics: Metrics,
    ) -> Arc<Self> {
        let mut shards = HashMap::new();
        for (index, shard) in media.shards().iter().enumerate() {
            shards.extend(
                shard
                    .sockets()
                    .addresses()
                    .into_iter()
                    .map(|address| (address, index)),
            );
        }
        let mut peers: Vec<SocketAddr> = shards.keys().copied().collect();
        peers.sort();
        let mut relayed: Vec<IpAddr> = peers.iter().map(SocketAddr::ip).collect();
        relayed.dedup();
        let quotas = Quotas {
            per_user: config.max_allocations_per_participant,
            total: config.max_allocations,
        };
        Arc::new(Self {
            settings: Settings {
                realm: REALM.to_owned(),
                nonces: Nonces::new(&rand::random()),
                peers,
            },
            registry: Mutex::new(Registry::new(relayed, quotas)),
            users,
            media,
            shards,
            metrics,
        })
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Every change of the registry is complete before anything can panic.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The principal of a user, by which quotas count: a participant has other credentials after each join.
fn principal(user: &str) -> &str {
    user.split_once(':')
        .map_or(user, |(_, principal)| principal)
}

fn moment() -> Moment {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    Moment {
        now: Instant::now(),
        unix: unix.unwrap_or_default().as_secs(),
    }
}

/// One client, with the links of its allocation.
struct Client {
    server: Arc<TurnServer>,
    association: Association,
    links: HashMap<SocketAddr, (usize, Arc<Link>)>,
    sender: LinkSender,
}

impl Client {
    fn new(server: Arc<TurnServer>, remote: SocketAddr, sender: LinkSender) -> Self {
        Self {
            server,
            association: Association::new(remote),
            links: HashMap::new(),
            sender,
        }
    }

    fn has_allocation(&self) -> bool {
        self.association.relayed().is_some()
    }

    /// Handles a message. Returns the answer for the client.
    fn handle(&mut self, bytes: &[u8], moment: Moment) -> Option<Vec<u8>> {
        let server = self.server.clone();
        let users = &server.users;
        let password = |user: &str, is_known| users.password(user, is_known, moment.unix);
        let mut outcome = self
            .association
            .handle(bytes, &server.settings, password, moment);
        if let Outcome::Allocate(request) = outcome {
            let user = principal(&request.user).to_owned();
            let result = server.registry().allocate(&user, request.ipv6);
            outcome = self.association.allocated(request, result, moment.now);
            if result.is_ok() {
                server.metrics.turn_allocations.inc();
            }
        }
        match outcome {
            Outcome::Nothing | Outcome::Allocate(_) => None,
            Outcome::Reply(reply) => Some(reply),
            Outcome::Relay { peer, payload } => {
                self.relay(peer, payload);
                None
            }
            Outcome::Refused(refusal, reply) => {
                let reason = refusal.as_str();
                server
                    .metrics
                    .turn_refused
                    .get_or_create(&Refusal { reason })
                    .inc();
                reply
            }
            Outcome::Ended(reply) => {
                self.end();
                Some(reply)
            }
        }
    }

    fn relay(&mut self, peer: SocketAddr, payload: &[u8]) {
        let (Some(relayed), Some(&index)) =
            (self.association.relayed(), self.server.shards.get(&peer))
        else {
            return;
        };
        let Some(len) = u16::try_from(payload.len())
            .ok()
            .filter(|len| usize::from(*len) <= MAX_FRAMED)
        else {
            return;
        };
        let (index, link) = self.links.entry(peer).or_insert_with(|| {
            let path = Destination {
                remote: relayed,
                local: peer,
                protocol: TransportProtocol::Relay,
            };
            (index, Arc::new(Link::new(path, self.sender.clone())))
        });
        let mut frames = Vec::with_capacity(2 + payload.len());
        frames.extend_from_slice(&len.to_be_bytes());
        frames.extend_from_slice(payload);
        self.server.media.shards()[*index].deliver(link, frames);
    }

    /// Calls `send` with the message that brings each datagram of `out` to the client.
    fn wrap(&self, out: &Outgoing, is_stream: bool, now: Instant, mut send: impl FnMut(&[u8])) {
        let mut message = Vec::new();
        for payload in datagrams(&out.frames) {
            message.clear();
            let peer = out.path.local;
            if self
                .association
                .wrap(peer, payload, rand::random(), is_stream, &mut message, now)
            {
                send(&message);
            }
        }
    }

    /// Gives the client's allocation back, if it has one.
    fn end(&mut self) {
        for (_, (index, link)) in self.links.drain() {
            self.server.media.shards()[index].close_link(link);
        }
        if let Some((user, relayed)) = self.association.end() {
            self.server.registry().release(principal(&user), relayed);
            self.server.metrics.turn_allocations.dec();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.end();
    }
}
