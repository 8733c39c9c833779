//! The media sockets of one shard: datagrams in by `recvmmsg` and UDP_GRO, out by `sendmmsg` and UDP_SEGMENT.
//!
//! A shard has one port and one socket for each address family (or for each address, where it may only be reached on
//! the loopback ones). Where the kernel has no GSO or GRO the same code sends and receives single datagrams.

mod batch;
mod sys;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use sfu::{Datagram, Destination, TransportProtocol};
use socket2::{Domain, Protocol, Socket, Type};

pub use batch::Batch;

/// Size of the largest message, bytes: UDP_GRO may hand over as much at once.
const RECEIVE_BUFFER: usize = 65_536;

/// Distance of two message buffers. Not a multiple of the page size: otherwise the first bytes of all buffers, which
/// are the ones in use, would compete for the same few sets of the processor's first cache.
const RECEIVE_STRIDE: usize = RECEIVE_BUFFER + 1_344;

/// Size of the socket buffers that the kernel is asked for, bytes, in both directions (it grants at most
/// net.core.rmem_max and wmem_max): at 1 Gbit/s, 60 ms.
const SOCKET_BUFFER: usize = 8 << 20;

/// The number of times that a shard's sockets try to agree on one port when the system chooses it.
const EPHEMERAL_ATTEMPTS: usize = 16;

/// The counters of one shard's sockets, since the start. Added to once per batch.
#[derive(Debug, Default)]
pub struct UdpCounters {
    /// Datagrams received.
    pub packets_in: AtomicU64,
    /// Bytes received, UDP payload.
    pub bytes_in: AtomicU64,
    /// Datagrams sent.
    pub packets_out: AtomicU64,
    /// Bytes sent, UDP payload.
    pub bytes_out: AtomicU64,
    /// Number of receiving system calls.
    pub receive_calls: AtomicU64,
    /// Number of sending system calls.
    pub send_calls: AtomicU64,
    /// Datagrams dropped on receipt: not sent to one of our addresses, or longer than a datagram can be.
    pub dropped_in: AtomicU64,
    /// Datagrams not sent: the socket's buffer was full.
    pub dropped_would_block: AtomicU64,
    /// Datagrams not sent: the system refused (no route, forbidden by a firewall).
    pub dropped_refused: AtomicU64,
    /// Datagrams not sent: no socket for the source address, or too long.
    pub dropped_unsendable: AtomicU64,
    /// Datagrams not sent: the client does not read its connection, or its allocation, fast enough.
    pub dropped_link_slow: AtomicU64,
    /// Datagrams not sent: the client's connection or allocation is gone.
    pub dropped_link_gone: AtomicU64,
    /// Reads of connections and allocations that were dropped: the media thread was behind.
    pub dropped_link_in: AtomicU64,
}

/// The sockets of one shard.
#[derive(Debug)]
pub struct MediaSockets {
    sockets: Vec<MediaSocket>,
    /// The addresses under which peers know us, and their meaning here.
    addresses: Vec<Address>,
    port: u16,
    counters: UdpCounters,
}

#[derive(Debug)]
struct MediaSocket {
    socket: UdpSocket,
    bound: IpAddr,
    /// Whether UDP_SEGMENT works; cleared for good when an interface refuses it.
    gso: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Address {
    advertised: IpAddr,
    /// Index of the socket that sends from the address.
    socket: usize,
    /// The source address to pin; `None` where the socket is bound to it, or where it is not an address of this machine
    /// but of the NAT before it.
    source: Option<IpAddr>,
    /// The address is not one of this machine.
    translated: bool,
}

/// The way out of a datagram: socket and source address.
#[derive(Debug, Clone, Copy)]
struct Route {
    socket: usize,
    source: Option<IpAddr>,
}

impl MediaSockets {
    /// Binds the sockets that make `addresses` reachable on `port` (0: one that the system chooses).
    ///
    /// Loopback addresses alone are bound one by one, so that nobody else can reach them. Otherwise each family's
    /// wildcard is bound. An address that is not this machine's own is taken for that of a NAT before it.
    ///
    /// # Errors
    /// `AddrInUse` when the port is taken. An IPv6 address on a machine without IPv6 is left out; nothing left over is
    /// `AddrNotAvailable`.
    pub fn bind(addresses: &[IpAddr], port: u16) -> io::Result<Self> {
        let mut attempts = if port == 0 { EPHEMERAL_ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            match Self::bind_once(addresses, port) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
                result => return result,
            }
        }
    }

