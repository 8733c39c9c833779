//! Somebody who waits to be added.

use e2ee::{messages, newcomer::Newcomer, ticket::Ticket};

/// Somebody who waits to be added.
pub(super) struct Waiting {
    pub(super) newcomer: Newcomer,
    pub(super) key_package: Vec<u8>,
    pub(super) ticket: Option<Ticket>,
    /// Commits that failed with it in them. From the first on it is added alone, so that others do not wait for it.
    pub(super) attempts: u8,
}

impl Waiting {
    pub(super) fn knock(&self) -> messages::Knock {
        messages::Knock {
            identity: String::from_utf8_lossy(&self.newcomer.identity).into_owned(),
            key: self.newcomer.key.clone(),
        }
    }

    pub(super) fn joining(&self) -> messages::Joining {
        messages::Joining {
            identity: String::from_utf8_lossy(&self.newcomer.identity).into_owned(),
            key_package: self.key_package.clone(),
            ticket: self
                .ticket
                .as_ref()
                .map(Ticket::to_bytes)
                .unwrap_or_default(),
        }
    }
}
