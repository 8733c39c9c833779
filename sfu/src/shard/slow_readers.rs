//! The verbs of slow readers: senders of reliable data wait for them, as long as the readers deserve it.

use std::time::Instant;

use crate::{
    api::{DataChannel, Event, SendBatch},
    keys::{ConnectionKey, MemberKey, RouterKey},
    shard::Shard,
    slow_readers::{FULL, Held, Verdict},
};

impl Shard {
    /// The first of these members that a reliable packet must wait for, if any.
    pub(crate) fn not_ready(
        &mut self,
        members: &[MemberKey],
        now: Instant,
    ) -> Option<ConnectionKey> {
        let mut first = None;
        for member in members {
            let Some(reader) = self.receiving(*member) else {
                continue;
            };
            if !self.is_full(reader) || !self.is_waited_for(reader, now) {
                continue;
            }
            let Some(c) = self.connections.get_mut(reader) else {
                continue;
            };
            let unread = c.transport.unread(DataChannel::Reliable);
            c.reader.await_it(unread, now);
            self.reschedule(reader, now);
            first.get_or_insert(reader);
        }
        first
    }

    /// Keeps a packet that must wait, and reads no more from its sender until it could be sent.
    pub(crate) fn hold(
        &mut self,
        connection: ConnectionKey,
        channel: Option<DataChannel>,
        message: &[u8],
        awaits: ConnectionKey,
        now: Instant,
    ) {
        let Some(c) = self.connections.get_mut(connection) else {
            return;
        };
        c.held = Some(Held::new(channel, message, awaits, now));
        c.transport.hold_reliable(true);
        let router = self.members.get(c.member).map(|m| m.router);
        if let Some(router) = router.and_then(|router| self.routers.get_mut(router)) {
            router.slow_readers.hold(connection);
        }
        self.stats.data_held += 1;
    }

    /// A sender leaves: the packet that it had to hold goes to the receivers that are ready, and to nobody else.
    pub(crate) fn send_held(
        &mut self,
        sender: ConnectionKey,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let held = self.connections.get_mut(sender).and_then(|c| c.held.take());
        let Some(held) = held else {
            return;
        };
        self.guard(sender, now, |shard| {
            shard.handle_data(sender, held.channel, &held.message, now, out);
            if let Some(c) = shard.connections.get_mut(sender) {
                c.transport.hold_reliable(false);
            }
            shard.drain_transport(sender, now, out);
        });
    }

    /// Reviews a client as a reader, which may have read or been too slow, and as a sender, whose packets may go on.
    pub(crate) fn review_data(
        &mut self,
        connection: ConnectionKey,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(c) = self.connections.get_mut(connection) else {
            return;
        };
        let Some(router) = self.members.get(c.member).map(|m| m.router) else {
            return;
        };
        let due = c.held.as_ref().filter(|held| now >= held.retry_at());
        if let Some(awaits) = due.map(Held::awaits) {
            // All senders that wait for this reader go on together: otherwise the one that looks first would take the
            // room each time.
            self.go_on(router, awaits, now, out);
        }
        let Some(c) = self.connections.get_mut(connection) else {
            return;
        };
        if !c.reader.is_awaited() {
            return;
        }
        let unread = c.transport.unread(DataChannel::Reliable);
        let verdict = c.reader.review(unread, now);
        if verdict == Verdict::TooSlow {
            self.cut_off(connection, now);
        }
        if verdict != Verdict::Reads {
            self.go_on(router, connection, now, out);
        }
        self.reschedule(connection, now);
    }

    /// Whether so much waits for this reader that new packets must wait too.
    pub(crate) fn is_full(&mut self, reader: ConnectionKey) -> bool {
        let c = self.connections.get_mut(reader);
        c.is_some_and(|c| c.transport.unread(DataChannel::Reliable) >= FULL)
    }

    /// Whether nobody waits for this reader, and too much waits for it already: new packets are lost to it.
    pub(crate) fn is_given_up(&mut self, reader: ConnectionKey, now: Instant) -> bool {
        self.is_full(reader) && !self.is_waited_for(reader, now)
    }

    /// Whether senders wait for this reader: it is no companion, and was not too slow lately.
    fn is_waited_for(&self, reader: ConnectionKey, now: Instant) -> bool {
        let Some(c) = self.connections.get(reader) else {
            return false;
        };
        let Some(m) = self.members.get(c.member).filter(|m| !m.is_companion) else {
            return false;
        };
        let router = self.routers.get(m.router);
        router.is_some_and(|router| !router.slow_readers.knows(&m.identity, now))
    }

    /// Gives a reader up: nobody waits for it any more.
    pub(crate) fn cut_off(&mut self, connection: ConnectionKey, now: Instant) {
        let Some(c) = self.connections.get(connection) else {
            return;
        };
        tracing::info!(participant = %c.sid, "reads data too slowly");
        self.stats.slow_readers += 1;
        self.events.push_back(Event::Unreachable { peer: c.sid });
        let Some(m) = self.members.get(c.member) else {
            return;
        };
        if let Some(router) = self.routers.get_mut(m.router) {
            router.slow_readers.add(m.identity.clone(), now);
        }
    }

    /// Sends the packets of senders that wait for this reader, as far as their receivers are ready: first the held
    /// packet of each sender, so that none is always too late, then those behind it.
    fn go_on(
        &mut self,
        room: RouterKey,
        awaited: ConnectionKey,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Self {
            routers,
            connections,
            ..
        } = self;
        let Some(readers) = routers.get_mut(room).map(|router| &mut router.slow_readers) else {
            return;
        };
        let held = |sender: ConnectionKey| connections.get(sender).and_then(|c| c.held.as_ref());
        readers.keep(|sender| held(*sender).is_some());
        let awaits =
            |sender: &ConnectionKey| held(*sender).is_some_and(|held| held.awaits() == awaited);
        let senders: Vec<_> = readers.held().iter().copied().filter(awaits).collect();
        let Some(first) = senders.first().copied() else {
            return;
        };
        for sender in &senders {
            self.guard(*sender, now, |shard| {
                let held = shard
                    .connections
                    .get_mut(*sender)
                    .and_then(|c| c.held.take());
                if let Some(held) = held {
                    shard.handle_data(*sender, held.channel, &held.message, now, out);
                }
            });
        }
        let went = self
            .connections
            .get(first)
            .is_some_and(|c| c.held.is_none());
        for sender in senders {
            self.guard(sender, now, |shard| {
                let Some(c) = shard
                    .connections
                    .get_mut(sender)
                    .filter(|c| c.held.is_none())
                else {
                    return;
                };
                c.transport.hold_reliable(false);
                shard.drain_transport(sender, now, out);
            });
        }
        // A sender that went first, and filled the room there was, goes last next time.
        if let Some(router) = self.routers.get_mut(room).filter(|_| went) {
            router.slow_readers.went(first);
        }
    }
}
