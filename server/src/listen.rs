//! TCP ports: bound before anything runs, with a limit of open connections.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::per_address::{Admission, PerAddress};

/// The most connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// The number of times that the listeners try to agree on one port when the system chooses it.
const EPHEMERAL_ATTEMPTS: usize = 16;

/// The time after which the kernel asks whether the other end of a silent connection is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// Address and port.
    pub address: SocketAddr,
    /// The cause.
    pub source: io::Error,
}

/// An accepted connection's places among all and among those of its address. They are given up with its last clone,
/// which therefore goes wherever the connection goes. A request carries one along: a client that shows a valid token is
/// no stranger.
#[derive(Debug, Clone)]
pub struct Guest(Arc<Permits>);

#[derive(Debug)]
struct Permits {
    _slot: OwnedSemaphorePermit,
    /// The place among those of its address; `None`: the port does not count addresses.
    address: Option<Admission>,
}

impl Guest {
    /// See [`Admission::introduce`].
    pub fn introduce(&self) {
        if let Some(admission) = &self.0.address {
            admission.introduce();
        }
    }

    /// See [`Admission::rest`].
    pub fn rest(&self) {
        if let Some(admission) = &self.0.address {
            admission.rest();
        }
    }

    /// See [`Admission::work`].
    pub fn work(&self) -> bool {
        self.0.address.as_ref().is_none_or(Admission::work)
    }

    /// See [`Admission::unwanted`].
    pub async fn unwanted(&self) {
        match &self.0.address {
            Some(admission) => admission.unwanted().await,
            None => std::future::pending().await,
        }
    }

    /// A guest with this place among those of its address.
    #[cfg(test)]
    pub(crate) fn with(address: Option<Admission>) -> Self {
        let slots = Arc::new(Semaphore::new(1));
        let _slot = slots.try_acquire_owned().unwrap();
        Self(Arc::new(Permits { _slot, address }))
    }

    /// The network that the connection counts for; `None`: it counts for none.
    pub fn network(&self) -> Option<IpAddr> {
        self.0.address.as_ref().and_then(Admission::network)
    }
}

/// The sockets of one port, on one address or several.
#[derive(Debug)]
pub struct Listeners {
    listeners: Vec<TcpListener>,
    port: u16,
}

impl Listeners {
    /// Listens on `port` (0: one that the system chooses) of all `addresses`.
    ///
    /// # Errors
    /// [`BindError`] when the port is taken. IPv6 addresses on a machine without IPv6 are left out, unless nothing is
    /// left then.
    pub fn bind(addresses: &[IpAddr], port: u16) -> Result<Self, BindError> {
        let mut attempts = if port == 0 { EPHEMERAL_ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            match Self::bind_once(addresses, port) {
                Err(error) if error.source.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
                result => return result,
            }
        }
    }

    fn bind_once(addresses: &[IpAddr], mut port: u16) -> Result<Self, BindError> {
        let mut listeners = Vec::new();
        let mut missing = None;
        for &ip in addresses {
            let address = SocketAddr::new(ip, port);
            match listen(address) {
                Ok(listener) => {
                    port = listener.local_addr().map_or(port, |bound| bound.port());
                    listeners.push(listener);
                }
                Err(source) if ip.is_ipv6() && is_without_ipv6(&source) => {
                    missing = Some(BindError { address, source })
                }
                Err(source) => return Err(BindError { address, source }),
            }
        }
        match missing {
            Some(error) if listeners.is_empty() => Err(error),
            _ => Ok(Self { listeners, port }),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Hands each connection to `handle` for as long as the process lives; at most `max_connections` are open at a
    /// time, further ones wait in the kernel. Those of one client address are counted by `addresses`.
    pub fn serve<F, C>(self, max_connections: usize, addresses: Option<PerAddress>, handle: F)
    where
        F: Fn(TcpStream, SocketAddr, Guest) -> C + Clone + Send + 'static,
        C: Future<Output = ()> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        for listener in self.listeners {
            tokio::spawn(accept(
                listener,
                handle.clone(),
                slots.clone(),
                addresses.clone(),
            ));
        }
    }
}

async fn accept<F, C>(
    listener: TcpListener,
    handle: F,
    slots: Arc<Semaphore>,
    addresses: Option<PerAddress>,
) where
    F: Fn(TcpStream, SocketAddr, Guest) -> C,
    C: Future<Output = ()> + Send + 'static,
{
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, remote)) => {
                let address = match addresses.as_ref().map(|all| all.admit(remote.ip())) {
                    // Closed without a word: a client that opens that many does not read.
                    Some(None) => {
                        tracing::debug!("a client address has as many connections as it may");
                        continue;
                    }
                    admitted => admitted.flatten(),
                };
                let guest = Guest(Arc::new(Permits {
                    _slot: slot,
                    address,
                }));
                // Signal messages and frames of media are small and urgent.
                let _ = stream.set_nodelay(true);
                let keepalive = TcpKeepalive::new()
                    .with_time(KEEPALIVE)
                    .with_interval(KEEPALIVE / 4);
                let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
                let connection = handle(stream, remote, guest.clone());
                tokio::spawn(async move {
                    let _held = guest;
                    connection.await;
                });
            }
            Err(error) => {
                // Most likely there are no descriptors left: they come back as connections end.
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // With this, a server that restarts need not wait until the connections of the one before are forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT)
    )
}
