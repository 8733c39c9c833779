//! The verbs of slow readers: senders of reliable data wait for them, as long as the readers deserve it.

use std::time::Instant;

use crate::{
    api::{DataChannel, Event, SendBatch},
    keys::{PeerKey, RouterKey},
    shard::Shard,
    slow_readers::{FULL, Held, Verdict},
};

impl Shard {
    /// The first of these members that a reliable packet must wait for, if any.
    pub(crate) fn not_ready(&mut self, members: &[PeerKey], now: Instant) -> Option<PeerKey> {
        let mut first = None;
        for member in members {
            let reader = self.receiving(*member);
            if !self.is_full(reader) || !self.is_waited_for(reader, now) {
                continue;
            }
            let Some(p) = self.peers.get_mut(reader) else {
                continue;
            };
            let unread = p.transport.unread(DataChannel::Reliable);
            p.reader.await_it(unread, now);
            self.reschedule(reader, now);
            first.get_or_insert(reader);
        }
        first
    }

    /// Keeps a packet that must wait, and reads no more from its sender until it could be sent.
    pub(crate) fn hold(
        &mut self,
        connection: PeerKey,
        channel: Option<DataChannel>,
        message: &[u8],
        awaits: PeerKey,
        now: Instant,
    ) {
        let Some(p) = self.peers.get_mut(connection) else {
            return;
        };
        p.held = Some(Held::new(channel, message, awaits, now));
        p.transport.hold_reliable(true);
        let router = p.router;
        if let Some(router) = self.routers.get_mut(router) {
            router.slow_readers.hold(connection);
        }
        self.stats.data_held += 1;
    }

    /// A sender leaves: the packet that it had to hold goes to the receivers that are ready, and to nobody else.
    pub(crate) fn send_held(&mut self, sender: PeerKey, now: Instant, out: &mut impl SendBatch) {
        let held = self.peers.get_mut(sender).and_then(|p| p.held.take());
        let Some(mut held) = held else {
            return;
        };
        self.guard(sender, now, |shard| {
            shard.handle_data(sender, held.channel, &mut held.message, now, out);
            if let Some(p) = shard.peers.get_mut(sender) {
                p.transport.hold_reliable(false);
            }
            shard.drain_transport(sender, now, out);
        });
    }

    /// Reviews a peer as a reader, which may have read or been too slow, and as a sender, whose packets may go on.
    pub(crate) fn review_data(&mut self, peer: PeerKey, now: Instant, out: &mut impl SendBatch) {
        let Some(p) = self.peers.get_mut(peer) else {
            return;
        };
        let router = p.router;
        let due = p.held.as_ref().filter(|held| now >= held.retry_at());
        if let Some(awaits) = due.map(Held::awaits) {
            // All senders that wait for this reader go on together: otherwise the one that looks first would take the
            // room each time.
            self.go_on(router, awaits, now, out);
        }
        let Some(p) = self.peers.get_mut(peer) else {
            return;
        };
        if !p.reader.is_awaited() {
            return;
        }
        let unread = p.transport.unread(DataChannel::Reliable);
        let verdict = p.reader.review(unread, now);
        if verdict == Verdict::TooSlow {
            self.cut_off(peer, now);
        }
        if verdict != Verdict::Reads {
            self.go_on(router, peer, now, out);
        }
        self.reschedule(peer, now);
    }

    /// Whether so much waits for this reader that new packets must wait too.
    pub(crate) fn is_full(&mut self, reader: PeerKey) -> bool {
        let p = self.peers.get_mut(reader);
        p.is_some_and(|p| p.transport.unread(DataChannel::Reliable) >= FULL)
    }

    /// Whether nobody waits for this reader, and too much waits for it already: new packets are lost to it.
    pub(crate) fn is_given_up(&mut self, reader: PeerKey, now: Instant) -> bool {
        self.is_full(reader) && !self.is_waited_for(reader, now)
    }

    /// Whether senders wait for this reader: it is no companion, and was not too slow lately.
    fn is_waited_for(&self, reader: PeerKey, now: Instant) -> bool {
        let Some(p) = self.peers.get(reader) else {
            return false;
        };
        let (Some(member), Some(router)) = (self.sids.get(&p.sid), self.routers.get(p.router))
        else {
            return false;
        };
        let mut principals = router.principals.iter();
        let is_itself = principals.any(|(key, name)| key == member && *name == p.identity);
        is_itself && !router.slow_readers.knows(&p.identity, now)
    }

    /// Gives a reader up: nobody waits for it any more.
    pub(crate) fn cut_off(&mut self, peer: PeerKey, now: Instant) {
        let Some(p) = self.peers.get(peer) else {
            return;
        };
        tracing::info!(participant = %p.sid, "reads data too slowly");
        self.stats.slow_readers += 1;
        let (sid, identity) = (p.sid, p.identity.clone());
        if let Some(router) = self.routers.get_mut(p.router) {
            router.slow_readers.add(identity, now);
        }
        self.events.push_back(Event::Unreachable { peer: sid });
    }

    /// Sends the packets of senders that wait for this reader, as far as their receivers are ready: first the held
    /// packet of each sender, so that none is always too late, then those behind it.
    fn go_on(&mut self, room: RouterKey, awaited: PeerKey, now: Instant, out: &mut impl SendBatch) {
        let Self { routers, peers, .. } = self;
        let Some(readers) = routers.get_mut(room).map(|router| &mut router.slow_readers) else {
            return;
        };
        let held = |sender: PeerKey| peers.get(sender).and_then(|p| p.held.as_ref());
        readers.keep(|sender| held(*sender).is_some());
        let awaits = |sender: &PeerKey| held(*sender).is_some_and(|held| held.awaits() == awaited);
        let senders: Vec<_> = readers.held().iter().copied().filter(awaits).collect();
        let Some(first) = senders.first().copied() else {
            return;
        };
        for sender in &senders {
            self.guard(*sender, now, |shard| {
                let held = shard.peers.get_mut(*sender).and_then(|p| p.held.take());
                if let Some(mut held) = held {
                    shard.handle_data(*sender, held.channel, &mut held.message, now, out);
                }
            });
        }
        let went = self.peers.get(first).is_some_and(|p| p.held.is_none());
        for sender in senders {
            self.guard(sender, now, |shard| {
                let Some(p) = shard.peers.get_mut(sender).filter(|p| p.held.is_none()) else {
                    return;
                };
                p.transport.hold_reliable(false);
                shard.drain_transport(sender, now, out);
            });
        }
        // A sender that went first, and filled the room there was, goes last next time.
        if let Some(router) = self.routers.get_mut(room).filter(|_| went) {
            router.slow_readers.went(first);
        }
    }
}
