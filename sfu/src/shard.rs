//! The shard owns every member, connection, room and track of one thread, and routes datagrams, commands and timers. The
//! verbs are in `shard/`: `control` (commands), `negotiated` (parameters from the negotiator), `second_connection`
//! (participants with two PeerConnections), `ingress` (packets in), `forward` (packets out), `feedback` (RTCP),
//! `congestion` (the networks of subscribers), `delivery` (media that does not arrive), `quality` (of connections),
//! `dynacast` (wishes for layers), `loudest` (voices of large rooms), `backup` (pictures in two codecs), `data` (data
//! packets), `backlog` (work that concerns many), `slow_readers` (receivers that data waits for), `relay` and `relayed` (packets to and from other shards).

mod backlog;
mod backup;
mod congestion;
mod control;
mod data;
mod delivery;
mod dynacast;
mod feedback;
mod forward;
mod ingress;
mod loudest;
mod negotiated;
mod quality;
mod relay;
mod relayed;
mod second_connection;
mod slow_readers;

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use protocol::{ParticipantSid, RoomSid, TrackSid};
use rand::{SeedableRng, rngs::StdRng};
use rustc_hash::FxHashMap;
use slotmap::SlotMap;

use crate::{
    api::{Config, Datagram, DisconnectReason, Event, Reason, SendBatch, ShardCommand},
    backlog::Backlog,
    connection::Connection,
    demux::{DatagramKind, Demux, classify},
    down_track::DownTrack,
    keys::{ConnectionKey, DownTrackKey, MemberKey, RouterKey, UpTrackKey},
    member::Member,
    relay::Relay,
    rewrite::StreamIds,
    router::Router,
    rtp,
    slow_readers::Held,
    stats::{DropReason, Stats},
    timers::{Timer, Timers},
    transport::{TransportContext, TransportError, TransportEvent},
    up_track::UpTrack,
    workspace::Workspace,
};

/// The time between two rounds of NACKs, key frame requests and transport-cc feedback while media flows.
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(20);

/// The shortest time until a wake-up: a part that asks for an instant in the past must not stop the world.
const TIMER_RESOLUTION: Duration = Duration::from_millis(1);

/// One thread's worth of media: members, rooms and the packets between them.
pub struct Shard {
    pub(crate) config: Config,
    pub(crate) context: TransportContext,
    pub(crate) rng: StdRng,
    pub(crate) demux: Demux,
    pub(crate) timers: Timers,
    pub(crate) members: SlotMap<MemberKey, Member>,
    pub(crate) sids: FxHashMap<ParticipantSid, MemberKey>,
    pub(crate) connections: SlotMap<ConnectionKey, Connection>,
    pub(crate) routers: SlotMap<RouterKey, Router>,
    pub(crate) rooms: FxHashMap<RoomSid, RouterKey>,
    pub(crate) ups: SlotMap<UpTrackKey, UpTrack>,
    pub(crate) tracks: FxHashMap<TrackSid, UpTrackKey>,
    pub(crate) downs: SlotMap<DownTrackKey, DownTrack>,
    /// The source of names for publishers' streams.
    pub(crate) streams: StreamIds,
    /// Tracks with packets in this receive batch.
    pub(crate) pending: Vec<UpTrackKey>,
    /// A track in `pending` has as many packets as can be selected at once.
    pub(crate) batch_is_full: bool,
    pub(crate) events: VecDeque<Event>,
    pub(crate) relay: Relay,
    pub(crate) stats: Stats,
    pub(crate) space: Workspace,
    /// SSRC of our own RTCP.
    pub(crate) rtcp_ssrc: u32,
    next_feedback: Option<Instant>,
    /// Work that concerns many, of which each turn does a share.
    pub(crate) backlog: Backlog,
    /// Subscribers whose packets wait for the network. `next_pace`: when they are looked at.
    pub(crate) paced: Vec<ConnectionKey>,
    pub(crate) next_pace: Option<Instant>,
}

impl Shard {
    /// A shard without members.
    pub fn new(config: Config) -> Self {
        let mut rng = StdRng::from_seed(config.seed);
        Self {
            context: TransportContext::new(&config),
            config,
            demux: Demux::default(),
            timers: Timers::default(),
            members: SlotMap::with_key(),
            sids: FxHashMap::default(),
            connections: SlotMap::with_key(),
            routers: SlotMap::with_key(),
            rooms: FxHashMap::default(),
            ups: SlotMap::with_key(),
            tracks: FxHashMap::default(),
            downs: SlotMap::with_key(),
            streams: StreamIds::default(),
            pending: Vec::new(),
            batch_is_full: false,
            events: VecDeque::new(),
            relay: Relay::default(),
            stats: Stats::default(),
            space: Workspace::default(),
            rtcp_ssrc: rand::Rng::random(&mut rng),
            rng,
            next_feedback: None,
            backlog: Backlog::default(),
            paced: Vec::new(),
            next_pace: None,
        }
    }

