//! The mailbox of a session: messages of its room, in order, until its task has read them.
//!
//! Of messages on the same subject only the newest waits ([`Subject`]), in the place of the one it replaces. So others
//! cannot fill a mailbox, however slowly its client reads; the session task decides how long a client may read nothing
//! at all. The rest is one message for each thing that happened to this participant: those are bounded.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
};

use signaling::{SessionMessage, Subject};
use tokio::sync::Notify;

use super::RoomSender;

/// The most messages that wait, not counting those that a newer one may replace. A client that is this far behind does
/// not read.
///
/// Joining a room of a thousand publishers brings fewer.
const MAX_MESSAGES: usize = 1024;

/// The most bytes of messages that wait: a few of the longest frames.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Mail for a session's task.
pub enum SessionMail {
    /// A message of the room.
    Message(SessionMessage),
    /// The room that the session joined had just ended: this is the one it is in.
    Moved(RoomSender),
}

impl SessionMail {
    fn subject(&self) -> Option<&Subject> {
        match self {
            Self::Message(SessionMessage::Response(response)) => response.subject(),
            _ => None,
        }
    }

    /// Length of the message on the wire.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Message(SessionMessage::Response(response)) => response.binary().len(),
            _ => 0,
        }
    }
}

/// The reason why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undelivered {
    /// The session has ended.
    Gone,
    /// The client does not read.
    Full,
}

/// The room's end of a mailbox. When the last clone is dropped, the session reads what is left, and then the end.
#[derive(Clone)]
pub struct SessionSender(Arc<Writer>);

struct Writer(Arc<Shared>);

/// The session's end of a mailbox.
pub struct SessionReceiver(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Signalled when there is mail, or never will be.
    ready: Notify,
    /// Nobody writes any more.
    finished: AtomicBool,
    /// Nobody reads any more.
    abandoned: AtomicBool,
    /// Signalled when the mail that waits is not to be read any more.
    cut_off: Notify,
}

/// A session that gets no more mail, and may still read what waits.
pub(super) struct Ended(Weak<Shared>);

impl Ended {
    /// Whether the session has read everything, or given up.
    pub fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// Ends the session, whatever it has not read.
    pub fn cut_off(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.cut_off.notify_one();
        }
    }
}

#[derive(Default)]
struct Queue {
    /// The mail, by place. A replaced message leaves its place to the newer one, or empty.
    mail: BTreeMap<u64, SessionMail>,
    next: u64,
    /// The place of the message about each subject.
    subjects: HashMap<Subject, u64>,
    /// Number of messages without a subject.
    messages: usize,
    bytes: usize,
}

/// A mailbox for a session.
pub fn session_mailbox() -> (SessionSender, SessionReceiver) {
    let shared = Arc::new(Shared::default());
    let writer = Writer(shared.clone());
    (SessionSender(Arc::new(writer)), SessionReceiver(shared))
}

impl SessionSender {
    /// Puts mail into the mailbox. Never waits.
    ///
    /// # Errors
    /// [`Undelivered`] when the session gets no more mail.
    pub fn send(&self, mail: SessionMail) -> Result<(), Undelivered> {
        let shared = &self.0.0;
        if shared.abandoned.load(Acquire) {
            return Err(Undelivered::Gone);
        }
        if !shared.queue().push(mail) {
            return Err(Undelivered::Full);
        }
        shared.ready.notify_one();
        Ok(())
    }

    /// Ends the mailbox for the room, which writes no more.
    pub(super) fn end(self) -> Ended {
        Ended(Arc::downgrade(&self.0.0))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.finished.store(true, Release);
        self.0.ready.notify_one();
    }
}

impl SessionReceiver {
    /// Waits for mail. `None`: there will be none. Nothing is lost when the future is dropped.
    pub async fn recv(&mut self) -> Option<SessionMail> {
        loop {
            // Read before the queue is looked at: mail that was written before it is in the queue then.
            let is_finished = self.0.finished.load(Acquire);
            if let Some(mail) = self.try_recv() {
                return Some(mail);
            }
            if is_finished {
                return None;
            }
            self.0.ready.notified().await;
        }
    }

