//! Links, the ways to clients that no UDP socket of a shard leads to: connections (RFC 6544), and allocations of our
//! TURN server.
//!
//! A task of the runtime owns each connection; its [`Link`] stands for it on a media thread. Datagrams travel between
//! the two in frames (RFC 4571: a length of two bytes, then the datagram), many at a time. A media thread never waits
//! for a link: datagrams that its client does not read in time are dropped.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use sfu::Destination;

use crate::udp::Wake;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// The most bytes that wait for one client: a second of 4 Mbit/s. Older media is of no use to a conversation.
const MAX_QUEUED: usize = 512 * 1024;

/// The most bytes that wait for a thread that only has to send them.
const MAX_QUEUED_FOR_THREAD: usize = 16 << 20;

/// The longest datagram in a frame, bytes: an MTU of 1500 and some. A WebRTC client sends no longer one.
pub const MAX_FRAMED: usize = 2000;

/// Frames for a client, from a media thread.
#[derive(Debug)]
pub struct Outgoing {
    /// The path to the client.
    pub path: Destination,
    /// One frame or more, none of them empty.
    pub frames: Vec<u8>,
}

/// The sending end of a queue of frames, from links to the task that owns them. Unbounded in messages, bounded in
/// bytes.
#[derive(Debug, Clone)]
pub struct LinkSender {
    sender: UnboundedSender<Outgoing>,
    queued: Arc<AtomicUsize>,
    max_queued: usize,
    /// Signalled when there are frames, where a thread and not a task reads.
    wake: Option<Arc<Wake>>,
}

/// The reading end, for the task.
#[derive(Debug)]
pub struct LinkReceiver {
    receiver: UnboundedReceiver<Outgoing>,
    queued: Arc<AtomicUsize>,
}

/// A queue towards one client.
pub fn link_queue() -> (LinkSender, LinkReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let queued = Arc::new(AtomicUsize::new(0));
    let sender = LinkSender {
        sender,
        queued: queued.clone(),
        max_queued: MAX_QUEUED,
        wake: None,
    };
    (sender, LinkReceiver { receiver, queued })
}

/// A queue to all clients of a thread that waits for `wake`, and never for a client.
pub fn thread_queue(wake: Arc<Wake>) -> (LinkSender, LinkReceiver) {
    let (mut sender, receiver) = link_queue();
    sender.max_queued = MAX_QUEUED_FOR_THREAD;
    sender.wake = Some(wake);
    (sender, receiver)
}

impl LinkReceiver {
    /// The next frames; `None` when no link is left.
    pub async fn recv(&mut self) -> Option<Outgoing> {
        self.receiver.recv().await
    }

    /// The next frames, where there are some.
    pub fn try_recv(&mut self) -> Option<Outgoing> {
        self.receiver.try_recv().ok()
    }

    /// `len` bytes of frames have left.
    pub fn sent(&self, len: usize) {
        self.queued.fetch_sub(len, Relaxed);
    }
}

/// One path through a connection or an allocation.
#[derive(Debug)]
pub struct Link {
    path: Destination,
    sender: LinkSender,
}

impl Link {
    /// A link over `path`; frames for the client go into `sender`.
    pub fn new(path: Destination, sender: LinkSender) -> Self {
        Self { path, sender }
    }

    /// The path of the link.
    pub fn path(&self) -> Destination {
        self.path
    }
}

/// The reason why a datagram did not go into a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkError {
    /// The connection or allocation is gone.
    Gone,
    /// The client does not read fast enough.
    Slow,
}

/// The links of one shard, on its thread.
#[derive(Default)]
pub struct Links {
    table: HashMap<Destination, Entry>,
    /// Paths of the links with frames that wait for [`Links::flush`].
    dirty: Vec<Destination>,
}

struct Entry {
    link: Arc<Link>,
    frames: Vec<u8>,
}

impl Links {
    /// The link's path leads to this link from now on.
    pub fn learn(&mut self, link: &Arc<Link>) {
        let known = self.table.get(&link.path);
        // A datagram may have waited here for longer than its connection lived.
        if known.is_some_and(|entry| Arc::ptr_eq(&entry.link, link))
            || link.sender.sender.is_closed()
        {
            return;
        }
        let entry = Entry {
            link: link.clone(),
            frames: Vec::new(),
        };
        self.table.insert(link.path, entry);
    }

    /// The link's connection is gone.
    pub fn forget(&mut self, link: &Arc<Link>) {
        let known = self.table.get(&link.path);
        if known.is_some_and(|entry| Arc::ptr_eq(&entry.link, link)) {
            self.table.remove(&link.path);
        }
    }

    /// Puts a datagram into a frame that leaves with the next [`Links::flush`].
    ///
    /// # Errors
    /// [`LinkError`] when the datagram is dropped.
    pub fn push(&mut self, to: Destination, datagram: &[u8]) -> Result<(), LinkError> {
        let entry = self.table.get_mut(&to).ok_or(LinkError::Gone)?;
        let len = u16::try_from(datagram.len()).map_err(|_| LinkError::Slow)?;
        let waiting = entry.link.sender.queued.load(Relaxed) + entry.frames.len();
        if waiting + 2 + datagram.len() > entry.link.sender.max_queued {
            return Err(LinkError::Slow);
        }
        if entry.frames.is_empty() {
            self.dirty.push(to);
        }
        entry.frames.extend_from_slice(&len.to_be_bytes());
        entry.frames.extend_from_slice(datagram);
        Ok(())
    }

