//! Sessions that have ended and whose clients may still read what they were told. Each person has at most a few: for
//! somebody who comes in again and again and reads nothing not everything is kept.

use std::collections::{BTreeMap, VecDeque};

use protocol::ParticipantIdentity;

use crate::mailbox::{Line, Mailbox};

/// The most sessions of one person, beside those of its companions.
const MAX_ENDED: usize = 3;

/// The mailboxes of the sessions by principal, the oldest first.
#[derive(Debug)]
pub(crate) struct Draining<L>(BTreeMap<ParticipantIdentity, VecDeque<L>>);

impl<L> Default for Draining<L> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<L: Line> Draining<L> {
    /// Ends a mailbox, for the room. With one too many of its person, the oldest is cut off.
    pub fn add(&mut self, principal: ParticipantIdentity, mailbox: L, companions: usize) {
        self.0.retain(|_, mailboxes| {
            mailboxes.retain(|mailbox| !mailbox.is_abandoned());
            !mailboxes.is_empty()
        });
        mailbox.with(Mailbox::finish);
        let mailboxes = self.0.entry(principal).or_default();
        mailboxes.push_back(mailbox);
        while mailboxes.len() > MAX_ENDED + companions {
            if let Some(oldest) = mailboxes.pop_front() {
                oldest.with(Mailbox::cut_off);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;
    use crate::mailbox::Bounds;

    #[derive(Clone)]
    struct Own(Rc<RefCell<Mailbox<()>>>);

    impl Line for Own {
        type Room = ();

        fn with<T>(&self, act: impl FnOnce(&mut Mailbox<()>) -> T) -> T {
            act(&mut self.0.borrow_mut())
        }
    }

    fn mailbox() -> Own {
        Own(Rc::new(RefCell::new(Mailbox::new(Bounds::SERVER))))
    }

    #[test]
    fn a_person_has_a_few_ended_sessions_and_the_oldest_is_cut_off() {
        let mut draining = Draining::default();
        let mut sessions = Vec::new();
        let is_cut_off = |session: &Own| session.with(|it| it.is_cut_off());
        for _ in 0..MAX_ENDED + 2 {
            sessions.push(mailbox());
            draining.add("mallory".into(), sessions[sessions.len() - 1].clone(), 1);
        }
        assert_eq!(sessions.iter().filter(|it| is_cut_off(it)).count(), 1);
        assert!(is_cut_off(&sessions[0]));
        // Those that are done count no more, and nobody pays for somebody else.
        sessions.drain(..).for_each(|it| it.with(Mailbox::abandon));
        for principal in ["mallory", "alice"] {
            for _ in 0..MAX_ENDED {
                sessions.push(mailbox());
                draining.add(principal.into(), sessions[sessions.len() - 1].clone(), 0);
            }
        }
        assert!(!sessions.iter().any(is_cut_off));
    }
}