    fn bind_once(addresses: &[IpAddr], mut port: u16) -> io::Result<Self> {
        let loopback_only = addresses.iter().all(IpAddr::is_loopback);
        let mut sockets: Vec<MediaSocket> = Vec::new();
        let mut known = Vec::new();
        for &advertised in addresses {
            let bind_to = match advertised {
                _ if loopback_only => advertised,
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            let socket = match sockets.iter().position(|s| s.bound == bind_to) {
                Some(index) => index,
                None => match MediaSocket::bind(SocketAddr::new(bind_to, port)) {
                    Ok((socket, bound_port)) => {
                        port = bound_port;
                        sockets.push(socket);
                        sockets.len() - 1
                    }
                    Err(error) if advertised.is_ipv6() && is_without_ipv6(&error) => continue,
                    Err(error) => return Err(error),
                },
            };
            let translated = !bind_to.is_loopback() && UdpSocket::bind((advertised, 0)).is_err();
            let source = (bind_to.is_unspecified() && !translated).then_some(advertised);
            known.push(Address {
                advertised,
                socket,
                source,
                translated,
            });
        }
        if sockets.is_empty() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        Ok(Self {
            sockets,
            addresses: known,
            port,
            counters: UdpCounters::default(),
        })
    }

    /// The addresses at which peers can reach the sockets: the host candidates.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses
            .iter()
            .map(|a| SocketAddr::new(a.advertised, self.port))
            .collect()
    }

    /// The port, the same for all sockets.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The counters so far.
    pub fn counters(&self) -> &UdpCounters {
        &self.counters
    }

    /// Number of sockets.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Never true: without a socket `bind` fails.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    fn route(&self, to: Destination) -> Option<Route> {
        let local = to.local.ip();
        let address = self.addresses.iter().find(|a| a.advertised == local)?;
        (to.remote.is_ipv4() == local.is_ipv4()).then_some(Route {
            socket: address.socket,
            source: address.source,
        })
    }

    /// The address that a peer used, given the one a datagram or a connection arrived at.
    pub fn advertised(&self, local: IpAddr) -> Option<IpAddr> {
        if self.addresses.iter().any(|a| a.advertised == local) {
            return Some(local);
        }
        // Behind a NAT the datagram was sent to the outer address. With several of them it cannot be known which.
        let mut outer = self
            .addresses
            .iter()
            .filter(|a| a.translated && a.advertised.is_ipv4() == local.is_ipv4());
        match (outer.next(), outer.next()) {
            (Some(address), None) => Some(address.advertised),
            _ => None,
        }
    }

    /// Waits until a socket has datagrams, `wake` is signalled or `timeout` has passed; an interrupted wait returns
    /// early.
    pub fn wait(&self, wake: &Wake, timeout: Option<Duration>) -> io::Result<Ready> {
        let mut fds = [wake.event.as_fd(); 32];
        let count = self.sockets.len().min(31);
        for (slot, socket) in fds[1..].iter_mut().zip(&self.sockets) {
            *slot = socket.socket.as_fd();
        }
        sys::wait(&fds[..=count], sys::Interest::Readable, timeout).map(Ready)
    }
}

