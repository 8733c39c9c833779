//! Datagrams, and where they go.

use std::net::SocketAddr;

/// The way in which a datagram travels between a client and us. Part of every path: the same addresses mean something
/// else over another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportProtocol {
    /// Alone, in a UDP datagram.
    Udp,
    /// In a frame (RFC 4571) of a TCP connection that the client opened (RFC 6544).
    Tcp,
    /// Through an allocation of our own TURN server (RFC 8656): the client's address is the relayed one, which no
    /// socket has.
    Relay,
}

/// One received datagram, borrowed from the owner's receive buffer.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// The address that the datagram came from.
    pub remote: SocketAddr,
    /// The local address that it was sent to (one of [`Config::addresses`](super::Config::addresses), or of
    /// [`Config::tcp_addresses`](super::Config::tcp_addresses) over TCP).
    pub local: SocketAddr,
    /// The protocol that the datagram came by.
    pub protocol: TransportProtocol,
    /// The datagram's bytes. The shard opens SRTP elsewhere: the buffer is never written.
    pub payload: &'a [u8],
}

/// The path of a datagram to a client: remote address, our address and protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The peer's address.
    pub remote: SocketAddr,
    /// Our address, as the peer knows it.
    pub local: SocketAddr,
    /// The protocol that the datagram goes by.
    pub protocol: TransportProtocol,
}

impl Datagram<'_> {
    /// The path on which the datagram came, which is the path for answers.
    pub fn path(&self) -> Destination {
        Destination {
            remote: self.remote,
            local: self.local,
            protocol: self.protocol,
        }
    }
}

/// The send buffer, owned by the caller. Consecutive reservations for one destination become one GSO run.
pub trait SendBatch {
    /// Room for one datagram of at most `len` bytes to `to`, or `None` when the buffer is full (the datagram is
    /// then dropped and counted). The content of the slice is unspecified.
    fn reserve(&mut self, to: Destination, len: usize) -> Option<&mut [u8]>;
    /// The first `len` bytes of the last reservation are a datagram. A reservation that is not committed is not sent.
    fn commit(&mut self, len: usize);
}
