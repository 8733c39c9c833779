//! The layer between an HTTP connection and its socket: heads of requests share one budget of memory, a client that
//! does not read its answers is gone, and refusals of the HTTP library get a sentence.

use std::{
    collections::HashMap,
    io::{self, IoSlice},
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use crate::listen::Guest;

/// The bytes of a head that need no budget: usual heads, with a join request, have 3 to 8 KB.
const FREE: usize = 16 * 1024;

/// The most bytes of a head that are read at once, so that a buffer is hardly larger than its content.
const CHUNK: usize = 8 * 1024;

/// The budget of long heads: bytes of all connections together, and of one network. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Heads {
    held: Arc<Mutex<Held>>,
    max: usize,
    max_of_network: usize,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    networks: HashMap<IpAddr, usize>,
}

impl Heads {
    /// A budget of `max` bytes, of which one network may hold `max_of_network`.
    pub fn new(max: usize, max_of_network: usize) -> Self {
        Self {
            held: Arc::default(),
            max,
            max_of_network,
        }
    }

    /// Takes bytes for a connection of this network; the networks behind a proxy are not known.
    fn take(&self, network: Option<IpAddr>, bytes: usize) -> bool {
        // Every change is complete before anything can panic.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_network = network.and_then(|network| held.networks.get(&network).copied());
        let of_network = of_network.unwrap_or_default() + bytes;
        if held.all + bytes > self.max || (network.is_some() && of_network > self.max_of_network) {
            return false;
        }
        held.all += bytes;
        if let Some(network) = network {
            held.networks.insert(network, of_network);
        }
        true
    }

    fn give_back(&self, network: Option<IpAddr>, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all -= bytes;
        if let Some(network) = network
            && let Some(of_network) = held.networks.get_mut(&network)
        {
            *of_network -= bytes;
            if *of_network == 0 {
                held.networks.remove(&network);
            }
        }
    }
}

/// The head of the request that is being read or answered: shared by the stream, which counts it, and the service,
/// which knows when it is over.
#[derive(Debug)]
pub(super) struct Head {
    heads: Heads,
    /// The connection's place, which goes with it into an upgraded connection too.
    guest: Guest,
    /// Bytes of the budget that the head holds.
    held: AtomicUsize,
    /// Bytes of the head that were read.
    read: AtomicUsize,
    /// Bytes that are read now belong to a head.
    is_open: AtomicBool,
    /// There is an answer, which may not be written yet.
    is_answered: AtomicBool,
}

impl Head {
    pub(super) fn new(heads: Heads, guest: Guest) -> Arc<Self> {
        Arc::new(Self {
            heads,
            guest,
            held: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            is_open: AtomicBool::new(true),
            is_answered: AtomicBool::new(false),
        })
    }

    /// The head is complete: bytes that are read from now on are a body. The head stays in memory until it is answered.
    pub(super) fn complete(&self) {
        self.is_open.store(false, Relaxed);
    }

    /// The head is answered: bytes that come are the next one.
    pub(super) fn next(&self) {
        self.read.store(0, Relaxed);
        self.give_back();
        self.is_answered.store(true, Relaxed);
        self.is_open.store(true, Relaxed);
    }

    /// The head was the last one of its connection, which is no HTTP connection any more.
    pub(super) fn end(&self) {
        self.give_back();
        self.complete();
    }