    /// Resolves when the room wants the session gone, whatever it has not read.
    pub fn cut_off(&self) -> impl Future<Output = ()> + use<> {
        let shared = self.0.clone();
        async move { shared.cut_off.notified().await }
    }

    /// The next mail, if there is any now.
    pub fn try_recv(&mut self) -> Option<SessionMail> {
        self.0.queue().pop()
    }
}

impl Drop for SessionReceiver {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Release);
        *self.0.queue() = Queue::default();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change of the queue is complete before anything in it can panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Adds mail. False: there is no room for it.
    fn push(&mut self, mail: SessionMail) -> bool {
        if let SessionMail::Message(SessionMessage::Response(response)) = &mail
            && !self.mail.is_empty()
            && !response.parts().is_empty()
        {
            // The client is behind: each part takes the place of an older message on its subject.
            let parts = response.parts().iter().cloned();
            let mut parts = parts.map(|part| SessionMail::Message(SessionMessage::Response(part)));
            return parts.all(|part| self.push(part));
        }
        if let Some(subject) = mail.subject() {
            if let Some(place) = self.subjects.get(subject) {
                if subject.keeps_its_place() {
                    self.mail.insert(*place, mail);
                    return true;
                }
                self.mail.remove(place);
            }
            self.subjects.insert(subject.clone(), self.next);
        } else {
            if self.messages >= MAX_MESSAGES || self.bytes + mail.bytes() > MAX_BYTES {
                // A message longer than the limit, such as the first in a very large room, still fits into an empty
                // one.
                if self.messages > 0 {
                    return false;
                }
            }
            self.messages += 1;
            self.bytes += mail.bytes();
        }
        self.mail.insert(self.next, mail);
        self.next += 1;
        true
    }

    fn pop(&mut self) -> Option<SessionMail> {
        let (_, mail) = self.mail.pop_first()?;
        match mail.subject() {
            Some(subject) => _ = self.subjects.remove(subject),
            None => {
                self.messages -= 1;
                self.bytes -= mail.bytes();
            }
        }
        Some(mail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signaling::Response;

    use protocol::livekit::{
        LeaveRequest, ParticipantInfo, ParticipantUpdate, RequestResponse, signal_response::Message,
    };

    fn mail(message: Message) -> SessionMail {
        SessionMail::Message(SessionMessage::Response(message.into()))
    }

    fn update(sid: &str, version: u32, metadata: usize) -> SessionMail {
        let participant = ParticipantInfo {
            sid: sid.into(),
            version,
            metadata: "m".repeat(metadata),
            ..Default::default()
        };
        mail(Message::Update(ParticipantUpdate {
            participants: vec![participant],
        }))
    }

    fn answer(length: usize) -> SessionMail {
        mail(Message::RequestResponse(RequestResponse {
            message: "m".repeat(length),
            ..Default::default()
        }))
    }

    fn read(receiver: &mut SessionReceiver) -> Vec<(String, u32)> {
        std::iter::from_fn(|| receiver.try_recv())
            .map(|mail| match mail {
                SessionMail::Message(SessionMessage::Response(response)) => {
                    match response.message() {
                        Some(Message::Update(update)) => {
                            let participant = &update.participants[0];
                            (participant.sid.clone(), participant.version)
                        }
                        _ => ("other".into(), 0),
                    }
                }
                _ => panic!("another mail"),
            })
            .collect()
    }

    #[test]
    fn what_a_crowd_is_told_together_is_replaced_part_by_part_where_a_client_is_behind() {
        let response = |mail| match mail {
            SessionMail::Message(SessionMessage::Response(response)) => response,
            _ => panic!("another mail"),
        };
        let together = |version| {
            let parts = ["PA_a", "PA_b"].map(|sid| response(update(sid, version, 10)));
            let all = Response::together(parts.to_vec()).unwrap();
            SessionMail::Message(SessionMessage::Response(all))
        };
        let (sender, mut receiver) = session_mailbox();
        // Nothing waits: it is one message.
        assert_eq!(sender.send(together(1)), Ok(()));
        let first = response(receiver.try_recv().unwrap());
        assert!(
            matches!(first.message(), Some(Message::Update(update)) if update.participants.len() == 2)
        );
        assert!(receiver.try_recv().is_none());
        for version in 2..=100_000 {
            assert_eq!(sender.send(together(version)), Ok(()));
        }
        assert_eq!(sender.send(update("PA_a", 100_001, 10)), Ok(()));
        let waits = read(&mut receiver);
        assert!(waits.len() <= 3, "{waits:?}");
        assert!(waits.contains(&("PA_a".to_owned(), 100_001)));
        assert!(waits.contains(&("PA_b".to_owned(), 100_000)));
    }

    #[test]
    fn what_others_do_fills_no_mailbox_and_the_newest_state_is_read() {
        let (sender, mut receiver) = session_mailbox();
        for version in 1..=100_000 {
            let sid = if version % 2 == 0 { "PA_a" } else { "PA_b" };
            assert_eq!(sender.send(update(sid, version, 10)), Ok(()));
        }
        assert_eq!(
            sender.send(mail(Message::Leave(LeaveRequest::default()))),
            Ok(())
        );
        assert_eq!(sender.send(update("PA_a", 100_001, 10)), Ok(()));
        let expected = [("PA_b", 99_999), ("PA_a", 100_001), ("other", 0)];
        let expected = expected.map(|(sid, version)| (sid.to_owned(), version));
        assert_eq!(read(&mut receiver), expected);
        // What was read is told anew.
        assert_eq!(sender.send(update("PA_a", 100_002, 10)), Ok(()));
        assert_eq!(read(&mut receiver), [("PA_a".to_owned(), 100_002)]);
    }

    #[test]
    fn the_message_after_the_last_that_fits_is_refused_by_number_and_by_bytes() {
        let (sender, mut receiver) = session_mailbox();
        for _ in 0..MAX_MESSAGES {
            assert_eq!(sender.send(answer(1)), Ok(()));
        }
        assert_eq!(sender.send(answer(1)), Err(Undelivered::Full));
        assert_eq!(
            sender.send(update("PA_a", 1, 10)),
            Ok(()),
            "state still fits"
        );
        assert_eq!(read(&mut receiver).len(), MAX_MESSAGES + 1);
        assert_eq!(sender.send(answer(2 * MAX_BYTES)), Ok(()), "alone");
        assert_eq!(sender.send(answer(1)), Err(Undelivered::Full));
        assert!(receiver.try_recv().is_some());
        let half = answer(MAX_BYTES / 2 - 100);
        assert_eq!(sender.send(half), Ok(()));
        assert_eq!(sender.send(answer(MAX_BYTES / 2 - 100)), Ok(()));
        assert_eq!(sender.send(answer(MAX_BYTES / 2)), Err(Undelivered::Full));
    }

    #[tokio::test]
    async fn what_was_sent_is_read_before_the_end() {
        let (sender, mut receiver) = session_mailbox();
        let other = sender.clone();
        drop(sender);
        assert_eq!(other.send(answer(1)), Ok(()));
        let reader = tokio::spawn(async move {
            let first = receiver.recv().await.is_some();
            (first, receiver.recv().await.is_none())
        });
        tokio::task::yield_now().await;
        drop(other);
        assert_eq!(reader.await.unwrap(), (true, true));
        let (sender, receiver) = session_mailbox();
        drop(receiver);
        assert_eq!(sender.send(answer(1)), Err(Undelivered::Gone));
    }
}
