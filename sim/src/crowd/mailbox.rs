//! What waits for one session: of messages on the same subject the newest only, of others a bounded number.

use std::collections::{BTreeMap, HashMap};

use signaling::{SessionMessage, Subject};

/// The most messages without a subject that wait: as in a server.
const MAX_MESSAGES: usize = 1024;

/// What waits for one session.
#[derive(Default)]
pub struct Mailbox {
    mail: BTreeMap<u64, SessionMessage>,
    next: u64,
    subjects: HashMap<Subject, u64>,
    messages: usize,
}

impl Mailbox {
    /// Adds a message. False: there is no room for it.
    pub fn push(&mut self, message: SessionMessage) -> bool {
        let SessionMessage::Response(response) = &message else {
            return self.append(message);
        };
        if !self.mail.is_empty() && !response.parts().is_empty() {
            let mut parts = response.parts().iter().cloned();
            return parts.all(|part| self.push(SessionMessage::Response(part)));
        }
        let Some(subject) = response.subject().cloned() else {
            return self.append(message);
        };
        if let Some(place) = self.subjects.get(&subject) {
            if subject.keeps_its_place() {
                self.mail.insert(*place, message);
                return true;
            }
            self.mail.remove(place);
        }
        self.subjects.insert(subject, self.next);
        self.mail.insert(self.next, message);
        self.next += 1;
        true
    }

    fn append(&mut self, message: SessionMessage) -> bool {
        self.messages += 1;
        self.mail.insert(self.next, message);
        self.next += 1;
        self.messages <= MAX_MESSAGES
    }

    /// The next message.
    pub fn pop(&mut self) -> Option<SessionMessage> {
        let (_, message) = self.mail.pop_first()?;
        let subject = match &message {
            SessionMessage::Response(response) => response.subject(),
            _ => None,
        };
        match subject {
            Some(subject) => _ = self.subjects.remove(subject),
            None => self.messages -= 1,
        }
        Some(message)
    }
}
