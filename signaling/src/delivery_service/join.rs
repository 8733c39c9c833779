//! Those who wait to be added.

use std::time::Instant;

use e2ee::{
    key_id::MAX_LEAVES,
    messages::{self, Admit, Join, server_message::Message},
    newcomer::Newcomer,
    ticket::Ticket,
};

use super::{DeliveryService, api::ConnectionId, waiting::Waiting};

/// The most who are added by one commit.
const MAX_BATCH: usize = 64;

/// The longest key package, in bytes: some six times one with hybrid keys.
const MAX_KEY_PACKAGE: usize = 16 * 1024;

/// The longest ticket, in bytes.
const MAX_TICKET: usize = 4 * 1024;

/// The most commits that fail with somebody in them, before that is somebody's fault.
const MAX_ATTEMPTS: u8 = 3;

impl DeliveryService {
    /// Somebody wants to be added. Without a ticket it waits until a moderator lets it in; in an open group whoever commits does.
    pub(super) fn join(&mut self, from: ConnectionId, join: Join, now: Instant) {
        let (Some(group), Some(connection)) = (&self.group, self.connections.get(&from)) else {
            return;
        };
        if self
            .members
            .contains_key(connection.identity.as_str().as_bytes())
            && connection.arrive_until.is_none()
            && !self.is_leaving(connection.identity.as_str())
        {
            return self.stand(from, now);
        }
        if join.key_package.len() > MAX_KEY_PACKAGE || join.ticket.len() > MAX_TICKET {
            return self.refuse(from, "the key package or the ticket is too long", now);
        }
        let hello_key = connection.hello.as_ref().map(|hello| &hello.key);
        let newcomer = match Newcomer::read(&join.key_package, self.profile) {
            Ok(newcomer) => newcomer,
            Err(error) => return self.refuse(from, &error.to_string(), now),
        };
        if newcomer.identity != connection.identity.as_str().as_bytes()
            || Some(&newcomer.key) != hello_key
        {
            return self.refuse(from, "a key package of somebody else", now);
        }
        let policy = group.policy();
        if policy.is_banned(&newcomer.key) {
            return self.refuse(from, "banned from this meeting", now);
        }
        if self.members.len() + self.waiting.len() >= MAX_LEAVES as usize {
            let reason = format!("an encrypted meeting has at most {MAX_LEAVES} members");
            return self.refuse(from, &reason, now);
        }
        let (identity, key) = (&newcomer.identity, &newcomer.key);
        let unix_now = self.clock.unix_seconds(now);
        let ticket = Ticket::read(&join.ticket);
        let ticket = ticket.filter(|ticket| group.admits(ticket, identity, key, unix_now));
        let is_let_in = ticket.is_some() || policy.is_open();
        self.waiting.insert(
            from,
            Waiting {
                newcomer,
                key_package: join.key_package,
                ticket,
                attempts: 0,
            },
        );
        match is_let_in {
            true => self.ordering.join(from, now - self.clock.start()),
            false => self.knock(from),
        }
    }

    /// A member lets somebody in, or a moderator refuses somebody.
    pub(super) fn admit(&mut self, from: ConnectionId, admit: &Admit, now: Instant) {
        let (Some(group), Some(own)) = (&self.group, self.key_of(from)) else {
            return;
        };
        let mut waiting = self.waiting.iter();
        let waiting = waiting.find(|(_, one)| one.newcomer.identity == admit.identity.as_bytes());
        let Some((&joiner, one)) = waiting else {
            return;
        };
        let Some(ticket) = Ticket::read(&admit.ticket) else {
            if group.policy().is_moderator(&own) && admit.ticket.is_empty() {
                self.refuse(joiner, "a moderator has refused", now);
            }
            return;
        };
        let unix_now = self.clock.unix_seconds(now);
        let (identity, key) = (&one.newcomer.identity, &one.newcomer.key);
        if !group.admits(&ticket, identity, key, unix_now) {
            return;
        }
        let bytes = admit.ticket.clone();
        if let Some(one) = self.waiting.get_mut(&joiner) {
            one.ticket = Some(ticket);
        }
        let admitted = messages::Admitted { ticket: bytes };
        self.send(joiner, Message::Admitted(admitted));
        self.ordering.join(joiner, now - self.clock.start());
    }

