//! The media threads: each owns one [`Shard`], its sockets and a queue of commands.
//!
//! A thread waits for datagrams, a command or the shard's next timer, does what is due, and sends. Commands come in
//! through a channel with a wake-up; events go out to the mailbox of the room they belong to.

mod turns;
mod worker;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{self},
    },
    thread::JoinHandle,
    time::Duration,
};

use protocol::RoomSid;
use sfu::{Event, ShardCommand, stats::Stats};
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    links::Link,
    udp::{MediaSockets, Wake},
};

pub use turns::TurnTimes;
use worker::Worker;

/// The most reads of connections that wait for a media thread; further ones are dropped. 1,000 clients who send 50
/// packets a second are a twentieth of a second behind then.
const MAX_ARRIVALS: usize = 4096;

/// The most batches from other media threads that wait for one; further ones are dropped, as on a network. A thread
/// that is this far behind would deliver them too late anyway.
const MAX_RELAYED: usize = 1024;

/// The time for which a reader of figures waits for a busy media thread.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The mailbox for the events of a room. Unbounded: a shard has a few events for each command.
pub type EventSender = UnboundedSender<Event>;

/// The media threads of this process.
#[derive(Debug)]
pub struct Media {
    shards: Vec<ShardHandle>,
}

/// One media thread, seen from outside.
#[derive(Debug)]
pub struct ShardHandle {
    /// The configuration of the shard.
    config: sfu::Config,
    mailbox: Mailbox,
    arrivals: mpsc::SyncSender<Arrival>,
    sockets: Arc<MediaSockets>,
    figures: Arc<ShardFigures>,
    thread: Option<JoinHandle<()>>,
}

/// The sending ends of a media thread's queues, for everybody and for the other media threads.
#[derive(Debug, Clone)]
struct Mailbox {
    commands: mpsc::Sender<ToShard>,
    relayed: mpsc::SyncSender<Vec<u8>>,
    wake: Arc<Wake>,
}

/// The receiving ends of a media thread's queues.
struct Inbox {
    queue: mpsc::Receiver<ToShard>,
    arrived: mpsc::Receiver<Arrival>,
    relayed: mpsc::Receiver<Vec<u8>>,
}

impl Mailbox {
    fn send(&self, message: ToShard) {
        // Sending fails only once the thread has been told to stop.
        let _ = self.commands.send(message);
        self.wake.signal();
    }
}

/// The figures of a media thread, for metrics and placement.
#[derive(Debug, Default)]
pub struct ShardFigures {
    /// Number of participants.
    pub peers: AtomicUsize,
    /// Number of turns of the thread's loop.
    pub turns: AtomicU64,
    /// Processor time of the turns.
    pub turn_times: TurnTimes,
    /// Time in which the thread was not waiting, nanoseconds.
    pub busy_nanos: AtomicU64,
    /// Time by which timers were late, in all, nanoseconds.
    pub late_nanos: AtomicU64,
    /// Number of times that the thread had to start anew after a bug of ours.
    pub restarts: AtomicU64,
    /// Number of packets for other media threads that were too far behind.
    pub dropped_relayed: AtomicU64,
}

/// A message for a media thread.
#[derive(Debug)]
enum ToShard {
    /// A room opens on this shard; its events go to the sender.
    Open(RoomSid, EventSender),
    Command(ShardCommand),
    /// The link's connection, or its allocation, is gone.
    CloseLink(Arc<Link>),
    /// The engine's counters are wanted.
    Report(mpsc::SyncSender<Stats>),
    #[cfg(test)]
    Panic,
    Stop,
}

/// Frames that came over a link.
#[derive(Debug)]
struct Arrival {
    link: Arc<Link>,
    frames: Vec<u8>,
}

/// Settings that all shards share.
#[derive(Debug, Clone)]
pub struct ShardSettings {
    /// DTLS certificate of the process.
    pub certificate: sfu::Certificate,
    /// The ports that take ICE connections, as clients reach them, best first.
    pub tcp_ports: Vec<u16>,
    /// See [`sfu::Config`].
    pub connect_timeout_ms: u32,
    /// See [`sfu::Config`].
    pub consent_timeout_ms: u32,
    /// See [`sfu::Config`].
    pub max_peers: usize,
    /// See [`sfu::Config`].
    pub max_tracks_per_peer: usize,
    /// See [`sfu::Config`].
    pub max_data_rate: u32,
    /// See [`sfu::Config`].
    pub congestion_control: bool,
    /// See [`sfu::Config`].
    pub audio_top_n: usize,
}

impl ShardSettings {
    /// Settings for tests: a few participants, no limits that they would notice.
    #[cfg(test)]
    pub fn small() -> Self {
        Self {
            certificate: generate_certificate().expect("a certificate"),
            tcp_ports: Vec::new(),
            connect_timeout_ms: 30_000,
            consent_timeout_ms: 30_000,
            max_peers: 10,
            max_tracks_per_peer: 10,
            max_data_rate: 1 << 20,
            congestion_control: false,
            audio_top_n: 0,
        }
    }