    /// Takes one datagram of a receive batch. Media is forwarded by the next [`Shard::flush`].
    pub fn handle_datagram(
        &mut self,
        datagram: Datagram<'_>,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        self.stats.datagrams_in += 1;
        self.stats.bytes_in += datagram.payload.len() as u64;
        let path = datagram.path();
        match classify(datagram.payload) {
            Some(DatagramKind::Srtp) => {
                let Some(key) = self.demux.by_path(path) else {
                    return self.stats.drop(DropReason::NotValidated);
                };
                if rtp::is_rtcp(datagram.payload) {
                    self.guard(key, now, |shard| {
                        shard.handle_rtcp(key, &datagram, now, out)
                    });
                } else {
                    self.guard(key, now, |shard| shard.handle_rtp(key, &datagram, now));
                    if self.batch_is_full {
                        self.flush(now, out);
                    }
                }
            }
            Some(DatagramKind::Dtls) => {
                let Some(key) = self.demux.by_path(path) else {
                    return self.stats.drop(DropReason::NotValidated);
                };
                self.guard(key, now, |shard| {
                    shard.handle_dtls(key, &datagram, now, out)
                });
            }
            Some(DatagramKind::Stun) => self.handle_stun(&datagram, now, out),
            None => self.stats.drop(DropReason::Malformed),
        }
    }

    /// Ends a receive batch: forwards what it brought.
    pub fn flush(&mut self, now: Instant, out: &mut impl SendBatch) {
        self.batch_is_full = false;
        while let Some(up) = self.pending.pop() {
            let Some(publisher) = self.ups.get(up).map(|track| track.publisher) else {
                continue;
            };
            self.guard_member(publisher, now, |shard| shard.forward(up, now, out));
        }
    }

    /// Carries out a command.
    pub fn handle_command(
        &mut self,
        command: impl Into<ShardCommand>,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        self.route_command(command.into(), now, out);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut impl SendBatch) {
        while let Some((at, key)) = self.timers.pop_due(now) {
            let c = self.connections.get_mut(key);
            if c.is_some_and(|c| c.timer.fire(at)) {
                self.guard(key, now, |shard| {
                    if let Some(c) = shard.connections.get_mut(key) {
                        c.transport.handle_timeout(&shard.context, now, out);
                    }
                    shard.drain_transport(key, now, out);
                    shard.review_data(key, now, out);
                });
            }
        }
        if self.next_feedback.is_some_and(|due| now >= due) {
            self.handle_feedback(now, out);
            let active = !self.ups.is_empty()
                || self
                    .routers
                    .values()
                    .any(|router| router.speakers.is_active());
            self.next_feedback = active.then_some(now + FEEDBACK_INTERVAL);
        }
        if self.next_pace.is_some_and(|due| now >= due) {
            self.release(now, out);
        }
        if self.backlog.due().is_some_and(|due| now >= due) {
            self.work_off(now, out);
        }
        self.flush(now, out);
    }

    /// When [`Shard::handle_timeout`] must be called next, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let transport = self.timers.next().map(|at| (at, Reason::Transport));
        let feedback = self.next_feedback.map(|at| (at, Reason::Feedback));
        let pace = self.next_pace.map(|at| (at, Reason::Pacing));
        let backlog = self.backlog.due().map(|at| (at, Reason::Backlog));
        [transport, feedback, pace, backlog]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The counters since the start, and present sizes.
    pub fn stats(&self) -> Stats {
        Stats {
            paths: self.demux.paths(),
            peers: self.members.len(),
            rooms: self.routers.len(),
            up_tracks: self.ups.len(),
            down_tracks: self.downs.len(),
            ..self.stats.clone()
        }
    }

    /// Makes feedback due soon, unless it is due already: media flows.
    pub(crate) fn start_feedback(&mut self, now: Instant) {
        self.next_feedback.get_or_insert(now + FEEDBACK_INTERVAL);
    }

