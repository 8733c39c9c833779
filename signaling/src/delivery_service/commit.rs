//! From one epoch to the next.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use bytes::Bytes;
use e2ee::{
    messages::{self, Cause, Commit, server_message::Message},
    public_group::{Checked, Origin},
};

use super::{
    DeliveryService,
    api::{ConnectionId, GroupOutput},
    record::Record,
};

/// After so many commits the whole group is kept anew: who starts again reads fewer than these.
const COMMITS_PER_SNAPSHOT: u32 = 32;

impl DeliveryService {
    /// Takes a commit, if it is the next one.
    pub(super) fn commit(&mut self, from: ConnectionId, commit: Commit, now: Instant) {
        let epoch = commit.epoch;
        let checked = match self.check(from, &commit, now) {
            Ok(checked) => checked,
            Err((cause, reason)) => {
                self.reject(from, epoch, cause, &reason);
                if cause == Cause::Invalid && self.ordering.is_asked(from) {
                    self.blame_joins(now);
                    self.ordering.failed(from, now - self.clock.start());
                }
                return;
            }
        };
        let is_newcomer = matches!(checked.origin(), Some(Origin::Newcomer(..)));
        let removed = checked.removed().unwrap_or_default();
        let Some(group) = &mut self.group else {
            return;
        };
        if let Err(error) = group.apply(checked, &commit.group_info) {
            return self.reject(from, epoch, Cause::Invalid, &error.to_string());
        }
        self.refresh_members();
        if is_newcomer && let Some(connection) = self.connections.get_mut(&from) {
            // It has the state of the group, and reads its own commit first.
            connection.reads = true;
        }
        self.append(commit.message.into(), commit.group_info.into());
        self.welcome(&commit.welcome);
        self.settle(&removed, now);
        self.keep();
    }

    /// Whether a commit is the next one.
    fn check(
        &mut self,
        from: ConnectionId,
        commit: &Commit,
        now: Instant,
    ) -> Result<Checked, (Cause, String)> {
        let late = || (Cause::Late, "another one was taken before it".to_owned());
        let group = self.group.as_ref().ok_or_else(late)?;
        if commit.epoch != group.epoch() {
            return Err(late());
        }
        let invalid = |reason: String| (Cause::Invalid, reason);
        let checked = group.check(&commit.message, self.clock.unix_seconds(now));
        let checked = checked.map_err(|error| invalid(error.to_string()))?;
        let identity = self.connections.get(&from).map(|one| one.identity.as_str());
        let is_own = match checked.origin() {
            Some(Origin::Member(leaf)) => self.leaf_of(from) == Some(leaf),
            Some(Origin::Newcomer(own, _)) => identity.is_some_and(|it| it.as_bytes() == own),
            _ => false,
        };
        let removed = checked.removed().filter(|_| is_own);
        let removed = removed.ok_or_else(|| invalid("not a commit of its sender".to_owned()))?;
        if !self.ordering.takes(commit.epoch, &removed) {
            let reason = "it leaves somebody in who is gone".to_owned();
            return Err((Cause::Incomplete, reason));
        }
        // Removals wait for nothing.
        if removed.is_empty() && !self.epochs.take(1, now) {
            return Err((Cause::Busy, "too many epochs".to_owned()));
        }
        Ok(checked)
    }

    /// Each of those who were added gets its part of the welcome, and reads from here on.
    fn welcome(&mut self, welcome: &[u8]) {
        let waiting = self.waiting.iter().filter(|(_, one)| {
            let member = self.members.get(&one.newcomer.identity);
            member.is_some_and(|(_, key)| *key == one.newcomer.key)
        });
        let added: Vec<_> = waiting.map(|(&id, _)| id).collect();
        if added.is_empty() {
            return;
        }
        let Some(Ok(tree)) = self.group.as_ref().map(|group| group.tree()) else {
            return;
        };
        for id in added {
            let Some(one) = self.waiting.remove(&id) else {
                continue;
            };
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            if connection.reads {
                // It came in by itself.
                continue;
            }
            connection.reads = true;
            // Whoever made a welcome that is none for it has kept it out; it comes in by itself then.
            let message = messages::Welcome {
                welcome: one.newcomer.part_of(welcome).unwrap_or_default(),
                tree: tree.clone(),
                next: self.log.next(),
            };
            self.send(id, Message::Welcome(message));
        }
    }

    /// The order of commits hears of the new epoch. Those who are gone and still members are proposed again: proposals end
    /// with their epoch.
    fn settle(&mut self, removed: &BTreeSet<u32>, now: Instant) {
        let clock = now - self.clock.start();
        let mut members = BTreeMap::new();
        let readers: Vec<_> = self.connections.keys().copied().collect();
        for id in readers {
            match self.leaf_of(id) {
                Some(leaf) => _ = members.insert(id, leaf),
                // It has read that it is a member no more.
                None => {
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.reads = false;
                    }
                }
            }
        }
        self.ordering.commit(&members, removed, clock);
        let gone: Vec<_> = self.ordering.removals().collect();
        for leaf in gone {
            self.propose_removal(leaf);
        }
        // Somebody may have left while it was being added.
        if self.absent_until.is_none() {
            self.remove_those_who_left(now);
        }
    }

    /// A member is gone: it is to have no keys any more.
    pub(super) fn remove_leaf(&mut self, leaf: u32, now: Instant) {
        if self.ordering.removals().any(|gone| gone == leaf) {
            return;
        }
        self.propose_removal(leaf);
        self.ordering.remove(leaf, now - self.clock.start());
    }

    fn propose_removal(&mut self, leaf: u32) {
        let Some(group) = &mut self.group else {
            return;
        };
        match group.propose_removal(leaf) {
            Ok(proposal) => self.append(proposal.into(), Bytes::new()),
            Err(error) => tracing::warn!(leaf, %error, "a member cannot be removed"),
        }
    }

    pub(super) fn refresh_members(&mut self) {
        let members = self.group.iter().flat_map(|group| group.members());
        self.members = members
            .map(|one| (one.identity.into_bytes(), (one.leaf, one.key)))
            .collect();
    }

    /// From time to time the whole group is kept, so that starting anew is short.
    fn keep(&mut self) {
        self.since_snapshot += 1;
        // With proposals that wait for the next commit a group is not whole.
        if self.since_snapshot < COMMITS_PER_SNAPSHOT || self.ordering.removals().next().is_some() {
            return;
        }
        self.since_snapshot = 0;
        if let Some(snapshot) = self.snapshot() {
            self.outputs
                .push_back(GroupOutput::Keep(Record::Snapshot(snapshot)));
        }
    }
}