    fn give_back(&self) {
        let held = self.held.swap(0, Relaxed);
        self.heads.give_back(self.guest.network(), held);
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Relaxed)
    }

    /// Everything is written: a client that has its answer and asks nothing more is idle.
    fn flushed(&self) {
        if self.is_answered.swap(false, Relaxed) {
            self.guest.rest();
        }
    }

    /// Counts bytes that were read. False: they are too many for all heads together, or the connection has lost its
    /// place to another one.
    fn grow(&self, bytes: usize) -> bool {
        let read = self.read.fetch_add(bytes, Relaxed) + bytes;
        if read == bytes && bytes > 0 {
            self.is_answered.store(false, Relaxed);
            if !self.guest.work() {
                return false;
            }
        }
        let more = read.saturating_sub(FREE.max(read - bytes));
        if more > 0 && !self.heads.take(self.guest.network(), more) {
            return false;
        }
        self.held.fetch_add(more, Relaxed);
        true
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// An HTTP connection.
pub(super) struct Stream<S> {
    inner: S,
    head: Arc<Head>,
    /// The time after which a client that takes no bytes is gone.
    patience: Duration,
    /// Runs while the client takes no bytes, and ends when its time is over.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Text that is written in place of an answer of the HTTP library, and how far it is written.
    instead: Option<(&'static [u8], usize)>,
}

impl<S> Stream<S> {
    pub(super) fn new(inner: S, head: Arc<Head>, patience: Duration) -> Self {
        Self {
            inner,
            head,
            patience,
            stalled: None,
            instead: None,
        }
    }

    /// The result of a write, or an error when writing takes too long.
    fn in_time<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let patience = self.patience;
        let stall = || Box::pin(sleep(patience));
        let stalled = self.stalled.get_or_insert_with(stall);
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.head.is_open() {
            return Pin::new(&mut self.inner).poll_read(cx, buffer);
        }
        let mut bytes = [0; CHUNK];
        let mut chunk = ReadBuf::new(&mut bytes[..CHUNK.min(buffer.remaining())]);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut chunk))?;
        if !self.head.grow(chunk.filled().len()) {
            // Bytes that cannot be written at once are dropped.
            let _ = Pin::new(&mut self.inner).poll_write(cx, BUSY);
            let _ = Pin::new(&mut self.inner).poll_flush(cx);
            return Poll::Ready(Err(io::Error::other("no room for this head")));
        }
        buffer.put_slice(chunk.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.instead.is_none() {
            self.instead = in_words(bytes).map(|answer| (answer, 0));
        }
        while let Some((answer, written)) = self.instead {
            if written == answer.len() {
                self.instead = None;
                return Poll::Ready(Ok(bytes.len()));
            }
            let result = Pin::new(&mut self.inner).poll_write(cx, &answer[written..]);
            let more = ready!(self.in_time(result, cx))?;
            if more == 0 {
                return Poll::Ready(Ok(0));
            }
            self.instead = Some((answer, written + more));
        }
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.in_time(result, cx)
    }

    /// Needed, as without it the HTTP library would copy every answer.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        if let Some(first) = first
            && (self.instead.is_some() || in_words(first).is_some())
        {
            return self.poll_write(cx, first);
        }
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.in_time(result, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        if let Poll::Ready(Ok(())) = result {
            self.head.flushed();
        }
        self.in_time(result, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.in_time(result, cx)
    }
}

/// The text for an answer of the HTTP library to a head that it refuses: such an answer has no body.
fn in_words(answer: &[u8]) -> Option<&'static [u8]> {
    let is = |status: &[u8]| {
        answer
            .strip_prefix(b"HTTP/1.1 ")
            .is_some_and(|rest| rest.starts_with(status))
    };
    if is(b"414 ") {
        Some(TOO_LONG_ADDRESS)
    } else if is(b"431 ") {
        Some(TOO_LONG_HEAD)
    } else {
        None
    }
}

macro_rules! answer {
    ($status:literal, $length:literal, $text:literal) => {
        concat!(
            "HTTP/1.1 ",
            $status,
            "\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\naccess-control-allow-origin: *\r\n",
            "x-content-type-options: nosniff\r\ncontent-length: ",
            $length,
            "\r\n\r\n",
            $text
        )
        .as_bytes()
    };
}

const TOO_LONG_ADDRESS: &[u8] = answer!(
    "414 URI Too Long",
    "99",
    "the address is longer than 64 KiB: send a token that is so long in the Authorization header instead"
);

const TOO_LONG_HEAD: &[u8] = answer!(
    "431 Request Header Fields Too Large",
    "44",
    "the head of the request is longer than 1 MiB"
);

