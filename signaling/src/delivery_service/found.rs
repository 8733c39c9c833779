//! The first epoch of a group.

use std::time::Instant;

use e2ee::{
    messages::{self, Cause, Found, Standing, server_message::Message},
    ordering::Ordering,
    public_group::PublicGroup,
};

use super::{
    DeliveryService, FOUND_WITHIN,
    api::{ConnectionId, GroupOutput},
    record::Record,
};

impl DeliveryService {
    /// What a client is to do where there is no group: the first one founds it.
    pub(super) fn standing_without_group(&mut self, id: ConnectionId, now: Instant) -> Standing {
        if !self.founders.is_empty() && !self.founders.contains(&id) {
            return Standing::Wait;
        }
        self.founders.insert(id);
        self.found_until = Some(now + FOUND_WITHIN);
        Standing::Found
    }

    /// Asks one more where those who were asked take too long.
    pub(super) fn look_for_founder(&mut self, now: Instant) {
        if self.group.is_some() || self.found_until.is_none_or(|until| until > now) {
            return;
        }
        self.found_until = None;
        let connections = self.connections.iter();
        let mut waiting =
            connections.filter(|(id, one)| one.is_heard() && !self.founders.contains(id));
        if let Some((&id, _)) = waiting.next() {
            self.founders.insert(id);
            self.found_until = Some(now + FOUND_WITHIN);
            self.send_state(id, Standing::Found);
        }
    }

    /// Takes a founded group: the first that is one.
    pub(super) fn found(&mut self, from: ConnectionId, found: &Found, now: Instant) {
        if self.group.is_some() {
            self.reject(from, 0, Cause::Late, "there is a group already");
            return self.stand(from, now);
        }
        let Some(connection) = self.connections.get(&from) else {
            return;
        };
        let identity = connection.identity.clone();
        let Some(&may_moderate) = self.present.get(&identity) else {
            return;
        };
        let group = PublicGroup::found(self.me.again(), &self.id, &found.group_info, &found.tree);
        let group = group.map_err(|error| error.to_string()).and_then(|group| {
            let founder = group.members().next();
            let is_founder = founder.is_some_and(|one| one.identity == identity.as_str());
            let may = group.policy().is_open() || may_moderate;
            match (is_founder, may) {
                (true, true) => Ok(group),
                (false, _) => Err("founded in another's name".to_owned()),
                (_, false) => Err("its token does not let it moderate".to_owned()),
            }
        });
        let group = match group {
            Ok(group) => group,
            Err(reason) => return self.reject(from, 0, Cause::Invalid, &reason),
        };
        self.group = Some(group);
        self.refresh_members();
        self.founders.clear();
        self.found_until = None;
        self.ordering = Ordering::new(0);
        if let Some(snapshot) = self.snapshot() {
            self.outputs
                .push_back(GroupOutput::Keep(Record::Snapshot(snapshot)));
        }
        if let Some(connection) = self.connections.get_mut(&from) {
            connection.reads = true;
        }
        self.send_state(from, Standing::Member);
        let clock = now - self.clock.start();
        self.ordering.connect(from, self.leaf_of(from), clock);
        let connections = self.connections.iter();
        let others = connections.filter(|(id, one)| **id != from && one.is_heard());
        let others: Vec<_> = others.map(|(&id, _)| id).collect();
        for id in others {
            self.stand(id, now);
        }
    }

    pub(super) fn reject(&mut self, to: ConnectionId, epoch: u64, cause: Cause, reason: &str) {
        let rejected = messages::Rejected {
            epoch,
            cause: cause.into(),
            reason: reason.to_owned(),
        };
        self.send(to, Message::Rejected(rejected));
    }
}