    fn config(&self, index: usize, sockets: &MediaSockets) -> sfu::Config {
        let addresses = sockets.addresses();
        let on = |port: &u16| {
            let port = *port;
            addresses
                .iter()
                .map(move |address| SocketAddr::new(address.ip(), port))
        };
        sfu::Config {
            tcp_addresses: self.tcp_ports.iter().flat_map(on).collect(),
            addresses: addresses.clone(),
            index: u16::try_from(index).unwrap_or(u16::MAX),
            seed: rand::random(),
            certificate: self.certificate.clone(),
            connect_timeout_ms: self.connect_timeout_ms,
            consent_timeout_ms: self.consent_timeout_ms,
            max_peers: self.max_peers,
            max_tracks_per_peer: self.max_tracks_per_peer,
            max_data_rate: self.max_data_rate,
            congestion_control: self.congestion_control,
            audio_top_n: self.audio_top_n,
        }
    }
}

/// A self-signed DTLS certificate: peers know it by the fingerprint in the SDP.
///
/// # Errors
/// When the system has no random numbers.
pub fn generate_certificate() -> anyhow::Result<sfu::Certificate> {
    let dtls = dimpl::certificate::generate_self_signed_certificate()?;
    Ok(sfu::Certificate {
        certificate: dtls.certificate,
        private_key: dtls.private_key,
    })
}

/// A media port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on UDP port {port}: {source}")]
pub struct BindError {
    /// The port.
    pub port: u16,
    /// The cause.
    pub source: io::Error,
}

/// Binds the sockets of `count` shards, on `port` and those after it (0: ports that the system chooses).
///
/// # Errors
/// When one of the ports is taken.
pub fn bind(addresses: &[IpAddr], port: u16, count: u16) -> Result<Vec<MediaSockets>, BindError> {
    let ports = (0..count).map(|index| {
        if port == 0 {
            0
        } else {
            port.saturating_add(index)
        }
    });
    ports
        .map(|port| {
            MediaSockets::bind(addresses, port).map_err(|source| BindError { port, source })
        })
        .collect()
}

impl Media {
    /// Starts one thread for each of `sockets`.
    ///
    /// # Errors
    /// When the system refuses threads or descriptors.
    pub fn start(sockets: Vec<MediaSockets>, settings: &ShardSettings) -> io::Result<Self> {
        // Each thread knows the mailboxes of all before the first one runs.
        let (mut mailboxes, mut inboxes) = (Vec::new(), Vec::new());
        for sockets in sockets {
            let (commands, queue) = mpsc::channel();
            let (arrivals, arrived) = mpsc::sync_channel(MAX_ARRIVALS);
            let (relays, relayed) = mpsc::sync_channel(MAX_RELAYED);
            mailboxes.push(Mailbox {
                commands,
                relayed: relays,
                wake: Arc::new(Wake::new()?),
            });
            let inbox = Inbox {
                queue,
                arrived,
                relayed,
            };
            inboxes.push((sockets, arrivals, inbox));
        }
        let mailboxes: Arc<[Mailbox]> = mailboxes.into();
        let start = |(index, (sockets, arrivals, inbox))| {
            let all = mailboxes.clone();
            ShardHandle::start(index, sockets, arrivals, inbox, all, settings.clone())
        };
        Ok(Self {
            shards: inboxes
                .into_iter()
                .enumerate()
                .map(start)
                .collect::<io::Result<_>>()?,
        })
    }

    /// The shards, by index.
    pub fn shards(&self) -> &[ShardHandle] {
        &self.shards
    }
}

impl ShardHandle {
    fn start(
        index: usize,
        sockets: MediaSockets,
        arrivals: mpsc::SyncSender<Arrival>,
        inbox: Inbox,
        mailboxes: Arc<[Mailbox]>,
        settings: ShardSettings,
    ) -> io::Result<Self> {
        let mailbox = mailboxes[index].clone();
        let sockets = Arc::new(sockets);
        let config = settings.config(index, &sockets);
        let figures = Arc::new(ShardFigures::default());
        let thread = {
            let (sockets, figures) = (sockets.clone(), figures.clone());
            std::thread::Builder::new()
                .name(format!("media-{index}"))
                .spawn(move || {
                    Worker::new(index, inbox, mailboxes, sockets, figures, settings).run();
                })?
        };
        Ok(Self {
            config,
            mailbox,
            arrivals,
            sockets,
            figures,
            thread: Some(thread),
        })
    }

    /// A room opens on this shard. Its events go to `events` until [`RoomCommand::Close`].
    pub fn open(&self, room: RoomSid, events: EventSender) {
        self.send(ToShard::Open(room, events));
    }

    /// The configuration of the shard.
    pub fn config(&self) -> &sfu::Config {
        &self.config
    }

    /// Number of participants, as the thread counted them last.
    pub fn participants(&self) -> usize {
        self.figures.peers.load(Relaxed)
    }

    /// Carries out commands of a room, in their order: the thread is woken once for all of them.
    pub fn command(&self, commands: impl IntoIterator<Item = ShardCommand>) {
        for command in commands {
            // Sending fails only once the thread has been told to stop.
            let _ = self.mailbox.commands.send(ToShard::Command(command));
        }
        self.mailbox.wake.signal();
    }