const BUSY: &[u8] = answer!(
    "503 Service Unavailable",
    "51",
    "too many long requests at this moment: try it again"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::per_address::PerAddress;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[test]
    fn answers_say_how_long_they_are() {
        for answer in [TOO_LONG_ADDRESS, TOO_LONG_HEAD, BUSY] {
            let text = std::str::from_utf8(answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let length = head.split("content-length: ").nth(1).unwrap();
            assert_eq!(length.parse(), Ok(body.len()), "{text}");
        }
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_gone() {
        let (mut client, server) = duplex(1000);
        let patience = Duration::from_millis(20);
        let mut stream = Stream::new(
            server,
            Head::new(Heads::new(0, 0), Guest::with(None)),
            patience,
        );
        client.write_all(b"x").await.unwrap();
        stream.read_exact(&mut [0; 1]).await.unwrap();
        let written =
            tokio::time::timeout(Duration::from_secs(10), stream.write_all(&[0; 3000])).await;
        let error = written.expect("not waited for").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // What fits takes no patience.
        client.read_exact(&mut [0; 1000]).await.unwrap();
        stream.write_all(&[0; 1000]).await.unwrap();
        stream.flush().await.unwrap();
    }

    #[tokio::test]
    async fn long_heads_share_a_budget_that_comes_back_and_short_ones_need_none() {
        let heads = Heads::new(30_000, 0);
        let connect = || {
            let (client, server) = duplex(100_000);
            let head = Head::new(heads.clone(), Guest::with(None));
            (
                client,
                Stream::new(server, head.clone(), Duration::MAX),
                head,
            )
        };
        let read = async |stream: &mut Stream<_>, length| {
            let mut bytes = vec![0; length];
            stream.read_exact(&mut bytes).await.is_ok()
        };
        let (mut a, mut of_a, head) = connect();
        a.write_all(&[1; 60_000]).await.unwrap();
        assert!(read(&mut of_a, FREE + 24_000).await);
        let (mut b, mut of_b, _head) = connect();
        b.write_all(&[1; 60_000]).await.unwrap();
        assert!(read(&mut of_b, FREE).await, "a usual head costs nothing");
        assert!(!read(&mut of_b, 8000).await, "a long one does not fit");
        let mut answer = String::new();
        drop(of_b);
        b.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        // The body that follows a head is not part of it.
        head.complete();
        assert!(read(&mut of_a, 10_000).await);
        head.next();
        let (mut c, mut of_c, _head) = connect();
        c.write_all(&[1; 60_000]).await.unwrap();
        assert!(
            read(&mut of_c, FREE + 24_000).await,
            "what is answered gives its share back"
        );
        drop((of_c, _head));
        assert_eq!(heads.held.lock().unwrap().all, 0);
    }

    #[test]
    fn a_network_has_its_share_of_the_budget_and_not_one_byte_more() {
        let heads = Heads::new(80_000, 10_000);
        let addresses = PerAddress::new(100, 100);
        let connect = |address: &str| {
            let admission = addresses.admit(address.parse().unwrap());
            Head::new(heads.clone(), Guest::with(admission))
        };
        let (a, b) = (connect("192.0.2.1"), connect("192.0.2.1"));
        assert!(a.grow(FREE + 6_000) && b.grow(FREE + 4_000));
        assert!(!connect("192.0.2.1").grow(FREE + 1));
        let other = connect("192.0.2.2");
        assert!(other.grow(FREE + 10_000));
        drop(b);
        assert!(connect("192.0.2.1").grow(FREE + 4_000));
        // Of a proxy nobody knows for whom it asks.
        let proxy = Head::new(heads.clone(), Guest::with(None));
        assert!(proxy.grow(FREE + 60_000));
        drop((a, other, proxy));
        let held = heads.held.lock().unwrap();
        assert!(held.all == 0 && held.networks.is_empty());
    }

    #[tokio::test]
    async fn what_the_http_library_refuses_is_said_in_words_whichever_way_it_writes() {
        use tokio::net::{TcpListener, TcpStream};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let head = Head::new(Heads::new(0, 0), Guest::with(None));
        let mut stream = Stream::new(server, head, Duration::MAX);
        assert!(stream.is_write_vectored());
        let slices = ["HTTP/1.1 200 OK\r\n\r\n", "body"].map(|text| IoSlice::new(text.as_bytes()));
        let written = stream.write_vectored(&slices).await.unwrap();
        assert_eq!(written, 23);
        let refusal = [
            IoSlice::new(b""),
            IoSlice::new(b"HTTP/1.1 431 Too Large\r\n\r\n"),
        ];
        assert_eq!(stream.write_vectored(&refusal).await.unwrap(), 26);
        drop(stream);
        let mut text = Vec::new();
        client.read_to_end(&mut text).await.unwrap();
        assert_eq!(
            text,
            [b"HTTP/1.1 200 OK\r\n\r\nbody", TOO_LONG_HEAD].concat()
        );
    }
}
