//! The paths for clients whose datagrams do not reach the shards: media over TCP, the one public port, TURN.

use std::{net::IpAddr, sync::Arc};

use anyhow::Context;
use protocol::turn::TurnServers;

use crate::{
    config::Config,
    edge::Edge,
    ice_tcp::IceTcp,
    listen::{BindError, Listeners},
    media::{self, Media},
    metrics::Metrics,
    per_address::PerAddress,
    tls::{Certificates, RELOAD_INTERVAL, TlsPort},
    turn::{TurnServer, TurnUdp},
    udp::MediaSockets,
};

/// The ports of these paths, taken, and the certificate.
pub struct Networks {
    ice_tcp: Option<Listeners>,
    tls: Option<(Listeners, Arc<Certificates>)>,
    turn: Option<MediaSockets>,
}

/// The reason why the ports cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// A TCP port.
    #[error(transparent)]
    Tcp(#[from] BindError),
    /// A UDP port.
    #[error(transparent)]
    Udp(#[from] media::BindError),
    /// The certificate, in words.
    #[error("{0:#}")]
    Certificate(anyhow::Error),
}

impl Unavailable {
    /// Whether a port is taken.
    pub fn is_in_use(&self) -> bool {
        let source = match self {
            Self::Tcp(error) => &error.source,
            Self::Udp(error) => &error.source,
            Self::Certificate(_) => return false,
        };
        source.kind() == std::io::ErrorKind::AddrInUse
    }
}

impl Networks {
    /// Takes the ports that `config` wants.
    ///
    /// # Errors
    /// [`Unavailable`] when one of them is taken, or the certificate cannot be used.
    pub fn take(config: &Config) -> Result<Self, Unavailable> {
        let tls = match config.tls.is_enabled() {
            true => {
                let certificates =
                    Certificates::load(&config.tls).map_err(Unavailable::Certificate)?;
                Some((
                    Listeners::bind(&config.tls.bind, config.tls.port)?,
                    certificates,
                ))
            }
            false => None,
        };
        let bind: Vec<IpAddr> = config.tcp_bind();
        let ice_tcp = config
            .media
            .tcp
            .then(|| Listeners::bind(&bind, config.media.tcp_port));
        let addresses = config.media_addresses();
        let turn = config
            .turn
            .udp
            .then(|| media::bind(&addresses, config.turn.port, 1));
        Ok(Self {
            ice_tcp: ice_tcp.transpose()?,
            tls,
            turn: turn.transpose()?.and_then(|mut sockets| sockets.pop()),
        })
    }

    /// The one public port, as clients reach it.
    fn public_port(&self, config: &Config) -> Option<u16> {
        let (listeners, _) = self.tls.as_ref()?;
        Some(match config.tls.public_port {
            0 => listeners.port(),
            public => public,
        })
    }

    /// The ports that take ICE connections, as clients reach them: first the one that firewalls let through.
    pub fn tcp_ports(&self, config: &Config) -> Vec<u16> {
        let ice_tcp = self.ice_tcp.as_ref().map(Listeners::port);
        self.public_port(config)
            .into_iter()
            .chain(ice_tcp)
            .collect()
    }

    /// The URLs of our TURN server.
    pub fn turn_urls(&self, config: &Config) -> Vec<String> {
        let udp = self.turn.iter().flat_map(MediaSockets::addresses);
        let udp = udp.map(|address| format!("turn:{address}?transport=udp"));
        let host = &config.tls.host;
        let tls = self
            .public_port(config)
            .filter(|_| config.turn.tls && !host.is_empty())
            .map(|port| format!("turns:{host}:{port}?transport=tcp"));
        udp.chain(tls).collect()
    }

    /// Serves the ports for as long as the process lives. `users` are the users of the TURN server; `addresses` counts
    /// the connections of each client address, over TLS as without.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        self,
        config: &Config,
        media: Arc<Media>,
        users: TurnServers,
        (edge, addresses): (&Edge, PerAddress),
        metrics: &Metrics,
    ) -> anyhow::Result<()> {
        let most = config.limits.max_media_connections;
        let ice_tcp = IceTcp::new(media.clone(), metrics.clone(), most);
        let turn = TurnServer::new(media, users, &config.turn, metrics.clone());
        if let Some(sockets) = self.turn {
            TurnUdp::start(turn.clone(), sockets).context("cannot start the TURN thread")?;
        }
        if let Some((listeners, certificates)) = self.tls {
            let turn = config.turn.tls.then_some(turn);
            let port = TlsPort::new(&certificates, edge.secure_port(), ice_tcp.clone(), turn)?;
            tokio::spawn(certificates.watch(RELOAD_INTERVAL));
            let limit = config.limits.max_connections + most;
            listeners.serve(limit, Some(addresses), move |stream, remote, guest| {
                port.clone().serve(stream, remote, guest)
            });
        }
        if let Some(listeners) = self.ice_tcp {
            listeners.serve(most, None, move |stream, remote, _| {
                ice_tcp.clone().serve(stream, remote)
            });
        }
        Ok(())
    }
}
