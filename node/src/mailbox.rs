//! The mailbox of a session: messages of its room, in order, until the session has read them.
//!
//! Of messages on the same subject only the newest waits ([`Subject`]), in the place of the one it replaces. So others
//! cannot fill a mailbox, however slowly its client reads; the session decides how long a client may read nothing at
//! all. The rest is one message for each thing that happened to this participant: those are bounded.

use std::collections::BTreeMap;

use signaling::{SessionMessage, Subject};

/// The limits of a mailbox, not counting messages that a newer one may replace. A client that is this far behind does
/// not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The most messages that wait.
    pub messages: usize,
    /// The most bytes of messages that wait.
    pub bytes: usize,
}

impl Bounds {
    /// The bounds of a server. Joining a room of a thousand publishers brings fewer messages; the bytes are a few of the
    /// longest frames.
    pub const SERVER: Self = Self {
        messages: 1024,
        bytes: 16 * 1024 * 1024,
    };
}

/// Mail for a session. `R` is its way to a room.
#[derive(Debug)]
pub enum Mail<R> {
    /// A message of the room.
    Message(SessionMessage),
    /// The room that the session joined had just ended: this is the one it is in.
    Moved(R),
}

impl<R> Mail<R> {
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

/// The room's end of a mailbox that it shares with the session: over a lock between two tasks, or within one.
pub trait Line {
    /// The session's way to a room.
    type Room;

    /// Does something to the mailbox. Whoever waits for it hears of it.
    fn with<T>(&self, act: impl FnOnce(&mut Mailbox<Self::Room>) -> T) -> T;

    /// Whether the session reads no more. Nobody hears of this look.
    fn is_abandoned(&self) -> bool {
        self.with(|it| it.is_abandoned())
    }
}

/// What waits for one session, and whether there will be more, and whether anybody reads it.
#[derive(Debug)]
pub struct Mailbox<R> {
    /// The mail, by place. A replaced message leaves its place to the newer one, or empty.
    mail: BTreeMap<u64, Mail<R>>,
    next: u64,
    /// The place of the message about each subject.
    subjects: BTreeMap<Subject, u64>,
    /// Number of messages without a subject.
    messages: usize,
    bytes: usize,
    bounds: Bounds,
    overflowed: bool,
    finished: bool,
    abandoned: bool,
    cut_off: bool,
}

impl<R> Mailbox<R> {
    /// An empty mailbox.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            mail: BTreeMap::new(),
            next: 0,
            subjects: BTreeMap::new(),
            messages: 0,
            bytes: 0,
            bounds,
            overflowed: false,
            finished: false,
            abandoned: false,
            cut_off: false,
        }
    }

    /// Puts mail into the mailbox.
    ///
    /// # Errors
    /// [`Undelivered`] when the session gets no more mail.
    pub fn push(&mut self, mail: Mail<R>) -> Result<(), Undelivered> {
        if self.abandoned || self.finished {
            return Err(Undelivered::Gone);
        }
        match self.add(mail) {
            true => Ok(()),
            false => {
                self.overflowed = true;
                Err(Undelivered::Full)
            }
        }
    }

    /// Adds mail. False: there is no room for it.
    fn add(&mut self, mail: Mail<R>) -> bool {
        if let Mail::Message(SessionMessage::Response(response)) = &mail
            && !self.mail.is_empty()
            && !response.parts().is_empty()
        {
            // The client is behind: each part takes the place of an older message on its subject.
            let parts = response.parts().iter().cloned();
            let mut parts = parts.map(|part| Mail::Message(SessionMessage::Response(part)));
            return parts.all(|part| self.add(part));
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
            let bounds = self.bounds;
            if self.messages >= bounds.messages || self.bytes + mail.bytes() > bounds.bytes {
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

    /// The next mail, if there is any now.
    pub fn pop(&mut self) -> Option<Mail<R>> {
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

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.mail.is_empty()
    }

    /// Whether a message did not fit.
    pub fn has_overflowed(&self) -> bool {
        self.overflowed
    }

    /// The room writes no more: the session reads what is left, and ends.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether the room writes no more.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// The session reads no more.
    pub fn abandon(&mut self) {
        self.abandoned = true;
        self.mail.clear();
        self.subjects.clear();
        (self.messages, self.bytes) = (0, 0);
    }

    /// Whether the session reads no more.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// The session is to end now, whatever it has not read.
    pub fn cut_off(&mut self) {
        self.cut_off = true;
    }

    /// Whether the session is to end now.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off
    }
}

#[cfg(test)]
mod tests;
