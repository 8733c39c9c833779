//! Who comes and goes.

use std::{collections::BTreeSet, time::Instant};

use bytes::Bytes;
use e2ee::messages::{self, Hello, Standing, server_message::Message};
use protocol::ParticipantIdentity;

use super::{
    ARRIVE_WITHIN, DeliveryService,
    api::{ConnectionId, GroupOutput},
    connection::Connection,
    entry_frame,
};

impl DeliveryService {
    /// A connection of an identity takes the place of an older one.
    pub(super) fn connect(
        &mut self,
        connection: ConnectionId,
        identity: ParticipantIdentity,
        now: Instant,
    ) {
        if let Some(older) = self.connection_of(&identity) {
            self.refuse(older, "another connection has taken its place", now);
        }
        let is_here = self.present.contains_key(&identity);
        let arrive_until = (!is_here).then(|| now + ARRIVE_WITHIN);
        let connected = Connection::new(identity, arrive_until, now);
        self.connections.insert(connection, connected);
    }

    pub(super) fn disconnect(&mut self, connection: ConnectionId, now: Instant) {
        if self.connections.remove(&connection).is_some() {
            self.forget(connection, now);
        }
    }

    /// Somebody is in the meeting. Its connection may have come first.
    pub(super) fn arrived(
        &mut self,
        identity: ParticipantIdentity,
        may_moderate: bool,
        now: Instant,
    ) {
        let connection = self.connection_of(&identity);
        self.present.insert(identity, may_moderate);
        let Some(id) = connection else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.arrive_until.take().is_some()
            && connection.hello.is_some()
            && !connection.reads
        {
            self.stand(id, now);
        }
    }

    /// Somebody is in the meeting no more: it is to have no keys any more. Who was told to come back at once stays a member for
    /// a while.
    pub(super) fn left(&mut self, identity: &ParticipantIdentity, returns: bool, now: Instant) {
        if self.present.remove(identity).is_none() {
            return;
        }
        if returns {
            let until = Some(now + ARRIVE_WITHIN);
            self.absent_until = until;
            let connection = self.connection_of(identity);
            let connection = connection.and_then(|id| self.connections.get_mut(&id));
            if let Some(connection) = connection {
                connection.arrive_until = until;
            }
            return;
        }
        if let Some(connection) = self.connection_of(identity) {
            self.refuse(connection, "not in the meeting any more", now);
        }
        if let Some((leaf, _)) = self.members.get(identity.as_str().as_bytes()) {
            self.remove_leaf(*leaf, now);
        }
        self.end_if_deserted(now);
    }

    /// A client says how far it has come. Who is not in the meeting yet hears nothing before it is.
    pub(super) fn hello(&mut self, from: ConnectionId, hello: Hello, now: Instant) {
        if hello.version != messages::VERSION {
            return self.refuse(from, "another version", now);
        }
        let Some(connection) = self.connections.get_mut(&from) else {
            return;
        };
        if connection.hello.replace(hello).is_some() {
            return self.refuse(from, "Hello comes once", now);
        }
        if connection.arrive_until.is_none() {
            self.stand(from, now);
        }
    }