    /// Hands the pushed frames to the tasks.
    pub fn flush(&mut self) {
        for path in self.dirty.drain(..) {
            let Some(entry) = self.table.get_mut(&path) else {
                continue;
            };
            let frames = std::mem::take(&mut entry.frames);
            if frames.is_empty() {
                continue;
            }
            let queued = &entry.link.sender.queued;
            let len = frames.len();
            queued.fetch_add(len, Relaxed);
            if entry
                .link
                .sender
                .sender
                .send(Outgoing { path, frames })
                .is_err()
            {
                queued.fetch_sub(len, Relaxed);
                self.table.remove(&path);
            } else if let Some(wake) = &entry.link.sender.wake {
                wake.signal();
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.table.len()
    }
}

/// A frame is longer than any datagram of a WebRTC client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTooLong;

/// Length of the complete frames at the start of `bytes`.
///
/// # Errors
/// [`FrameTooLong`] when a frame, complete or not, says that it is longer than [`MAX_FRAMED`].
pub fn complete_frames(bytes: &[u8]) -> Result<usize, FrameTooLong> {
    let mut end = 0;
    while let Some(head) = bytes.get(end..end + 2) {
        let len = usize::from(u16::from_be_bytes([head[0], head[1]]));
        if len > MAX_FRAMED {
            return Err(FrameTooLong);
        }
        if bytes.len() < end + 2 + len {
            break;
        }
        end += 2 + len;
    }
    Ok(end)
}

/// The datagrams in `frames`, empty ones left out. An incomplete one at the end is ignored.
pub fn datagrams(mut frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            let (head, rest) = frames.split_first_chunk::<2>()?;
            let len = usize::from(u16::from_be_bytes(*head));
            let (datagram, rest) = rest.split_at_checked(len)?;
            frames = rest;
            if !datagram.is_empty() {
                return Some(datagram);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu::TransportProtocol;

    fn path(port: u16) -> Destination {
        Destination {
            remote: ([192, 0, 2, 1], port).into(),
            local: ([198, 51, 100, 1], 443).into(),
            protocol: TransportProtocol::Tcp,
        }
    }

    fn link(port: u16) -> (Arc<Link>, LinkReceiver) {
        let (sender, receiver) = link_queue();
        (Arc::new(Link::new(path(port), sender)), receiver)
    }

    #[test]
    fn frames_are_found_however_the_stream_is_cut() {
        let stream = [&[0, 3, 1, 2, 3][..], &[0, 0], &[0, 1, 9], &[0, 2, 7]].concat();
        for end in 0..=stream.len() {
            let complete = complete_frames(&stream[..end]).unwrap();
            let expected = match end {
                0..5 => 0,
                5..7 => 5,
                7..10 => 7,
                _ => 10,
            };
            assert_eq!(complete, expected, "{end} bytes");
        }
        let all: Vec<&[u8]> = datagrams(&stream).collect();
        assert_eq!(
            all,
            [&[1, 2, 3][..], &[9]],
            "an empty frame is none, half a one neither"
        );
    }

    #[test]
    fn a_frame_may_be_as_long_as_a_datagram_and_not_longer() {
        let head = |len: usize| (len as u16).to_be_bytes();
        assert_eq!(complete_frames(&head(MAX_FRAMED)), Ok(0));
        assert_eq!(complete_frames(&head(MAX_FRAMED + 1)), Err(FrameTooLong));
        assert_eq!(complete_frames(&[0xff, 0xff]), Err(FrameTooLong));
    }

    #[test]
    fn datagrams_of_one_flush_travel_together_in_their_order() {
        let (mut links, (link, mut receiver)) = (Links::default(), link(1));
        links.learn(&link);
        for i in 0..3_u8 {
            links.push(path(1), &[i; 4]).unwrap();
        }
        assert!(receiver.receiver.try_recv().is_err());
        links.flush();
        let out = receiver.receiver.try_recv().unwrap();
        assert_eq!(out.path, path(1));
        let all: Vec<&[u8]> = datagrams(&out.frames).collect();
        assert_eq!(all, [[0; 4], [1; 4], [2; 4]]);
        assert!(receiver.receiver.try_recv().is_err());
    }

    #[test]
    fn a_client_that_does_not_read_gets_no_more_than_a_bounded_queue_and_harms_nobody() {
        let mut links = Links::default();
        let ((slow, mut slow_queue), (other, _other_queue)) = (link(1), link(2));
        links.learn(&slow);
        links.learn(&other);
        let datagram = [0; 1022];
        let fitting = MAX_QUEUED / (2 + datagram.len());
        for i in 0..fitting {
            assert_eq!(links.push(path(1), &datagram), Ok(()), "{i}");
            if i % 7 == 0 {
                links.flush();
            }
        }
        assert_eq!(links.push(path(1), &datagram), Err(LinkError::Slow));
        links.flush();
        assert_eq!(links.push(path(1), &datagram), Err(LinkError::Slow));
        assert_eq!(links.push(path(2), &datagram), Ok(()));
        // It reads again.
        let len = slow_queue.receiver.try_recv().unwrap().frames.len();
        slow_queue.sent(len);
        assert_eq!(links.push(path(1), &datagram), Ok(()));
    }

    #[test]
    fn a_link_that_is_gone_is_forgotten() {
        let mut links = Links::default();
        let (first, receiver) = link(1);
        links.learn(&first);
        links.push(path(1), &[1]).unwrap();
        drop(receiver);
        links.flush();
        assert_eq!(
            (links.len(), links.push(path(1), &[1])),
            (0, Err(LinkError::Gone))
        );
        // Its last datagrams come after its end.
        links.learn(&first);
        assert_eq!(links.len(), 0);
        // Another connection from there is another link, whatever is said of the old one.
        let (second, _receiver) = link(1);
        links.learn(&second);
        links.forget(&first);
        assert_eq!(links.push(path(1), &[1]), Ok(()));
        links.forget(&second);
        assert_eq!(links.len(), 0);
    }
}
