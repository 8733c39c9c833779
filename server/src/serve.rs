//! `conclave serve`: from a configuration to a running server, and its end.

use std::{
    future::Future,
    io::{self, Write},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use node::Limits;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use protocol::turn::TurnServers;

use crate::{
    agents::Agents,
    config::{Config, DEV_KEY, DEV_SECRET, JoinMeetings, StartMeetings},
    descriptors,
    edge::{Edge, LocalNames, metrics_http},
    groups::Groups,
    listen::Listeners,
    media::{self, Media, ShardSettings},
    meetings::Meetings,
    metrics::{Exporter, Metrics},
    networks::Networks,
    per_address::PerAddress,
    rooms::Rooms,
    udp::MediaSockets,
    webhooks::Webhooks,
};

/// The most connections for figures at a time.
const METRICS_CONNECTIONS: usize = 16;

/// The ports of the server, all taken before anything runs: a server that cannot have them says so and ends.
struct Ports {
    http: Listeners,
    metrics: Option<Listeners>,
    media: Vec<MediaSockets>,
    networks: Networks,
}

/// Runs the server until it is told to stop.
///
/// # Errors
/// When a port is taken, or the system refuses threads, memory or random numbers. The text is for the administrator.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    // 1. Take the ports.
    descriptors::take(&config);
    let ports = Ports::take(&config)?;
    let mut stop = Stop::new()?;

    // 2. Start the media threads.
    let tcp_ports = ports.networks.tcp_ports(&config);
    let turn_urls = ports.networks.turn_urls(&config);
    let media = Arc::new(start_media(&config, ports.media, tcp_ports.clone())?);

    // 3. Open the rooms' table and the edge.
    let metrics = Metrics::default();
    let webhooks = Webhooks::start(&config.webhook, &config.keys, &metrics).await?;
    let lifetime = config.turn.credential_lifetime.into();
    let turn_users = TurnServers::new(turn_urls.clone(), &rand::random(), lifetime);
    let mut room_config = config.room.clone();
    room_config.turn = Some(turn_users.clone());
    room_config.simulations |= config.dev;
    let room_config = Arc::new(room_config);
    let (agents, agents_task) =
        Agents::new(room_config.clone(), config.keys.clone(), metrics.clone());
    let (meetings, keys) = Meetings::open(&config).await?;
    let file = (!config.dev).then_some(&*config.encryption.file);
    let groups = Groups::open(file).await?;
    let rooms = Rooms::new(
        media.clone(),
        room_config,
        Limits {
            all: config.limits.max_rooms,
            per_key: config.limits.max_rooms_per_key,
        },
        webhooks.clone(),
        agents.clone(),
        (meetings.clone(), groups),
    );
    tokio::spawn(agents_task.run(rooms.clone()));
    let (alive, mut sessions) = mpsc::channel(1);
    let local = LocalNames::new(&config.http.bind, &config.tls.host);
    let edge = Edge::new(
        (rooms.clone(), agents.clone()),
        (meetings, keys),
        metrics.clone(),
        config.dev.then_some(local),
        &config.http,
        &alive,
    );
    let port = ports.http.port();
    let metrics_port = ports.metrics.as_ref().map(Listeners::port);
    let http = edge.port();
    let limits = &config.limits;
    let addresses = PerAddress::new(
        limits.max_connections_per_address,
        limits.max_strangers_per_address,
    )
    .trusting(&config.http.trusted_proxies);
    ports.http.serve(
        limits.max_connections,
        Some(addresses.clone()),
        move |stream, remote, guest| http.clone().serve(stream, remote.ip(), guest),
    );
    if let Some(listeners) = ports.metrics {
        let http = metrics_http(Exporter::new(&metrics, rooms.clone()));
        listeners.serve(METRICS_CONNECTIONS, None, move |stream, remote, guest| {
            http.clone().serve(stream, remote.ip(), guest)
        });
    }
    ports
        .networks
        .start(&config, media, turn_users, (&edge, addresses), &metrics)?;
    announce(&config, port, metrics_port, &tcp_ports, &turn_urls, &rooms);

    // 4. Work until told to stop.
    stop.requested().await;

    // 5. Send everybody elsewhere, and wait for them to leave.
    let drain = Duration::from_secs(config.shutdown.drain_seconds.into());
    tracing::info!(
        rooms = rooms.count(),
        ?drain,
        "stopping: clients are told to reconnect"
    );
    agents.close();
    rooms.close();
    drop(alive);
    let drained = async {
        sessions.recv().await;
        rooms.ended().await;
        webhooks.stop().await;
    };
    tokio::select! {
        () = drained => tracing::info!("stopped"),
        () = tokio::time::sleep(drain) => tracing::warn!("stopped with sessions still open"),
        () = stop.requested() => tracing::warn!("stopped at once, as asked a second time"),
    }
    Ok(())
}

