//! ICE over TCP (RFC 6544): connections that clients open where UDP does not get through. A frame (RFC 4571) is a
//! datagram for the shard whose number is in the ufrag of the connection's first STUN check.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use sfu::{Destination, TransportProtocol};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Semaphore,
    time::timeout,
};

use crate::{
    links::{Link, LinkReceiver, complete_frames, datagrams, link_queue},
    media::{Media, ShardHandle},
    metrics::{Metrics, Refusal},
    per_address::{Admission, PerAddress},
};

/// The time in which a client must have passed a STUN check. A client checks as soon as it is connected.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// The time after which a silent connection is closed. Clients check the path they use every few seconds, and those
/// they keep in reserve twice a minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The time after which a client that takes no bytes is gone.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The most connections from one address that have not passed a check. A browser opens one to each of our candidates;
/// behind one address may be a company, but its clients pass within a round trip.
pub const MAX_UNCHECKED_PER_ADDRESS: usize = 64;

/// The most bytes that are read at once.
const READ_BUFFER: usize = 16 * 1024;

/// The most bytes that the kernel holds and that are not on the wire yet. The rest stays with us, where it is dropped
/// when it is old.
const NOT_SENT: u32 = 32 * 1024;

/// The server of ICE connections. Cheap to clone.
#[derive(Clone)]
pub struct IceTcp(Arc<Inner>);

struct Inner {
    media: Arc<Media>,
    metrics: Metrics,
    slots: Arc<Semaphore>,
    unchecked: PerAddress,
}

/// The reason why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client closed the connection, or it broke.
    Closed,
    TooMany,
    TooManyOfAddress,
    /// The first frame is no STUN check for one of our shards.
    NoCheck,
    /// No check was passed in time.
    Unchecked,
    Malformed,
    Idle,
    Stalled,
}

impl End {
    fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Closed => None,
            Self::TooMany => Some("too_many"),
            Self::TooManyOfAddress => Some("too_many_of_address"),
            Self::NoCheck => Some("no_check"),
            Self::Unchecked => Some("unchecked"),
            Self::Malformed => Some("malformed"),
            Self::Idle => Some("idle"),
            Self::Stalled => Some("stalled"),
        }
    }
}

impl IceTcp {
    /// A server for the shards of `media`, with at most `max_connections` at a time.
    pub fn new(media: Arc<Media>, metrics: Metrics, max_connections: usize) -> Self {
        Self(Arc::new(Inner {
            media,
            metrics,
            slots: Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))),
            unchecked: PerAddress::new(MAX_UNCHECKED_PER_ADDRESS, MAX_UNCHECKED_PER_ADDRESS),
        }))
    }

    /// Serves one connection until it ends.
    pub async fn serve(self, stream: TcpStream, remote: SocketAddr) {
        let end = self.run(stream, remote).await.unwrap_or_else(|end| end);
        if let Some(reason) = end.as_str() {
            self.0
                .metrics
                .media_connections_closed
                .get_or_create(&Refusal { reason })
                .inc();
        }
    }

    async fn run(&self, stream: TcpStream, remote: SocketAddr) -> Result<End, End> {
        let _slot = self
            .0
            .slots
            .clone()
            .try_acquire_owned()
            .map_err(|_| End::TooMany)?;
        let unchecked = self.admit(remote.ip()).ok_or(End::TooManyOfAddress)?;
        let local = stream.local_addr().map_err(|_| End::Closed)?;
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(NOT_SENT);
        let (reader, writer) = stream.into_split();
        let mut reader = FrameReader::new(reader);
        let first = timeout(CHECK_TIMEOUT, reader.read())
            .await
            .map_err(|_| End::Unchecked)??;
        let check = datagrams(&first).next().ok_or(End::NoCheck)?;
        let shard = sfu::stream_shard(check)
            .and_then(|index| self.0.media.shards().get(usize::from(index)))
            .ok_or(End::NoCheck)?;
        // Behind a NAT that maps several addresses to one it cannot be known which the client used; any will do.
        let ip = shard.sockets().advertised(local.ip()).unwrap_or(local.ip());
        let path = Destination {
            remote,
            local: SocketAddr::new(ip, local.port()),
            protocol: TransportProtocol::Tcp,
        };
        let (sender, receiver) = link_queue();
        let link = Arc::new(Link::new(path, sender));
        shard.deliver(&link, first);
        self.0.metrics.media_connections.inc();
        let end = tokio::select! {
            end = receive(reader, shard, &link) => end,
            end = send(writer, receiver, unchecked) => end,
        };
        self.0.metrics.media_connections.dec();
        shard.close_link(link);
        Ok(end)
    }

    /// Counts a connection that has still to pass a check, or to log in; `None` when its address has too many of them.
    pub fn admit(&self, ip: IpAddr) -> Option<Admission> {
        self.0.unchecked.admit(ip)
    }
}

async fn receive(mut reader: FrameReader, shard: &ShardHandle, link: &Arc<Link>) -> End {
    loop {
        match timeout(IDLE_TIMEOUT, reader.read()).await {
            Ok(Ok(frames)) => shard.deliver(link, frames),
            Ok(Err(end)) => return end,
            Err(_) => return End::Idle,
        }
    }
}