impl MediaSocket {
    fn bind(address: SocketAddr) -> io::Result<(Self, u16)> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        // A size above what the system allows is cut down, without an error.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        socket.bind(&address.into())?;
        let socket: UdpSocket = socket.into();
        let fd = socket.as_fd();
        if address.ip().is_unspecified() {
            match address {
                SocketAddr::V4(_) => sys::set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?,
                SocketAddr::V6(_) => {
                    sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?
                }
            }
        }
        // Linux before 5.0 has no GRO, before 4.18 no GSO: both say so here. Zero leaves GSO to each message.
        let gro = sys::set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
        let gso = sys::set_option(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        if !gro || !gso {
            tracing::warn!(
                gso,
                gro,
                "the kernel lacks UDP offloads: each datagram will cost more"
            );
        }
        let port = socket.local_addr()?.port();
        Ok((
            Self {
                socket,
                bound: address.ip(),
                gso: AtomicBool::new(gso),
            },
            port,
        ))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT)
    )
}

/// The sockets that [`MediaSockets::wait`] found ready.
#[derive(Debug, Clone, Copy)]
pub struct Ready(u32);

impl Ready {
    /// Nothing is ready: the time has passed.
    pub const NONE: Self = Self(0);

    /// Whether the wake was signalled.
    pub fn woken(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether socket `index` has datagrams.
    pub fn readable(self, index: usize) -> bool {
        self.0 >> (index + 1) & 1 != 0
    }
}

/// A signal that wakes a thread out of [`MediaSockets::wait`].
#[derive(Debug)]
pub struct Wake {
    event: OwnedFd,
}

impl Wake {
    /// A wake that is not signalled.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            event: sys::event_fd()?,
        })
    }

    /// Ends the current or the next wait.
    pub fn signal(&self) {
        sys::event_signal(self.event.as_fd());
    }

    /// Clears the signal. Call before looking at what the signal was for.
    pub fn clear(&self) {
        sys::event_clear(self.event.as_fd());
    }
}

/// The receive buffer of a shard.
pub struct Receiver {
    slab: Vec<u8>,
    scratch: sys::Scratch,
    received: Vec<sys::Received>,
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl Receiver {
    /// A buffer for one batch. Its memory is only used as far as datagrams fill it.
    pub fn new() -> Self {
        Self {
            slab: vec![0; sys::MAX_MESSAGES * RECEIVE_STRIDE],
            scratch: sys::Scratch::new(),
            received: Vec::with_capacity(sys::MAX_MESSAGES),
        }
    }

    /// Receives the datagrams that wait on socket `index`, at most one batch, and gives each datagram to `handle`.
    /// Returns false when nothing (more) waits.
    pub fn receive(
        &mut self,
        sockets: &MediaSockets,
        index: usize,
        mut handle: impl FnMut(Datagram<'_>),
    ) -> bool {
        let socket = &sockets.sockets[index];
        let result = sys::receive(
            socket.fd(),
            &mut self.slab,
            RECEIVE_STRIDE,
            RECEIVE_BUFFER,
            &mut self.scratch,
            &mut self.received,
        );
        let counters = &sockets.counters;
        counters.receive_calls.fetch_add(1, Relaxed);
        if let Err(error) = result {
            // Any other error belongs to a datagram sent earlier (an ICMP answer): reading it has cleared it.
            return !matches!(error.kind(), io::ErrorKind::WouldBlock);
        }
        let (mut packets, mut bytes, mut dropped) = (0, 0, 0);
        for message in &self.received {
            let local = match message.local {
                Some(local) => sockets.advertised(local),
                None => Some(socket.bound),
            };
            let Some(local) = local.filter(|_| !message.truncated) else {
                dropped += 1;
                continue;
            };
            let local = SocketAddr::new(local, sockets.port);
            let start = message.slot * RECEIVE_STRIDE;
            for payload in self.slab[start..start + message.len].chunks(message.segment.max(1)) {
                packets += 1;
                bytes += payload.len() as u64;
                handle(Datagram {
                    remote: message.remote,
                    local,
                    protocol: TransportProtocol::Udp,
                    payload,
                });
            }
        }
        counters.packets_in.fetch_add(packets, Relaxed);
        counters.bytes_in.fetch_add(bytes, Relaxed);
        if dropped > 0 {
            counters.dropped_in.fetch_add(dropped, Relaxed);
        }
        // A batch that was not full emptied the socket: the next call would only say so.
        self.received.len() == sys::MAX_MESSAGES
    }
}