impl Ports {
    fn take(config: &Config) -> anyhow::Result<Self> {
        let hint = "another server is running there, or the port is reserved; choose another one in the configuration";
        let http = Listeners::bind(&config.http.bind, config.http.port)
            .map_err(|error| in_words(error.source.kind(), &error, hint))?;
        let address = config.metrics.address;
        let metrics = config
            .metrics
            .enabled
            .then(|| Listeners::bind(&[address.ip()], address.port()));
        let metrics = metrics
            .transpose()
            .map_err(|error| in_words(error.source.kind(), &error, hint))?;
        let media = media::bind(
            &config.media_addresses(),
            config.media.port,
            config.shards(),
        )
        .map_err(|error| in_words(error.source.kind(), &error, hint))?;
        let networks = Networks::take(config).map_err(|error| match error.is_in_use() {
            true => anyhow::anyhow!("{error}: {hint}"),
            false => anyhow::anyhow!("{error}"),
        })?;
        Ok(Self {
            http,
            metrics,
            media,
            networks,
        })
    }
}

/// One sentence that names the port and, where it is taken, what to do.
fn in_words(kind: io::ErrorKind, error: &impl std::fmt::Display, hint: &str) -> anyhow::Error {
    match kind {
        io::ErrorKind::AddrInUse => anyhow::anyhow!("{error}: {hint}"),
        _ => anyhow::anyhow!("{error}"),
    }
}

fn start_media(
    config: &Config,
    sockets: Vec<MediaSockets>,
    tcp_ports: Vec<u16>,
) -> anyhow::Result<Media> {
    let settings = ShardSettings {
        certificate: media::generate_certificate().context("cannot make a DTLS certificate")?,
        tcp_ports,
        connect_timeout_ms: config.media.connect_timeout_ms,
        consent_timeout_ms: config.media.consent_timeout_ms,
        max_peers: config.limits.max_participants_per_shard,
        max_tracks_per_peer: config.room.max_tracks,
        max_data_rate: config.limits.max_data_rate,
        congestion_control: config.media.congestion_control,
        audio_top_n: config.media.audio_top_n.into(),
    };
    Media::start(sockets, &settings).context("cannot start the media threads")
}

/// Logs what runs where, and prints the link on standard output in development mode.
fn announce(
    config: &Config,
    port: u16,
    metrics_port: Option<u16>,
    tcp_ports: &[u16],
    turn_urls: &[String],
    rooms: &Rooms,
) {
    let media: Vec<u16> = rooms
        .media()
        .shards()
        .iter()
        .map(|shard| shard.sockets().port())
        .collect();
    tracing::info!(bind = ?config.http.bind, port, ?media, ?tcp_ports, ?turn_urls, ?metrics_port, "ready");
    let by_link = config.meetings.join() == JoinMeetings::Link;
    if config.meetings.start == StartMeetings::Anyone && !by_link {
        tracing::warn!(
            "meetings.start lets anyone start a meeting, but meetings.join lets nobody enter it by link"
        );
    }
    if config.keys.is_empty() && !by_link {
        tracing::warn!(
            "there is no API key, so nobody can join: add one to the table [keys], or set CONCLAVE_KEYS"
        );
    }
    let host = match config.http.bind.first() {
        Some(ip) if !ip.is_loopback() && !ip.is_unspecified() => {
            std::net::SocketAddr::new(*ip, port).to_string()
        }
        _ => format!("localhost:{port}"),
    };
    let mut text = format!("Conclave is ready: http://{host}\n");
    if config.dev {
        text += &format!(
            "Development mode: API key {DEV_KEY}, secret {DEV_SECRET}, tokens for whoever asks.\n"
        );
        if !config.http.bind.iter().all(std::net::IpAddr::is_loopback) {
            text += "WARNING: the key and the secret are known to everybody, and this server can be reached from other \
                     machines: whoever reaches it can join and record every meeting. Use it for a trial only.\n";
        }
    }
    // Where nobody reads standard output, the server runs all the same.
    let _ = io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| io::stdout().flush());
}

/// A receiver of SIGTERM and SIGINT (Ctrl+C).
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    async fn requested(&mut self) {
        let terminate = pin!(self.terminate.recv());
        let interrupt = pin!(self.interrupt.recv());
        either(terminate, interrupt).await;
    }
}

async fn either(a: impl Future, b: impl Future) {
    tokio::select! {
        _ = a => {}
        _ = b => {}
    }
}