    /// Runs `work` for one connection. A panic is a bug of ours: it ends that connection, never the room.
    pub(crate) fn guard(
        &mut self,
        connection: ConnectionKey,
        now: Instant,
        work: impl FnOnce(&mut Self),
    ) {
        if self.survives(work) {
            return;
        }
        if let Some(member) = self.connections.get(connection).map(|c| c.member) {
            self.forget_batches(member);
        }
        self.end(connection, now);
    }

    /// Runs `work` for one member: what it published is handled. A panic ends that member.
    pub(crate) fn guard_member(
        &mut self,
        member: MemberKey,
        now: Instant,
        work: impl FnOnce(&mut Self),
    ) {
        if self.survives(work) {
            return;
        }
        self.forget_batches(member);
        let Some(m) = self.members.get(member) else {
            return;
        };
        match m.sends {
            Some(connection) => self.end(connection, now),
            None => {
                tracing::error!(participant = %m.sid, "a bug ended this participant");
                let reason = DisconnectReason::Internal;
                let peer = m.sid;
                self.events.push_back(Event::Disconnected { peer, reason });
            }
        }
    }

    /// Runs `work`; false when it panicked.
    fn survives(&mut self, work: impl FnOnce(&mut Self)) -> bool {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_ok() {
            return true;
        }
        self.stats.panics += 1;
        self.space.restore();
        false
    }

    /// Drops the packets of a member that wait to be forwarded.
    fn forget_batches(&mut self, member: MemberKey) {
        let Self { members, ups, .. } = self;
        for up in members.get(member).map_or(&[][..], |m| &m.ups) {
            if let Some(track) = ups.get_mut(*up) {
                track.batch.clear();
            }
        }
    }

    /// Ends a connection in whose handling there was a bug.
    fn end(&mut self, connection: ConnectionKey, now: Instant) {
        let Some(c) = self.connections.get_mut(connection) else {
            return;
        };
        tracing::error!(participant = %c.sid, "a bug ended this participant's transport");
        c.transport.fail(DisconnectReason::Internal);
        let mut ended = None;
        while let Some(event) = c.transport.poll_event() {
            if let TransportEvent::Disconnected(reason) = event {
                ended = Some(reason);
            }
        }
        if let Some(reason) = ended {
            self.transport_down(connection, reason);
        }
        self.reschedule(connection, now);
    }

    fn handle_stun(&mut self, datagram: &Datagram<'_>, now: Instant, out: &mut impl SendBatch) {
        let Some((key, message)) = crate::transport::parse_stun(datagram.payload)
            .and_then(|(ufrag, message)| Some((self.demux.by_ufrag(&ufrag)?, message)))
        else {
            return self.stats.drop(DropReason::Stun);
        };
        if !self.demux.may_have(datagram.path(), key, now) {
            return self.stats.drop(DropReason::PathTaken);
        }
        self.guard(key, now, |shard| {
            let Some(c) = shard.connections.get_mut(key) else {
                return;
            };
            let before = c.transport.path();
            match c
                .transport
                .handle_stun(&shard.context, message, datagram, now, out)
            {
                Ok(()) if before.is_some() && c.transport.path() != before => {
                    // Another path was nominated: nothing is known of its network yet.
                    c.estimator
                        .iter_mut()
                        .for_each(|estimator| estimator.moved());
                }
                Ok(()) if before == Some(datagram.path()) => c.watch.checked(now),
                Ok(()) => {}
                Err(TransportError::TooMany) => shard.stats.drop(DropReason::TooMany),
                Err(_) => shard.stats.drop(DropReason::Stun),
            }
            shard.drain_transport(key, now, out);
        });
    }

