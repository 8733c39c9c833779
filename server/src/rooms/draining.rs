//! Sessions that have ended and whose clients may still read what they were told. Each person has at most a few: for
//! somebody who comes in again and again and reads nothing not everything is kept.

use std::collections::{BTreeMap, VecDeque};

use protocol::ParticipantIdentity;

use super::mailbox::{Ended, SessionSender};

/// The most sessions of one person, beside those of its companions.
const MAX_ENDED: usize = 3;

/// The sessions by principal, the oldest first.
#[derive(Default)]
pub(super) struct Draining(BTreeMap<ParticipantIdentity, VecDeque<Ended>>);

impl Draining {
    /// Adds a session that has ended. With one too many, the oldest is cut off.
    pub fn add(
        &mut self,
        principal: ParticipantIdentity,
        session: SessionSender,
        companions: usize,
    ) {
        self.0.retain(|_, sessions| {
            sessions.retain(|session| !session.is_over());
            !sessions.is_empty()
        });
        let sessions = self.0.entry(principal).or_default();
        sessions.push_back(session.end());
        while sessions.len() > MAX_ENDED + companions {
            if let Some(oldest) = sessions.pop_front() {
                oldest.cut_off();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::mailbox::session_mailbox;
    use futures_util::FutureExt;

    #[test]
    fn a_person_has_a_few_ended_sessions_and_the_oldest_is_cut_off() {
        let mut draining = Draining::default();
        let mut receivers = Vec::new();
        for _ in 0..MAX_ENDED + 2 {
            let (sender, receiver) = session_mailbox();
            receivers.push(receiver);
            draining.add("mallory".into(), sender, 1);
        }
        let is_cut_off =
            |receiver: &crate::rooms::SessionReceiver| receiver.cut_off().now_or_never().is_some();
        assert_eq!(receivers.iter().filter(|it| is_cut_off(it)).count(), 1);
        assert!(receivers[0].cut_off().now_or_never().is_none(), "told once");
        // Those that are done count no more, and nobody pays for somebody else.
        receivers.clear();
        for principal in ["mallory", "alice"] {
            for _ in 0..MAX_ENDED {
                let (sender, receiver) = session_mailbox();
                receivers.push(receiver);
                draining.add(principal.into(), sender, 0);
            }
        }
        assert!(!receivers.iter().any(is_cut_off));
    }
}