    /// Tells a moderator who waits.
    pub(super) fn tell_who_knocks(&mut self, to: ConnectionId) {
        let is_moderator = |key: &[u8]| {
            let group = self.group.as_ref();
            group.is_some_and(|group| group.policy().is_moderator(key))
        };
        if !self.key_of(to).is_some_and(|key| is_moderator(&key)) {
            return;
        }
        let waiting = self.waiting.values().filter(|one| one.ticket.is_none());
        let knocks: Vec<_> = waiting.map(Waiting::knock).collect();
        for knock in knocks {
            self.send(to, Message::Knock(knock));
        }
    }

    /// Tells moderators that somebody waits.
    fn knock(&mut self, from: ConnectionId) {
        let (Some(group), Some(one)) = (&self.group, self.waiting.get(&from)) else {
            return;
        };
        let (policy, knock) = (group.policy(), one.knock());
        let readers = self.connections.keys().copied();
        let moderators = readers.filter(|id| {
            let key = self.key_of(*id);
            key.is_some_and(|key| policy.is_moderator(&key))
        });
        let moderators: Vec<_> = moderators.collect();
        for id in moderators {
            self.send(id, Message::Knock(knock.clone()));
        }
    }

    /// Asks a member for a commit to all that waits.
    pub(super) fn ask_for_commit(&mut self, who: ConnectionId) {
        let waiting = self.ordering.joins();
        let waiting: Vec<_> = waiting.filter_map(|id| self.waiting.get(&id)).collect();
        let fresh: Vec<_> = waiting.iter().filter(|one| one.attempts == 0).collect();
        let chosen = match (fresh.is_empty(), waiting.first()) {
            (true, Some(first)) => vec![first],
            _ => fresh,
        };
        let joins = chosen.into_iter().take(MAX_BATCH).map(|one| one.joining());
        let request = messages::CommitRequest {
            epoch: self.ordering.epoch(),
            joins: joins.collect(),
        };
        self.send(who, Message::CommitRequest(request));
    }

    /// A commit that was asked for has failed: it may be the fault of who was to be added by it.
    pub(super) fn blame_joins(&mut self, now: Instant) {
        let waiting: Vec<_> = self.ordering.joins().collect();
        let is_retry = waiting.iter().all(|id| {
            let one = self.waiting.get(id);
            one.is_some_and(|one| one.attempts > 0)
        });
        let blamed = match is_retry {
            true => &waiting[..waiting.len().min(1)],
            false => &waiting[..],
        };
        for id in blamed {
            let Some(one) = self.waiting.get_mut(id) else {
                continue;
            };
            one.attempts += 1;
            if one.attempts >= MAX_ATTEMPTS {
                self.refuse(*id, "no commit with this key package is valid", now);
            }
        }
    }

    /// Those who want to come in from outside get what they need, if their commit can be the next one: who is gone is removed
    /// first, and there must be an epoch left.
    pub(super) fn let_enter(&mut self, now: Instant) {
        if self.entering.is_empty()
            || self.ordering.waits_for_removal()
            || self.epochs.is_spent(now)
        {
            return;
        }
        for id in std::mem::take(&mut self.entering) {
            self.send_group_info(id);
        }
    }

    /// Sends what is needed to come in from outside, to who may.
    fn send_group_info(&mut self, to: ConnectionId) {
        let (Some(group), Some(connection)) = (&self.group, self.connections.get(&to)) else {
            return;
        };
        // Its leaf is there, or it has a ticket. In an open group nobody but a member can write one.
        let has_leaf = self
            .members
            .contains_key(connection.identity.as_str().as_bytes());
        let has_ticket = self
            .waiting
            .get(&to)
            .is_some_and(|one| one.ticket.is_some());
        if !(has_leaf || has_ticket) || connection.arrive_until.is_some() {
            return;
        }
        let Ok(tree) = group.tree() else {
            return;
        };
        let info = messages::GroupInfo {
            epoch: group.epoch(),
            group_info: group.group_info().to_vec(),
            tree,
        };
        self.send(to, Message::GroupInfo(info));
    }

    /// The signature key of the member that this connection is.
    pub(super) fn key_of(&self, connection: ConnectionId) -> Option<Vec<u8>> {
        self.leaf_of(connection)?;
        let identity = &self.connections.get(&connection)?.identity;
        let member = self.members.get(identity.as_str().as_bytes())?;
        Some(member.1.clone())
    }

    fn is_leaving(&self, identity: &str) -> bool {
        let member = self.members.get(identity.as_bytes());
        member.is_some_and(|(leaf, _)| self.ordering.removals().any(|gone| gone == *leaf))
    }
}