    /// Tells a client how things stand, and what it has missed.
    pub(super) fn stand(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let Some(hello) = &connection.hello else {
            return;
        };
        let member = self.members.get(connection.identity.as_str().as_bytes());
        let clock = now - self.clock.start();
        let standing = match member {
            _ if self.group.is_none() => self.standing_without_group(id, now),
            // Its leaf is taken away and it comes in anew with the key it has now.
            Some((leaf, key)) if *key != hello.key => {
                let leaf = *leaf;
                self.remove_leaf(leaf, now);
                Standing::Join
            }
            Some(_) if hello.group == self.id && self.log.since(hello.next).is_some() => {
                Standing::Member
            }
            Some(_) => Standing::Enter,
            None => Standing::Join,
        };
        let missed = hello_next(&self.connections, id);
        self.send_state(id, standing);
        if standing != Standing::Member {
            return self.ordering.connect(id, None, clock);
        }
        let entries = self.log.since(missed).into_iter().flatten();
        let frames: Vec<Bytes> = entries.map(entry_frame).collect();
        self.outputs
            .extend(frames.into_iter().map(|frame| GroupOutput::Send {
                connection: id,
                frame,
            }));
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.reads = true;
        }
        self.ordering.connect(id, self.leaf_of(id), clock);
        self.tell_who_knocks(id);
    }

    pub(super) fn send_state(&mut self, id: ConnectionId, standing: Standing) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let may_moderate = self.present.get(&connection.identity).copied();
        let state = messages::State {
            group: self.id.clone(),
            profile: self.profile as u32,
            delivery_service: self.me.public_key().to_vec(),
            standing: standing.into(),
            may_moderate: may_moderate.unwrap_or_default(),
            end: self.log.next(),
        };
        self.send(id, Message::State(state));
    }

    /// Charges a connection for what it causes. One that causes too much is closed.
    pub(super) fn charge(&mut self, id: ConnectionId, units: u32, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let is_in_time = connection.budget.take(units, now);
        if !is_in_time && !connection.is_closing {
            self.refuse(id, "too many messages", now);
        }
    }

    /// Ends a connection, with the reason.
    pub(super) fn refuse(&mut self, id: ConnectionId, reason: &str, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.is_closing = true;
        connection.reads = false;
        connection.arrive_until = None;
        let reason = reason.to_owned();
        self.send(id, Message::Refused(messages::Refused { reason }));
        self.outputs
            .push_back(GroupOutput::Close { connection: id });
        self.forget(id, now);
    }

    /// Members who are not in the meeting when their time is over are removed.
    pub(super) fn remove_absent(&mut self, now: Instant) {
        if self.absent_until.is_none_or(|until| until > now) {
            return;
        }
        self.absent_until = None;
        self.remove_those_who_left(now);
        self.end_if_deserted(now);
    }

    /// Members who are not in the meeting are removed.
    pub(super) fn remove_those_who_left(&mut self, now: Instant) {
        let present: BTreeSet<_> = self
            .present
            .keys()
            .map(|one| one.as_str().as_bytes())
            .collect();
        let members = self.members.iter();
        let absent = members.filter(|(identity, _)| !present.contains(identity.as_slice()));
        let leaves: Vec<_> = absent.map(|(_, (leaf, _))| *leaf).collect();
        for leaf in leaves {
            self.remove_leaf(leaf, now);
        }
    }

    /// Connections of those who are not in the meeting when their time is over are closed.
    pub(super) fn close_strangers(&mut self, now: Instant) {
        let connections = self.connections.iter();
        let late = connections.filter(|(_, one)| one.arrive_until.is_some_and(|at| at <= now));
        let late: Vec<_> = late.map(|(&id, _)| id).collect();
        for id in late {
            self.refuse(id, "not in the meeting", now);
        }
    }

    /// The connection of an identity that counts.
    pub(super) fn connection_of(&self, identity: &ParticipantIdentity) -> Option<ConnectionId> {
        let mut connections = self.connections.iter();
        let found = connections.find(|(_, one)| one.identity == *identity && !one.is_closing);
        found.map(|(&id, _)| id)
    }

    /// Nobody waits for a connection any more.
    fn forget(&mut self, id: ConnectionId, now: Instant) {
        self.waiting.remove(&id);
        self.entering.remove(&id);
        self.ordering.disconnect(id, now - self.clock.start());
        if self.founders.remove(&id) && self.founders.is_empty() {
            self.found_until = Some(now);
            self.look_for_founder(now);
        }
    }
}

fn hello_next(
    connections: &std::collections::BTreeMap<ConnectionId, Connection>,
    id: ConnectionId,
) -> u64 {
    let hello = connections.get(&id).and_then(|one| one.hello.as_ref());
    hello.map_or(0, |hello| hello.next)
}