/// Sends the frames of a queue. Nothing is sent to a client before it has passed a check: the first frames are the
/// answer to that.
async fn send(mut writer: OwnedWriteHalf, mut queue: LinkReceiver, unchecked: Admission) -> End {
    let Ok(mut next) = timeout(CHECK_TIMEOUT, queue.recv()).await else {
        return End::Unchecked;
    };
    drop(unchecked);
    while let Some(out) = next {
        match timeout(STALL_TIMEOUT, writer.write_all(&out.frames)).await {
            Ok(Ok(())) => queue.sent(out.frames.len()),
            Ok(Err(_)) => return End::Closed,
            Err(_) => return End::Stalled,
        }
        next = queue.recv().await;
    }
    End::Closed
}

/// A reader that cuts the bytes of a connection into frames.
struct FrameReader {
    stream: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl FrameReader {
    fn new(stream: OwnedReadHalf) -> Self {
        Self {
            stream,
            buffer: Vec::with_capacity(READ_BUFFER),
        }
    }

    /// Reads one complete frame or more.
    async fn read(&mut self) -> Result<Vec<u8>, End> {
        loop {
            let complete = complete_frames(&self.buffer).map_err(|_| End::Malformed)?;
            if complete > 0 {
                let mut rest = Vec::with_capacity(READ_BUFFER);
                rest.extend_from_slice(&self.buffer[complete..]);
                let mut frames = std::mem::replace(&mut self.buffer, rest);
                frames.truncate(complete);
                return Ok(frames);
            }
            // A frame is never longer than the buffer, so there is always room.
            let read = self.stream.read_buf(&mut self.buffer).await;
            match read {
                Ok(0) => return Err(End::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(End::Closed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::media::{ShardSettings, bind};

    fn ice_tcp(max_connections: usize) -> IceTcp {
        let sockets = bind(&[IpAddr::from([127, 0, 0, 1])], 0, 1).unwrap();
        let settings = ShardSettings::small();
        let media = Arc::new(Media::start(sockets, &settings).unwrap());
        IceTcp::new(media, Metrics::default(), max_connections)
    }

    /// What becomes of a connection that sends `bytes`, and nothing more.
    async fn end_of(ice_tcp: &IceTcp, bytes: &[u8]) -> End {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, remote) = listener.accept().await.unwrap();
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        ice_tcp.run(stream, remote).await.unwrap_or_else(|end| end)
    }

    #[test]
    fn one_address_has_so_many_connections_that_proved_nothing_and_not_one_more() {
        let ice_tcp = ice_tcp(1000);
        let here: IpAddr = "192.0.2.1".parse().unwrap();
        let mut all: Vec<_> = (0..MAX_UNCHECKED_PER_ADDRESS)
            .map(|_| ice_tcp.admit(here).unwrap())
            .collect();
        assert!(ice_tcp.admit(here).is_none());
        assert!(ice_tcp.admit("192.0.2.2".parse().unwrap()).is_some());
        // One of them passed its check.
        all.pop();
        all.push(ice_tcp.admit(here).unwrap());
        assert!(ice_tcp.admit(here).is_none());
        // A subscriber has a whole network of IPv6 addresses.
        let v6 = |i: usize| -> IpAddr { format!("2001:db8::{i:x}").parse().unwrap() };
        let many: Vec<_> = (0..MAX_UNCHECKED_PER_ADDRESS)
            .map(|i| ice_tcp.admit(v6(i)).unwrap())
            .collect();
        assert!(ice_tcp.admit(v6(999)).is_none());
        drop((all, many));
        assert!(ice_tcp.0.unchecked.is_empty());
    }

    #[tokio::test]
    async fn what_is_no_check_for_a_shard_ends_at_once() {
        let ice_tcp = ice_tcp(10);
        assert_eq!(end_of(&ice_tcp, b"").await, End::Closed);
        assert_eq!(end_of(&ice_tcp, &[0]).await, End::Closed);
        assert_eq!(end_of(&ice_tcp, &[0, 0]).await, End::NoCheck);
        assert_eq!(
            end_of(&ice_tcp, b"GET / HTTP/1.1\r\n\r\n").await,
            End::Malformed
        );
        assert_eq!(end_of(&ice_tcp, &[0xff; 100]).await, End::Malformed);
        let junk = [&[0, 100][..], &[1; 100]].concat();
        assert_eq!(end_of(&ice_tcp, &junk).await, End::NoCheck);
        assert!(ice_tcp.0.unchecked.is_empty());
    }

    #[tokio::test]
    async fn there_are_so_many_connections_in_all_and_not_one_more() {
        let ice_tcp = ice_tcp(2);
        let first = ice_tcp.0.slots.clone().try_acquire_owned().unwrap();
        assert_eq!(end_of(&ice_tcp, &[0, 0]).await, End::NoCheck);
        let second = ice_tcp.0.slots.clone().try_acquire_owned().unwrap();
        assert_eq!(end_of(&ice_tcp, &[0, 0]).await, End::TooMany);
        drop((first, second));
        assert_eq!(end_of(&ice_tcp, &[0, 0]).await, End::NoCheck);
    }
}