    /// Hands over complete frames that came over `link`; they are dropped where the thread is behind. Never waits.
    pub fn deliver(&self, link: &Arc<Link>, frames: Vec<u8>) {
        let link = link.clone();
        if self.arrivals.try_send(Arrival { link, frames }).is_err() {
            self.sockets
                .counters()
                .dropped_link_in
                .fetch_add(1, Relaxed);
        }
        self.mailbox.wake.signal();
    }

    /// `link` is gone.
    pub fn close_link(&self, link: Arc<Link>) {
        self.send(ToShard::CloseLink(link));
    }

    fn send(&self, message: ToShard) {
        self.mailbox.send(message);
    }

    /// The engine's counters, or `None` when the thread is too busy to tell. Blocks until it has answered.
    pub fn stats(&self) -> Option<Stats> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.send(ToShard::Report(sender));
        receiver.recv_timeout(REPORT_TIMEOUT).ok()
    }

    /// The figures of the thread.
    pub fn figures(&self) -> &ShardFigures {
        &self.figures
    }

    /// The sockets of the shard.
    pub fn sockets(&self) -> &MediaSockets {
        &self.sockets
    }
}

impl Drop for ShardHandle {
    fn drop(&mut self) {
        self.send(ToShard::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rand::{SeedableRng, rngs::StdRng};
    use sfu::{MemberCommand, PeerPermissions};
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use protocol::ParticipantSid;
    use sfu::DisconnectReason;

    fn media(count: u16) -> Media {
        let sockets = bind(&[Ipv4Addr::LOCALHOST.into()], 0, count).unwrap();
        let settings = ShardSettings::small();
        Media::start(sockets, &settings).unwrap()
    }

    #[test]
    fn each_process_has_a_certificate_of_its_own_and_does_not_print_it() {
        let [one, two] = [0, 1].map(|_| generate_certificate().unwrap());
        assert_ne!(one.private_key, two.private_key);
        assert_ne!(one.certificate, two.certificate);
        assert_eq!(format!("{one:?}"), "Certificate(…)");
    }

    fn join(shard: &ShardHandle, room: RoomSid, peer: ParticipantSid) {
        let permissions = PeerPermissions {
            can_publish_data: true,
            hidden: false,
            agent: false,
            hears_all: false,
        };
        let add = ShardCommand::Member(MemberCommand::Add {
            room,
            peer,
            identity: "somebody".into(),
            principal: "somebody".into(),
            permissions,
        });
        shard.command([add]);
    }

    #[test]
    fn events_go_to_the_room_they_are_about() {
        let sockets = bind(&[Ipv4Addr::LOCALHOST.into()], 0, 1).unwrap();
        // Whoever comes is told that there is no room.
        let settings = ShardSettings {
            max_peers: 0,
            ..ShardSettings::small()
        };
        let media = Media::start(sockets, &settings).unwrap();
        let shard = &media.shards()[0];
        let mut rng = StdRng::seed_from_u64(1);
        let mut rooms: Vec<_> = (0..2)
            .map(|_| {
                let (room, peer) = (RoomSid::random(&mut rng), ParticipantSid::random(&mut rng));
                let (events, mailbox) = unbounded_channel();
                shard.open(room, events);
                join(shard, room, peer);
                (peer, mailbox)
            })
            .collect();
        for (peer, mailbox) in &mut rooms {
            let event = mailbox.blocking_recv().unwrap();
            assert!(
                matches!(event, Event::NegotiationFailed { peer: about, .. } if about == *peer),
                "{event:?}"
            );
        }
    }

    #[test]
    fn participants_are_counted_when_they_are_on_the_shard() {
        let media = media(2);
        let mut rng = StdRng::seed_from_u64(2);
        let room = RoomSid::random(&mut rng);
        join(&media.shards()[1], room, ParticipantSid::random(&mut rng));
        join(&media.shards()[1], room, ParticipantSid::random(&mut rng));
        assert_eq!(media.shards()[1].stats().unwrap().peers, 2);
        let participants = media.shards().iter().map(ShardHandle::participants);
        assert_eq!(participants.collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn a_shard_that_panics_starts_anew_and_tells_its_rooms() {
        let media = media(1);
        let shard = &media.shards()[0];
        let mut rng = StdRng::seed_from_u64(3);
        let (room, peer) = (RoomSid::random(&mut rng), ParticipantSid::random(&mut rng));
        let (events, mut mailbox) = unbounded_channel();
        shard.open(room, events);
        join(shard, room, peer);
        shard.send(ToShard::Panic);
        let expected = Event::Disconnected {
            peer,
            reason: DisconnectReason::Internal,
        };
        assert_eq!(mailbox.blocking_recv(), Some(expected));
        assert_eq!(shard.stats().unwrap().peers, 0);
        assert_eq!(shard.figures().restarts.load(Relaxed), 1);
        // It works for those who come back.
        join(shard, room, ParticipantSid::random(&mut rng));
        assert_eq!(shard.stats().unwrap().peers, 1);
    }
}
