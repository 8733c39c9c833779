//! The send buffer: one slab that the shard writes ciphertext into, sent in runs of equal size.

use std::{io, os::fd::AsFd, sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use sfu::{Destination, SendBatch, TransportProtocol};

use crate::links::{LinkError, Links};

use super::{
    MediaSockets, Route,
    sys::{self, Interest, Message},
};

/// Size of the slab, bytes: it is written and then read once by the kernel, so it should stay within a core's second
/// cache. When it is full it is sent and used anew.
const SLAB: usize = 1 << 20;

/// The longest datagram, bytes: leaves room for every IP header and option.
const MAX_DATAGRAM: usize = 65_000;

/// The most datagrams of one run: UDP_MAX_SEGMENTS of Linux up to 6.8 (since then 128).
const MAX_SEGMENTS: usize = 64;

/// The most bytes of one run: the kernel builds one IP datagram of it, of at most 65,535 bytes with headers.
const MAX_RUN: usize = 65_000;

/// The time that one flush waits, once, for a full socket. Longer would hurt those whose packets are due.
const FULL_SOCKET_WAIT: Duration = Duration::from_millis(1);

/// The datagrams that [`Batch::send`] sends. See the crate `sfu` for its use.
pub struct Batch {
    sockets: Arc<MediaSockets>,
    /// The links, for datagrams that no socket sends.
    pub links: Links,
    slab: Vec<u8>,
    /// Bytes of the slab in use.
    pub(super) head: usize,
    /// The destination of the current reservation, and how it is reached.
    to: Option<(Destination, Way)>,
    reserved: usize,
    /// The last datagram was as long as the others of its run, so that another one may follow it.
    open: bool,
    /// Runs to send, one list for each socket.
    pub(super) runs: Vec<Vec<Message>>,
    scratch: sys::Scratch,
}

/// The way to a destination.
#[derive(Clone, Copy)]
enum Way {
    Socket(Route),
    Link,
}

impl Batch {
    /// An empty buffer that sends through `sockets`.
    pub fn new(sockets: Arc<MediaSockets>) -> Self {
        Self {
            links: Links::default(),
            slab: vec![0; SLAB],
            head: 0,
            to: None,
            reserved: 0,
            open: false,
            runs: vec![Vec::new(); sockets.len()],
            scratch: sys::Scratch::new(),
            sockets,
        }
    }

    /// Sends the committed datagrams and empties the buffer. Those that cannot be sent are dropped and counted: a later
    /// datagram is worth more than a late one.
    pub fn send(&mut self) {
        for index in 0..self.runs.len() {
            if !self.runs[index].is_empty() {
                self.send_socket(index);
                self.runs[index].clear();
            }
        }
        self.head = 0;
        self.links.flush();
    }

    fn way(&self, to: Destination) -> Option<Way> {
        match to.protocol {
            TransportProtocol::Udp => self.sockets.route(to).map(Way::Socket),
            TransportProtocol::Tcp | TransportProtocol::Relay => Some(Way::Link),
        }
    }

    /// Puts the reserved datagram into a link; the slab is free again.
    #[cold]
    fn commit_to_link(&mut self, to: Destination, len: usize) {
        let datagram = &self.slab[self.head..self.head + len];
        let counters = &self.sockets.counters;
        match self.links.push(to, datagram) {
            Ok(()) => {}
            Err(LinkError::Slow) => {
                counters.dropped_link_slow.fetch_add(1, Relaxed);
            }
            Err(LinkError::Gone) => {
                counters.dropped_link_gone.fetch_add(1, Relaxed);
            }
        }
    }

    fn send_socket(&mut self, index: usize) {
        let socket = &self.sockets.sockets[index];
        let mut totals = Totals::default();
        let mut waited = false;
        let mut rest = self.runs[index].as_slice();
        while let Some(&first) = rest.first() {
            if first.len > first.segment && !socket.gso.load(Relaxed) {
                send_singly(
                    &self.sockets,
                    index,
                    &self.slab,
                    first,
                    &mut self.scratch,
                    &mut totals,
                );
                rest = &rest[1..];
                continue;
            }
            totals.calls += 1;
            let error = match sys::send(socket.fd(), &self.slab, rest, &mut self.scratch) {
                Ok(count) => {
                    rest[..count]
                        .iter()
                        .for_each(|message| totals.sent(message));
                    rest = &rest[count..];
                    continue;
                }
                Err(error) => error,
            };
            match classify(&error) {
                Failure::Interrupted => {}
                Failure::Full if !waited => {
                    waited = true;
                    let _ = sys::wait(
                        &[socket.socket.as_fd()],
                        Interest::Writable,
                        Some(FULL_SOCKET_WAIT),
                    );
                }
                Failure::Full => {
                    totals.would_block += rest.iter().map(segments).sum::<u64>();
                    break;
                }
                failure if first.len > first.segment => {
                    // EIO: the interface cannot compute checksums of segments, and never will. EINVAL: a datagram is
                    // larger than this path's MTU; singly the kernel may fragment it.
                    if failure == Failure::NoOffload {
                        tracing::warn!(
                            "the network interface refuses UDP segmentation: sending datagrams singly"
                        );
                        socket.gso.store(false, Relaxed);
                    }
                    send_singly(
                        &self.sockets,
                        index,
                        &self.slab,
                        first,
                        &mut self.scratch,
                        &mut totals,
                    );
                    rest = &rest[1..];
                }
                _ => {
                    totals.refused += 1;
                    rest = &rest[1..];
                }
            }
        }
        totals.count(&self.sockets);
    }
}

impl SendBatch for Batch {
    fn reserve(&mut self, to: Destination, len: usize) -> Option<&mut [u8]> {
        let known = self
            .to
            .filter(|(destination, _)| *destination == to)
            .map(|(_, way)| way);
        let way = known
            .or_else(|| self.way(to))
            .filter(|_| len <= MAX_DATAGRAM);
        let Some(way) = way else {
            self.sockets
                .counters
                .dropped_unsendable
                .fetch_add(1, Relaxed);
            self.reserved = 0;
            return None;
        };
        self.to = Some((to, way));
        if self.head + len > self.slab.len() {
            self.send();
        }
        self.reserved = len;
        Some(&mut self.slab[self.head..self.head + len])
    }

    fn commit(&mut self, len: usize) {
        debug_assert!(len <= self.reserved, "committed more than was reserved");
        let len = len.min(std::mem::take(&mut self.reserved));
        let Some((to, way)) = self.to.filter(|_| len > 0) else {
            return;
        };
        let Way::Socket(route) = way else {
            return self.commit_to_link(to, len);
        };
        let start = self.head;
        self.head += len;
        let offload = self.sockets.sockets[route.socket].gso.load(Relaxed);
        let runs = &mut self.runs[route.socket];
        if let Some(run) = runs.last_mut() {
            // A datagram that touches the end of the run was committed right after it, on whichever socket.
            let follows = self.open && run.start + run.len == start;
            let fits = len <= run.segment
                && run.len < MAX_SEGMENTS * run.segment
                && run.len + len <= MAX_RUN;
            if offload && follows && fits && run.remote == to.remote && run.source == route.source {
                run.len += len;
                self.open = len == run.segment;
                return;
            }
        }
        self.open = true;
        runs.push(Message {
            remote: to.remote,
            source: route.source,
            start,
            len,
            segment: len,
        });
    }
}

/// Sends the datagrams of one run as messages of their own.
fn send_singly(
    sockets: &MediaSockets,
    index: usize,
    slab: &[u8],
    run: Message,
    scratch: &mut sys::Scratch,
    totals: &mut Totals,
) {
    let single = |offset: usize| {
        let len = run.segment.min(run.len - offset);
        Message {
            start: run.start + offset,
            len,
            segment: len,
            ..run
        }
    };
    let mut messages = [run; MAX_SEGMENTS];
    let mut count = 0;
    for (slot, offset) in messages.iter_mut().zip((0..run.len).step_by(run.segment)) {
        *slot = single(offset);
        count += 1;
    }
    let mut rest = &messages[..count];
    while !rest.is_empty() {
        totals.calls += 1;
        match sys::send(sockets.sockets[index].fd(), slab, rest, scratch) {
            Ok(sent) => {
                rest[..sent].iter().for_each(|message| totals.sent(message));
                rest = &rest[sent..];
            }
            Err(error) => match classify(&error) {
                Failure::Interrupted => {}
                Failure::Full => {
                    totals.would_block += rest.len() as u64;
                    return;
                }
                _ => {
                    totals.refused += 1;
                    rest = &rest[1..];
                }
            },
        }
    }
}

fn segments(message: &Message) -> u64 {
    message.len.div_ceil(message.segment) as u64
}

#[derive(PartialEq, Eq)]
enum Failure {
    Interrupted,
    Full,
    NoOffload,
    Refused,
}

fn classify(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::EINTR) => Failure::Interrupted,
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Failure::Full,
        Some(libc::EIO) => Failure::NoOffload,
        _ => Failure::Refused,
    }
}

#[derive(Default)]
struct Totals {
    packets: u64,
    bytes: u64,
    calls: u64,
    would_block: u64,
    refused: u64,
}

impl Totals {
    fn sent(&mut self, message: &Message) {
        self.packets += segments(message);
        self.bytes += message.len as u64;
    }

    fn count(&self, sockets: &MediaSockets) {
        let counters = &sockets.counters;
        counters.packets_out.fetch_add(self.packets, Relaxed);
        counters.bytes_out.fetch_add(self.bytes, Relaxed);
        counters.send_calls.fetch_add(self.calls, Relaxed);
        counters
            .dropped_would_block
            .fetch_add(self.would_block, Relaxed);
        counters.dropped_refused.fetch_add(self.refused, Relaxed);
    }
}
