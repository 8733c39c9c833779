//! Supervision of delivery: finding streams that do not arrive, and beginning them anew.

use std::time::Instant;

use crate::{
    api::{Event, MediaKind, MediaSections, SendBatch},
    connection::Connection,
    delivery::FLOWING,
    down_track::DownTrack,
    fanout::NO_LAYER,
    keys::{ConnectionKey, DownTrackKey, UpTrackKey},
    rtcp::TransportCc,
    shard::Shard,
    up_track::UpTrack,
};

/// A fault of a subscription.
enum Finding {
    Unbound,
    Starved(UpTrackKey),
    Lost,
}

impl Shard {
    /// Takes transport-wide feedback, which says which of the followed packets arrived.
    pub(crate) fn learn_deliveries(
        &mut self,
        connection: ConnectionKey,
        feedback: &TransportCc<'_>,
        now: Instant,
    ) {
        let Some(c) = self.connections.get_mut(connection) else {
            return;
        };
        let downs = &mut self.downs;
        c.watch.learn(feedback, now, |down, arrived| {
            if let Some(d) = downs.get_mut(down) {
                d.delivery.followed(arrived);
            }
        });
    }

    /// Looks at what one client sends and receives, where it is time.
    pub(crate) fn watch(
        &mut self,
        connection: ConnectionKey,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(c) = self.connections.get_mut(connection) else {
            return;
        };
        if !c.watch.is_due(now) {
            return;
        }
        if c.watch.is_deaf(now) {
            tracing::info!(participant = %c.sid, "nothing but checks comes");
            return self.connect_anew(connection);
        }
        let mut downs = std::mem::take(&mut self.space.downs);
        downs.extend_from_slice(&c.downs);
        self.watch_publisher(connection, now);
        let mut is_unbound = false;
        for down in downs.drain(..) {
            match self.finding(down, now) {
                None => {}
                Some(Finding::Unbound) => is_unbound = true,
                Some(Finding::Starved(up)) => self.start_again(down, up, now, out),
                Some(Finding::Lost) => self.renew_subscription(connection, down, now),
            }
        }
        self.space.downs = downs;
        if is_unbound {
            self.ask_again(connection, now);
        }
    }

    fn finding(&mut self, down: DownTrackKey, now: Instant) -> Option<Finding> {
        let d = self.downs.get_mut(down)?;
        let track = self.ups.get(d.up)?;
        let c = self.connections.get(d.subscriber)?;
        if d.parameters.is_none() {
            return d.delivery.must_ask(now).then_some(Finding::Unbound);
        }
        d.delivery.bound();
        let should_flow = should_flow(d, track, c, now) && !c.transport.is_path_in_doubt(now);
        let sent = d.sent.0;
        if d.delivery.is_starved(sent, should_flow, now) {
            return Some(Finding::Starved(d.up));
        }
        if !should_flow {
            d.delivery.rest();
            return None;
        }
        d.delivery
            .is_lost(track.kind, &c.watch, now)
            .then_some(Finding::Lost)
    }

    /// Asks the client to offer, where subscriptions have no section: it did not do what it was asked for, or the
    /// message was lost. It is asked for no section twice, since a slow client would add them all once more. The answer
    /// says which sections it has not added.
    fn ask_again(&mut self, connection: ConnectionKey, now: Instant) {
        let Some(c) = self.connections.get_mut(connection) else {
            return;
        };
        if c.watch.may_ask(now) {
            self.stats.repairs.asked += 1;
            self.events.push_back(Event::Unbound { peer: c.sid });
        }
    }

    /// Chooses the layer anew and asks for a key frame: nothing goes out though packets come in.
    fn start_again(
        &mut self,
        down: DownTrackKey,
        up: UpTrackKey,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        self.stats.repairs.restarted += 1;
        let Some(d) = self.downs.get_mut(down) else {
            return;
        };
        d.rewriter.pause();
        let slot = d.slot;
        if let Some(track) = self.ups.get_mut(up) {
            track.fanout.set_current(slot, NO_LAYER);
        }
        self.retarget(down);
        self.request_key_frames(up, now, out);
    }

    /// Begins a stream anew, once, that leaves us and does not arrive. When that does not help, the connection is begun
    /// anew.
    fn renew_subscription(&mut self, connection: ConnectionKey, down: DownTrackKey, now: Instant) {
        let (Some(d), Some(c)) = (self.downs.get(down), self.connections.get_mut(connection))
        else {
            return;
        };
        let (track, sid) = (d.track, c.sid);
        let repaired = d.delivery.is_repaired();
        tracing::info!(participant = %sid, %track, repaired, "media does not arrive");
        if repaired || !c.watch.may_repair(now) {
            return self.connect_anew(connection);
        }
        self.stats.repairs.resubscribed += 1;
        self.drop_down_track(down);
        self.events
            .push_back(Event::Undelivered { peer: sid, track });
    }

    /// Tells the client to connect anew: nothing else helps.
    fn connect_anew(&mut self, connection: ConnectionKey) {
        if let Some(c) = self.connections.get_mut(connection) {
            c.watch.gave_up();
            self.stats.repairs.reconnected += 1;
            self.events.push_back(Event::Unreachable { peer: c.sid });
        }
    }

    /// Finds tracks that the client should send and does not.
    fn watch_publisher(&mut self, connection: ConnectionKey, now: Instant) {
        let Self {
            members,
            connections,
            ups,
            stats,
            events,
            ..
        } = self;
        let Some(c) = connections.get(connection) else {
            return;
        };
        let mut is_silent = false;
        let published = members
            .get(c.member)
            .map_or(&[][..], |m| m.ups_on(connection));
        for up in published {
            let Some(track) = ups.get_mut(*up) else {
                continue;
            };
            let should_flow = c.transport.is_connected() && track.should_flow();
            let flows = track.flows(FLOWING, now);
            is_silent |= track.silence.is_new(should_flow, flows, now);
        }
        if is_silent {
            stats.repairs.silent_publishers += 1;
            events.push_back(Event::NegotiationNeeded {
                peer: c.sid,
                missing: MediaSections::default(),
            });
        }
    }
}

fn should_flow(d: &DownTrack, track: &UpTrack, c: &Connection, now: Instant) -> bool {
    let is_paced = track.kind == MediaKind::Video && !c.pacer.is_empty();
    c.transport.is_connected()
        && !is_paced
        && (track.audible || d.hears_all)
        && !track.muted
        && track.flows(FLOWING, now)
        && track.fanout.wanted(d.slot) != NO_LAYER
}