    fn handle_dtls(
        &mut self,
        connection: ConnectionKey,
        datagram: &Datagram<'_>,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        let Some(c) = self.connections.get_mut(connection) else {
            return;
        };
        if c.transport
            .handle_dtls(&self.context, datagram, now, out)
            .is_err()
        {
            self.stats.drop(DropReason::NotValidated);
        }
        self.drain_transport(connection, now, out);
        self.review_data(connection, now, out);
    }

    /// Acts on what a transport reports.
    pub(crate) fn drain_transport(
        &mut self,
        connection: ConnectionKey,
        now: Instant,
        out: &mut impl SendBatch,
    ) {
        while let Some(event) = self
            .connections
            .get_mut(connection)
            .and_then(|c| c.transport.poll(now))
        {
            match event {
                TransportEvent::Validated(path) => self.demux.add_path(path, connection, now),
                TransportEvent::Forgotten(path) => self.demux.remove_path(path, connection),
                TransportEvent::Connected => {
                    self.transport_up(connection, now, out);
                    self.retarget_connection(connection);
                    self.request_key_frames_for(connection, now, out);
                }
                TransportEvent::Disconnected(reason) => {
                    self.transport_down(connection, reason);
                    self.retarget_connection(connection);
                }
                TransportEvent::Opened(channel) => {
                    self.channel_opened(connection, channel, now, out)
                }
                TransportEvent::Data(channel, message) => {
                    self.stats.data_in += 1;
                    self.handle_data(connection, channel, &message, now, out);
                }
            }
        }
        if let Some(c) = self.connections.get_mut(connection) {
            c.transport.flush_data(now, out);
        }
        self.reschedule(connection, now);
    }

    /// Brings the connection's entry in the timers up to date.
    pub(crate) fn reschedule(&mut self, connection: ConnectionKey, now: Instant) {
        let Some(c) = self.connections.get_mut(connection) else {
            return;
        };
        let transport = c.transport.poll_timeout(&self.context);
        let held = c.held.as_ref().map(Held::retry_at);
        let at = [transport, c.reader.deadline(), held];
        let at = at.into_iter().flatten().min();
        let at = at.map(|at| at.max(now + TIMER_RESOLUTION));
        let timer: &mut Timer = &mut c.timer;
        self.timers.schedule(connection, timer, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{Certificate, Destination, MemberCommand, PeerPermissions},
        negotiate::{IceCredentials, RemoteParameters},
        sdp::Setup,
    };

    /// Forgets what it is given.
    pub(super) struct Discard(pub Vec<u8>);

    impl SendBatch for Discard {
        fn reserve(&mut self, _: Destination, len: usize) -> Option<&mut [u8]> {
            self.0.resize(len, 0);
            Some(&mut self.0)
        }

        fn commit(&mut self, _: usize) {}
    }

    pub(super) fn shard_with_peers(
        now: Instant,
        out: &mut Discard,
    ) -> (Shard, [ParticipantSid; 2]) {
        let certificate = dimpl_certificate();
        let config = Config {
            addresses: vec!["192.0.2.1:7882".parse().unwrap()],
            tcp_addresses: Vec::new(),
            index: 0,
            seed: [1; 32],
            certificate,
            connect_timeout_ms: 15_000,
            consent_timeout_ms: 30_000,
            max_peers: 2,
            max_tracks_per_peer: 1,
            max_data_rate: 1 << 20,
            congestion_control: true,
            audio_top_n: 5,
        };
        let mut shard = Shard::new(config);
        let mut rng = StdRng::from_seed([2; 32]);
        let room = RoomSid::random(&mut rng);
        let sids = [0, 1].map(|_| ParticipantSid::random(&mut rng));
        for peer in sids {
            shard.handle_command(add(room, peer), now, out);
        }
        (shard, sids)
    }

    /// The connection of a participant with one.
    pub(super) fn connection_of(shard: &Shard, peer: ParticipantSid) -> ConnectionKey {
        shard.members[shard.sids[&peer]].sends.unwrap()
    }

    pub(super) fn add(room: RoomSid, peer: ParticipantSid) -> MemberCommand {
        MemberCommand::Add {
            room,
            peer,
            identity: "somebody".into(),
            principal: "somebody".into(),
            permissions: PeerPermissions {
                can_publish_data: true,
                hidden: false,
                agent: false,
                hears_all: false,
            },
        }
    }

    /// What a client's first offer says of its transport.
    fn describe(shard: &mut Shard, peer: ParticipantSid, now: Instant) {
        let remote = RemoteParameters {
            ice: IceCredentials {
                ufrag: "ufrag".into(),
                pwd: "password".into(),
            },
            fingerprints: Vec::new(),
            setup: Setup::Active,
            ice_restarted: false,
            sctp: None,
        };
        let key = connection_of(shard, peer);
        let c = shard.connections.get_mut(key).unwrap();
        c.transport.set_remote(&shard.context, &remote, now);
        shard.reschedule(key, now);
    }

    fn dimpl_certificate() -> Certificate {
        let generated = crate::transport::generate_certificate();
        Certificate {
            certificate: generated.0,
            private_key: generated.1,
        }
    }

    #[test]
    fn a_panic_in_one_peers_handling_ends_that_peer_only() {
        let (now, mut out) = (Instant::now(), Discard(Vec::new()));
        let (mut shard, [broken, healthy]) = shard_with_peers(now, &mut out);
        let key = connection_of(&shard, broken);
        shard.guard(key, now, |_| panic!("a bug, as the test wants it"));
        let reason = DisconnectReason::Internal;
        assert_eq!(
            shard.poll_event(),
            Some(Event::Disconnected {
                peer: broken,
                reason
            })
        );
        assert_eq!(shard.poll_event(), None);
        assert_eq!(shard.stats().panics, 1);
        // The shard goes on, and the other is as it was: its connect timeout comes when it is due, not before.
        describe(&mut shard, healthy, now);
        shard.handle_timeout(now + Duration::from_secs(14), &mut out);
        assert_eq!(shard.poll_event(), None);
        shard.handle_timeout(now + Duration::from_secs(15), &mut out);
        let reason = DisconnectReason::ConnectTimeout;
        assert_eq!(
            shard.poll_event(),
            Some(Event::Disconnected {
                peer: healthy,
                reason
            })
        );
        assert_eq!(shard.poll_event(), None);
    }

    #[test]
    fn who_is_connected_to_another_shard_has_no_connection_here_and_a_bug_ends_it_alone() {
        let (now, mut out) = (Instant::now(), Discard(Vec::new()));
        let (mut shard, [here, _]) = shard_with_peers(now, &mut out);
        shard.config.max_peers = 3;
        let elsewhere = ParticipantSid::random(&mut StdRng::from_seed([4; 32]));
        let router = shard.members[shard.sids[&here]].router;
        let command = MemberCommand::AddRelayed {
            room: shard.routers[router].sid,
            peer: elsewhere,
            identity: "elsewhere".into(),
            principal: "elsewhere".into(),
            source: 1,
        };
        shard.handle_command(command, now, &mut out);
        let connected = Event::Connected { peer: elsewhere };
        assert_eq!(shard.poll_event(), Some(connected));
        assert_eq!((shard.members.len(), shard.connections.len()), (3, 2));
        shard.guard_member(shard.sids[&elsewhere], now, |_| {
            panic!("a bug, as the test wants it")
        });
        let ended = Event::Disconnected {
            peer: elsewhere,
            reason: DisconnectReason::Internal,
        };
        assert_eq!(shard.poll_event(), Some(ended));
        assert_eq!(shard.poll_event(), None);
        for peer in [elsewhere, here] {
            shard.handle_command(MemberCommand::Remove { peer }, now, &mut out);
        }
        assert_eq!((shard.members.len(), shard.connections.len()), (1, 1));
    }

    #[test]
    fn a_panic_while_a_packet_is_handled_leaves_no_shard_that_is_deaf() {
        let (now, mut out) = (Instant::now(), Discard(Vec::new()));
        let (mut shard, [broken, _]) = shard_with_peers(now, &mut out);
        let key = connection_of(&shard, broken);
        // All that is taken out of a shard while it works.
        let before = shard.space.packet.len();
        shard.guard(key, now, |shard| {
            let _lent = (
                std::mem::take(&mut shard.space.packet),
                std::mem::take(&mut shard.space.downs),
                std::mem::take(&mut shard.space.pictures),
                std::mem::take(&mut shard.space.demands),
                std::mem::take(&mut shard.space.shares),
            );
            panic!("a bug, as the test wants it");
        });
        assert_eq!(shard.space.packet.len(), before);
        let lists = (
            &shard.space.downs,
            &shard.space.pictures,
            &shard.space.demands,
        );
        assert_eq!((lists.0.len(), lists.1.len(), lists.2.len()), (0, 0, 0));
        // In these rounds each connection is guarded by itself: who comes after the one that fails has its turn, …
        shard.paced = shard.connections.keys().collect();
        shard.release(now, &mut out);
        shard.handle_feedback(now, &mut out);
        // … and the lists of a round are there for the next.
        assert!(shard.paced.is_empty() && shard.space.connections.is_empty());
        assert!(shard.space.connections.capacity() >= 2);
        assert_eq!(shard.stats().panics, 1);
    }

    #[test]
    fn the_peer_beyond_the_limit_is_not_taken() {
        let (now, mut out) = (Instant::now(), Discard(Vec::new()));
        let (mut shard, _) = shard_with_peers(now, &mut out);
        let mut rng = StdRng::from_seed([3; 32]);
        shard.handle_command(
            add(RoomSid::random(&mut rng), ParticipantSid::random(&mut rng)),
            now,
            &mut out,
        );
        assert!(matches!(
            shard.poll_event(),
            Some(Event::NegotiationFailed { .. })
        ));
        assert_eq!((shard.stats().peers, shard.stats().rooms), (2, 1));
    }
}
