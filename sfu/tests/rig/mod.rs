//! A shard and its clients on one thread, under a virtual clock and a virtual network. The clients are real WebRTC
//! stacks (crate `client`, on str0m); the rig plays the part of signalling in the few words it needs.

#![allow(dead_code, reason = "each test binary uses a part of the rig")]

pub mod svc;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::SocketAddr,
    time::{Duration, Instant},
};

use client::{
    PeerConfig, PeerConnection, PeerEvent, SendTrack,
    fixtures::{PictureSize, moving_picture, tone},
    media::{
        AudioLevel, IncomingPacket, Layer, MediaKind as ClientKind, OutgoingPacket, ReceiveStats,
    },
};
use protocol::{ParticipantIdentity, ParticipantSid, RoomSid, TrackSid};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sfu::{
    AudioFeatures, BackupOf, Certificate, Command, Config, Datagram, DescriptionCommand,
    Destination, Event, LayerSize, MediaKind, MemberCommand, Negotiator, PeerPermissions,
    PublishedTrack, RelayRequest, SendBatch, Shard, SpatialLayer, SubscriptionCommand,
    TrackCommand, TrackSetting, TransportProtocol, negotiator::Output,
};

/// Where the shard listens.
pub const SERVER: &str = "192.0.2.1:7882";

/// One way through the virtual network.
const DELAY: Duration = Duration::from_millis(5);

/// A send buffer that keeps each datagram by itself.
#[derive(Default)]
pub struct VecBatch {
    pub sent: Vec<(Destination, Vec<u8>)>,
    open: Option<(Destination, Vec<u8>)>,
}

impl SendBatch for VecBatch {
    fn reserve(&mut self, to: Destination, len: usize) -> Option<&mut [u8]> {
        Some(self.open.insert((to, vec![0xaa; len])).1.as_mut_slice())
    }

    fn commit(&mut self, len: usize) {
        let (to, mut bytes) = self.open.take().expect("a reservation before a commit");
        bytes.truncate(len);
        self.sent.push((to, bytes));
    }
}

/// What was sealed, by receiver, SSRC and sequence number: no two different packets may have one nonce. Good for 65,536
/// packets of a stream.
#[derive(Default)]
pub struct Nonces {
    sealed: BTreeMap<(SocketAddr, u32, u16), Vec<u8>>,
    /// Packets that went out once more, the same bit for bit.
    pub repeated: usize,
    /// Different packets under one nonce.
    pub broken: Vec<String>,
}

impl Nonces {
    fn look(&mut self, to: SocketAddr, packet: &[u8]) {
        let (ssrc, seq) = (
            be32(&packet[8..]),
            u16::from_be_bytes([packet[2], packet[3]]),
        );
        match self.sealed.get(&(to, ssrc, seq)) {
            Some(before) if before == packet => self.repeated += 1,
            Some(_) => self.broken.push(format!("to {to}: {ssrc} {seq}")),
            None => {
                self.sealed.insert((to, ssrc, seq), packet.to_vec());
            }
        }
    }

    /// Packets that went to somebody.
    pub fn count(&self, to: SocketAddr) -> usize {
        self.sealed.keys().filter(|(who, ..)| *who == to).count()
    }
}

/// A participant of the rig.
pub struct Participant {
    pub sid: ParticipantSid,
    pub connection: PeerConnection,
    /// Where it receives, with two PeerConnections.
    pub subscriber: Option<PeerConnection>,
    pub connected: bool,
    pub data: Vec<Vec<u8>>,
    /// What it got of tracks, where [`Rig::packets`] was set when it joined: section and packet.
    pub packets: Vec<(String, IncomingPacket)>,
    /// Tracks by section, as the last answer said.
    pub tracks: BTreeMap<String, TrackSid>,
    pub key_frame_requests: usize,
    /// What others want of its pictures; a client that does as it is told sends nothing else.
    pub wanted: BTreeMap<TrackSid, Option<SpatialLayer>>,
    /// Levels of its tone, -dBov, one after the other; `None`: the packets say nothing of it.
    pub levels: Option<Vec<u8>>,
    /// The last answer.
    pub answer: String,
    pub left: bool,
    offer_id: u32,
    cids: BTreeMap<String, TrackSid>,
    sources: Vec<Source>,
}

/// Media that a participant sends regularly.
struct Source {
    cid: String,
    next: Instant,
    count: u64,
    kind: SourceKind,
}

enum SourceKind {
    Tone,
    /// Packets that begin and end a key picture of VP9 each, by their descriptors; there is no picture in them.
    Vp9,
    /// Layers of VP9 in one stream.
    Svc(svc::Source),
    Video(Vec<(Option<Layer>, PictureSize)>),
}

/// A datagram under way.
struct Flight {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// A link with a rate and a queue.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Bits per second.
    pub rate: u64,
    /// The longest wait: datagrams that would wait longer are lost.
    pub queue: Duration,
    /// When the link will have sent everything that waits.
    pub free_at: Instant,
    pub lost: u64,
}

/// One shard and real clients on a virtual network.
pub struct Rig {
    pub now: Instant,
    /// Between the room, which the test is, and the shard.
    pub negotiator: Negotiator,
    pub shard: Shard,
    pub participants: Vec<Participant>,
    pub events: Vec<Event>,
    pub room: RoomSid,
    /// Share of datagrams that the network loses, both ways.
    pub loss: f64,
    /// Datagrams from these addresses are lost.
    pub cut: Vec<SocketAddr>,
    /// Of what comes from and goes to these addresses only STUN arrives: their DTLS is dead.
    pub deaf: Vec<SocketAddr>,
    /// What reached these addresses, which are no participant's.
    pub strangers: BTreeMap<SocketAddr, Vec<Vec<u8>>>,
    /// How injected datagrams come.
    pub protocol: TransportProtocol,
    /// Where it is set: how the shard seals.
    pub nonces: Option<Nonces>,
    /// Media with these SSRCs is lost on its way from the shard.
    pub lost_ssrcs: Vec<u32>,
    /// So many times the end of the shard's DTLS handshake (RFC 6347, section 4.2.4: the flight that begins with
    /// ChangeCipherSpec) is lost yet.
    pub lost_handshake_ends: u32,
    /// Links of participants that are slow: towards them.
    pub links: BTreeMap<SocketAddr, Link>,
    /// A clock of nanoseconds, where the shard's own time is to be measured; see [`Rig::shard_ns`].
    pub stopwatch: Option<fn() -> u64>,
    /// What the shard has needed by that clock so far.
    pub shard_ns: u64,
    /// Who joins knows VP9.
    pub vp9: bool,
    /// Who joins keeps the packets it gets, and asks for no key frames.
    pub packets: bool,
    /// Who joins insists on being the server of DTLS.
    pub dtls_servers: bool,
    /// So many of the shard's next DTLS datagrams are lost.
    pub lost_dtls: u32,
    /// Who joins is a companion of somebody by this name.
    pub companion_of: Option<&'static str>,
    /// Who offers takes no longer messages than this on its data channels.
    pub longest_message: Option<u32>,
    /// Who joins gets every voice.
    pub hears_all: bool,
    /// Participants behind a NAT: their own address, and the one the shard sees.
    nat: BTreeMap<SocketAddr, SocketAddr>,
    server: SocketAddr,
    rng: StdRng,
    flights: BinaryHeap<Reverse<(Instant, u64)>>,
    in_flight: BTreeMap<u64, Flight>,
    sequence: u64,
}

pub fn server() -> SocketAddr {
    SERVER.parse().unwrap()
}

/// The configuration of the rig's shard.
pub fn config(seed: u64, server: SocketAddr) -> Config {
    let certificate = dimpl::certificate::generate_self_signed_certificate().unwrap();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Config {
        addresses: vec![server],
        tcp_addresses: Vec::new(),
        index: 0,
        seed: bytes,
        certificate: Certificate {
            certificate: certificate.certificate,
            private_key: certificate.private_key,
        },
        connect_timeout_ms: 15_000,
        consent_timeout_ms: 30_000,
        max_peers: 1000,
        max_tracks_per_peer: 32,
        max_data_rate: 1 << 20,
        congestion_control: true,
        audio_top_n: 0,
    }
}

impl Rig {
    pub fn new(seed: u64) -> Self {
        Self::with(config(seed, server()))
    }

    /// With a shard of this configuration.
    pub fn with(config: Config) -> Self {
        let server = config.addresses[0];
        let now = Instant::now();
        let mut rng = StdRng::from_seed(config.seed);
        let _ = tracing_subscriber::fmt()
            .with_test_writer()
            .with_env_filter("error")
            .try_init();
        Self {
            now,
            negotiator: Negotiator::new(&config, rng.random()),
            shard: Shard::new(config),
            participants: Vec::new(),
            events: Vec::new(),
            room: RoomSid::random(&mut rng),
            loss: 0.0,
            cut: Vec::new(),
            deaf: Vec::new(),
            strangers: BTreeMap::new(),
            protocol: TransportProtocol::Udp,
            nonces: None,
            lost_ssrcs: Vec::new(),
            lost_handshake_ends: 0,
            links: BTreeMap::new(),
            stopwatch: None,
            shard_ns: 0,
            vp9: false,
            packets: false,
            dtls_servers: false,
            lost_dtls: 0,
            companion_of: None,
            longest_message: None,
            hears_all: false,
            nat: BTreeMap::new(),
            server,
            rng,
            flights: BinaryHeap::new(),
            in_flight: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// Somebody joins, subscribes to all there is, and offers.
    pub fn join(&mut self) -> usize {
        let index = self.participants.len();
        self.join_from(
            format!("198.51.100.{}:{}", 1 + index % 250, 10_000 + index)
                .parse()
                .unwrap(),
        )
    }

    /// Somebody joins from this address.
    pub fn join_from(&mut self, address: SocketAddr) -> usize {
        self.join_with(address, false)
    }

    /// Somebody joins who does not know VP9.
    pub fn join_without_vp9(&mut self, two: bool) -> usize {
        self.vp9 = false;
        let index = if two {
            self.join_with_two()
        } else {
            self.join()
        };
        self.vp9 = true;
        index
    }

    /// Somebody joins who receives on a second PeerConnection, and subscribes to all there is.
    pub fn join_with_two(&mut self) -> usize {
        let index = self.participants.len();
        let address = format!("198.51.100.{}:{}", 1 + index % 250, 10_000 + index);
        self.join_with(address.parse().unwrap(), true)
    }

    /// Somebody joins under the identity of somebody who was there.
    pub fn join_as(&mut self, identity: &str) -> usize {
        let index = self.participants.len();
        let address = format!("198.51.100.{}:{}", 1 + index % 250, 10_000 + index);
        self.join_named(address.parse().unwrap(), false, identity.to_owned())
    }

    fn join_with(&mut self, address: SocketAddr, two: bool) -> usize {
        let identity = format!("identity-{}", self.participants.len());
        self.join_named(address, two, identity)
    }

    fn join_named(&mut self, address: SocketAddr, two: bool, identity: String) -> usize {
        let index = self.participants.len();
        let sid = ParticipantSid::random(&mut self.rng);
        let mut config = PeerConfig {
            vp9: self.vp9,
            packets: self.packets,
            frames: !self.packets,
            dtls_server: self.dtls_servers,
            ..PeerConfig::default()
        };
        let mut subscriber = None;
        if two {
            config.audio_sections = 0;
            config.video_sections = 0;
            let other = SocketAddr::new(address.ip(), address.port() + 20_000);
            let receiving = PeerConnection::new(config.clone(), other, self.now);
            subscriber = Some(receiving.unwrap());
        }
        let connection = PeerConnection::new(config, address, self.now).unwrap();
        self.participants.push(Participant {
            sid,
            connection,
            subscriber,
            connected: false,
            data: Vec::new(),
            packets: Vec::new(),
            tracks: BTreeMap::new(),
            key_frame_requests: 0,
            wanted: BTreeMap::new(),
            levels: Some(vec![20]),
            answer: String::new(),
            offer_id: 0,
            cids: BTreeMap::new(),
            sources: Vec::new(),
            left: false,
        });
        self.command(MemberCommand::Add {
            room: self.room,
            peer: sid,
            principal: self.principal(identity.clone()),
            identity: identity.into(),
            permissions: PeerPermissions {
                can_publish_data: true,
                hidden: false,
                agent: false,
                hears_all: self.hears_all,
            },
        });
        if two {
            self.command(MemberCommand::AddSecondConnection {
                peer: sid,
                primary: true,
            });
        }
        let tracks: Vec<_> = self
            .participants
            .iter()
            .filter(|p| !p.left)
            .flat_map(|p| p.cids.values().copied())
            .collect();
        for track in tracks {
            self.command(SubscriptionCommand::Subscribe {
                peer: sid,
                track,
                setting: TrackSetting::default(),
            });
        }
        if two {
            self.command(DescriptionCommand::OfferSubscriber {
                peer: sid,
                restart_ice: false,
            });
        } else {
            self.offer(index);
        }
        index
    }

    /// Whose participant the next one is.
    pub fn principal(&self, identity: String) -> ParticipantIdentity {
        self.companion_of
            .map_or_else(|| identity.into(), ParticipantIdentity::from)
    }

    /// Where the shard listens.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    pub fn leave(&mut self, index: usize) {
        self.participants[index].left = true;
        self.participants[index].sources.clear();
        let peer = self.participants[index].sid;
        self.command(MemberCommand::Remove { peer });
    }

    /// Publishes a tone and, with `layers`, a picture: one stream, or simulcast. Returns the sids.
    pub fn publish(&mut self, index: usize, kind: ClientKind, layers: &[Layer]) -> TrackSid {
        self.publish_in("camera", index, kind, layers)
    }

    /// The same in a stream of this name.
    pub fn publish_in(
        &mut self,
        stream: &str,
        index: usize,
        kind: ClientKind,
        layers: &[Layer],
    ) -> TrackSid {
        let (sid, cid) = self.announce_in(stream, index, kind, layers);
        let streams = match layers {
            [] => vec![(None, PictureSize::Medium)],
            layers => layers
                .iter()
                .map(|layer| (Some(*layer), size_of_layer(*layer)))
                .collect(),
        };
        let kind = if kind == ClientKind::Audio {
            SourceKind::Tone
        } else {
            SourceKind::Video(streams)
        };
        self.participants[index].sources.push(Source {
            cid,
            next: self.now,
            count: 0,
            kind,
        });
        sid
    }

    /// Publishes a picture in VP9 with layers within its stream.
    pub fn publish_svc(&mut self, index: usize, source: svc::Source) -> TrackSid {
        let (sid, cid) = self.announce_as("video/vp9", "camera", index, ClientKind::Video, &[]);
        self.participants[index].sources.push(Source {
            cid,
            next: self.now,
            count: 0,
            kind: SourceKind::Svc(source),
        });
        self.offer(index);
        sid
    }

    /// The one source of such a picture.
    pub fn svc(&mut self, index: usize) -> &mut svc::Source {
        let mut sources = self.participants[index].sources.iter_mut();
        let found = sources.find_map(|source| match &mut source.kind {
            SourceKind::Svc(svc) => Some(svc),
            _ => None,
        });
        found.expect("a source with layers")
    }

    /// Publishes a picture in VP9, and announces one in VP8 for those who need it. Returns the sids of both.
    pub fn publish_with_backup(&mut self, index: usize, for_all: bool) -> (TrackSid, TrackSid) {
        let (first, cid) = self.announce_as("video/vp9", "camera", index, ClientKind::Video, &[]);
        self.participants[index].sources.push(Source {
            cid,
            next: self.now,
            count: 0,
            kind: SourceKind::Vp9,
        });
        let sid = TrackSid::random("", &mut self.rng);
        let backup = self.backup(sid, first, for_all, Vec::new());
        let peer = self.participants[index].sid;
        let track = backup;
        self.command(TrackCommand::Publish { peer, track });
        self.offer(index);
        (first, sid)
    }

    pub fn backup(
        &self,
        sid: TrackSid,
        track: TrackSid,
        for_all: bool,
        cids: Vec<String>,
    ) -> PublishedTrack {
        PublishedTrack {
            sid,
            kind: MediaKind::Video,
            cids,
            stream: "camera".into(),
            muted: false,
            audio: AudioFeatures::default(),
            mime_type: "video/vp8".into(),
            backup_of: Some(BackupOf { track, for_all }),
            layers: layer_sizes(),
        }
    }

    /// Sends the announced backup: all three layers, as far as they are wanted.
    pub fn publish_backup(
        &mut self,
        index: usize,
        backup: TrackSid,
        first: TrackSid,
        for_all: bool,
    ) {
        let cid = format!("cid-{}", backup.as_str());
        let track = self.backup(backup, first, for_all, vec![cid.clone()]);
        let p = &mut self.participants[index];
        p.connection.add_track(SendTrack {
            cid: cid.clone(),
            stream: "stream".into(),
            kind: ClientKind::Video,
            layers: Layer::ALL.to_vec(),
        });
        p.cids.insert(cid.clone(), backup);
        let streams = Layer::ALL.map(|layer| (Some(layer), size_of_layer(layer)));
        p.sources.push(Source {
            cid,
            next: self.now,
            count: 0,
            kind: SourceKind::Video(streams.to_vec()),
        });
        let peer = p.sid;
        self.command(TrackCommand::Publish { peer, track });
        self.offer(index);
    }

    /// Publishes it no longer: it is gone from the next offer.
    pub fn unpublish(&mut self, index: usize, track: TrackSid) {
        let p = &mut self.participants[index];
        let cid = p.cids.iter().find(|(_, sid)| **sid == track);
        let cid = cid.map(|(cid, _)| cid.clone()).unwrap();
        p.cids.remove(&cid);
        p.sources.retain(|source| source.cid != cid);
        p.connection.remove_track(&cid);
        let peer = p.sid;
        self.command(TrackCommand::Unpublish { peer, track });
        self.offer(index);
    }

    /// The tracks somebody publishes.
    pub fn published(&self, index: usize) -> Vec<TrackSid> {
        self.participants[index].cids.values().copied().collect()
    }

    /// The SSRCs with which a subscriber gets a track, the one of retransmissions last.
    pub fn ssrcs(&self, index: usize, track: TrackSid) -> Vec<u32> {
        let p = &self.participants[index];
        let mid = p.tracks.iter().find(|(_, sid)| **sid == track).unwrap().0;
        let mut sections = p.answer.split("m=");
        let line = format!("a=mid:{mid}");
        let section = sections.find(|section| section.lines().any(|l| l == line));
        let ssrcs = section.unwrap().split("a=ssrc:").skip(1);
        let mut ssrcs: Vec<_> = ssrcs
            .map(|line| line.split(' ').next().unwrap().parse().unwrap())
            .collect();
        ssrcs.dedup();
        ssrcs
    }

    /// Publishes a track whose packets the caller writes. Returns its sid and the client's id of it.
    pub fn announce(
        &mut self,
        index: usize,
        kind: ClientKind,
        layers: &[Layer],
    ) -> (TrackSid, String) {
        self.announce_in("camera", index, kind, layers)
    }

    fn announce_in(
        &mut self,
        stream: &str,
        index: usize,
        kind: ClientKind,
        layers: &[Layer],
    ) -> (TrackSid, String) {
        let announced = self.announce_as("", stream, index, kind, layers);
        self.offer(index);
        announced
    }

    /// Without the offer.
    fn announce_as(
        &mut self,
        mime_type: &str,
        stream: &str,
        index: usize,
        kind: ClientKind,
        layers: &[Layer],
    ) -> (TrackSid, String) {
        let sid = TrackSid::random("", &mut self.rng);
        let cid = format!("cid-{}", sid.as_str());
        let track = PublishedTrack {
            sid,
            kind: if kind == ClientKind::Audio {
                MediaKind::Audio
            } else {
                MediaKind::Video
            },
            cids: vec![cid.clone()],
            stream: stream.into(),
            muted: false,
            audio: AudioFeatures::default(),
            mime_type: mime_type.into(),
            backup_of: None,
            layers: layer_sizes(),
        };
        let p = &mut self.participants[index];
        p.connection.add_track(SendTrack {
            cid: cid.clone(),
            stream: "stream".into(),
            kind,
            layers: layers.to_vec(),
        });
        p.cids.insert(cid.clone(), sid);
        let peer = p.sid;
        self.command(TrackCommand::Publish { peer, track });
        (sid, cid)
    }

    /// Runs the world for this long.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            let next = self.next_wake().unwrap_or(end).max(self.now).min(end);
            self.now = next;
            self.deliver();
            self.play();
            self.wake();
        }
    }

    /// Runs until `done`, at most `limit`; whether it came true.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while self.now < end {
            if done(self) {
                return true;
            }
            self.run(Duration::from_millis(5));
        }
        done(self)
    }

    /// The network of a participant carries this much from now on.
    pub fn narrow(&mut self, index: usize, rate: u64, queue: Duration) {
        let link = Link {
            rate,
            queue,
            free_at: self.now,
            lost: 0,
        };
        self.links
            .insert(self.participants[index].connection.local(), link);
    }

    /// And now as much as there is.
    pub fn widen(&mut self, index: usize) {
        self.links
            .remove(&self.participants[index].connection.local());
    }

    /// From now on the shard sees a participant under this address; what goes to the former one is lost.
    pub fn rebind(&mut self, index: usize, address: SocketAddr) {
        let own = self.participants[index].connection.local();
        self.nat.insert(own, address);
    }

    /// The room says this, by way of its negotiator.
    pub fn command(&mut self, command: impl Into<Command>) {
        self.negotiator.handle_command(command);
        self.after_shard(VecBatch::default());
    }

    /// Another shard asks this.
    pub fn request(&mut self, request: RelayRequest) {
        let mut out = VecBatch::default();
        self.shard.handle_command(request, self.now, &mut out);
        self.after_shard(out);
    }

    /// A datagram reaches the shard.
    pub fn inject(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.inject_batch(from, &[bytes]);
    }

    /// Datagrams reach the shard in one receive batch.
    pub fn inject_batch(&mut self, from: SocketAddr, datagrams: &[impl AsRef<[u8]>]) {
        let mut out = VecBatch::default();
        for payload in datagrams {
            let datagram = Datagram {
                remote: from,
                local: self.server,
                protocol: self.protocol,
                payload: payload.as_ref(),
            };
            self.shard.handle_datagram(datagram, self.now, &mut out);
        }
        self.shard.flush(self.now, &mut out);
        self.after_shard(out);
    }

    /// A packet comes from another shard.
    pub fn relayed(&mut self, packet: &[u8]) {
        let mut out = VecBatch::default();
        self.shard.handle_relayed(packet, self.now, &mut out);
        self.shard.flush(self.now, &mut out);
        self.after_shard(out);
    }

    /// What `index` received of `track`.
    pub fn received(&self, index: usize, track: TrackSid) -> ReceiveStats {
        let p = &self.participants[index];
        let mid = p
            .tracks
            .iter()
            .find(|(_, sid)| **sid == track)
            .map(|(mid, _)| mid.clone());
        let receiving = p.subscriber.as_ref().unwrap_or(&p.connection);
        mid.and_then(|mid| receiving.receive_stats(&mid).cloned())
            .unwrap_or_default()
    }

    pub fn offer(&mut self, index: usize) {
        let longest = self.longest_message.unwrap_or(262_144);
        let longest = format!("a=max-message-size:{longest}");
        self.offer_as(index, |sdp| {
            sdp.replace("a=max-message-size:262144", &longest)
        });
    }

    /// Offers what `change` makes of the offer.
    pub fn offer_as(&mut self, index: usize, change: impl FnOnce(String) -> String) {
        let p = &mut self.participants[index];
        if p.connection.is_offer_pending() {
            return;
        }
        p.offer_id += 1;
        let (peer, id) = (p.sid, p.offer_id);
        let sdp = change(p.connection.create_offer(self.now).unwrap());
        self.command(DescriptionCommand::offer(peer, id, &sdp).unwrap());
    }

    fn after_shard(&mut self, out: VecBatch) {
        self.post_all(out);
        loop {
            while let Some(event) = self.shard.poll_event() {
                self.negotiator.handle_event(event);
            }
            match self.negotiator.poll() {
                Some(Output::Command(command)) => {
                    let mut out = VecBatch::default();
                    self.shard.handle_command(command, self.now, &mut out);
                    self.post_all(out);
                }
                Some(Output::Event(event)) => {
                    self.react(&event);
                    self.events.push(event);
                }
                None => return,
            }
        }
    }

    /// What the shard has sent is under way.
    pub fn post_all(&mut self, out: VecBatch) {
        for (to, bytes) in out.sent {
            if let Some(nonces) = self.nonces.as_mut().filter(|_| is_rtp(&bytes)) {
                nonces.look(to.remote, &bytes);
            }
            self.post(to.local, to.remote, bytes);
        }
    }

    /// The part of signalling.
    fn react(&mut self, event: &Event) {
        // A test may add peers that speak for themselves.
        let index =
            |rig: &Self, sid: &ParticipantSid| rig.participants.iter().position(|p| p.sid == *sid);
        match event {
            Event::Answer {
                peer,
                sdp,
                mid_to_track,
                missing,
                ..
            } => {
                let Some(i) = index(self, peer) else {
                    return;
                };
                let now = self.now;
                let p = &mut self.participants[i];
                p.connection.accept_answer(sdp, now).unwrap();
                p.answer.clone_from(sdp);
                if p.subscriber.is_none() {
                    p.tracks = mid_to_track.iter().cloned().collect();
                }
                if missing.audios + missing.videos > 0 {
                    p.connection
                        .add_receive_sections(missing.audios, missing.videos);
                }
                if p.connection.has_changes() {
                    self.offer(i);
                }
            }
            Event::Offer {
                peer,
                id,
                sdp,
                mid_to_track,
            } => {
                let Some(i) = index(self, peer) else {
                    return;
                };
                let now = self.now;
                let p = &mut self.participants[i];
                p.tracks = mid_to_track.iter().cloned().collect();
                let subscriber = p.subscriber.as_mut().expect("offered to who has two");
                let sdp = subscriber.accept_offer(sdp, now).unwrap();
                let (peer, id) = (*peer, *id);
                self.command(DescriptionCommand::answer(peer, id, &sdp).unwrap());
            }
            Event::NegotiationNeeded { peer, missing } => {
                let Some(i) = index(self, peer) else {
                    return;
                };
                self.participants[i]
                    .connection
                    .add_receive_sections(missing.audios, missing.videos);
                if !self.participants[i].left {
                    self.offer(i);
                }
            }
            Event::TrackBound { peer, track, .. } => {
                let others: Vec<_> = self
                    .participants
                    .iter()
                    .filter(|p| p.sid != *peer && !p.left)
                    .map(|p| p.sid)
                    .collect();
                for other in others {
                    self.command(SubscriptionCommand::Subscribe {
                        peer: other,
                        track: *track,
                        setting: TrackSetting::default(),
                    });
                }
            }
            Event::WantedLayersChanged {
                peer,
                track,
                wanted,
            } => {
                let Some(i) = index(self, peer) else { return };
                self.participants[i].wanted.insert(*track, *wanted);
            }
            Event::NegotiationFailed { peer, reason } => {
                assert!(index(self, peer).is_none(), "negotiation failed: {reason}");
            }
            _ => {}
        }
    }

    fn post(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        if self.rng.random_bool(self.loss) || self.cut.contains(&from) || self.cut.contains(&to) {
            return;
        }
        if bytes[0] > 3 && (self.deaf.contains(&from) || self.deaf.contains(&to)) {
            return;
        }
        let is_lost = |bytes: &[u8]| self.lost_ssrcs.contains(&be32(&bytes[8..]));
        if from == self.server && is_rtp(&bytes) && is_lost(&bytes) {
            return;
        }
        if from == self.server && (20..64).contains(&bytes[0]) && self.lost_dtls > 0 {
            self.lost_dtls -= 1;
            return;
        }
        if from == self.server && bytes[0] == 20 && self.lost_handshake_ends > 0 {
            self.lost_handshake_ends -= 1;
            return;
        }
        let mut leaves = self.now;
        if let Some(link) = self.links.get_mut(&to) {
            let start = link.free_at.max(self.now);
            if start - self.now > link.queue {
                link.lost += 1;
                return;
            }
            link.free_at =
                start + Duration::from_secs_f64(bytes.len() as f64 * 8.0 / link.rate as f64);
            leaves = link.free_at;
        }
        self.sequence += 1;
        self.flights.push(Reverse((leaves + DELAY, self.sequence)));
        self.in_flight
            .insert(self.sequence, Flight { from, to, bytes });
    }

    fn next_wake(&self) -> Option<Instant> {
        let flight = self.flights.peek().map(|Reverse((at, _))| *at);
        let shard = self.shard.poll_timeout().map(|(at, _)| at);
        let clients = self
            .participants
            .iter()
            .filter(|p| !p.left)
            .flat_map(|p| std::iter::once(&p.connection).chain(&p.subscriber))
            .filter_map(PeerConnection::poll_timeout);
        let sources = self
            .participants
            .iter()
            .flat_map(|p| &p.sources)
            .map(|source| source.next);
        clients.chain(sources).chain(flight).chain(shard).min()
    }

    /// Lets the shard do something, by the stopwatch.
    fn timed(&mut self, out: &mut VecBatch, act: impl FnOnce(&mut Shard, Instant, &mut VecBatch)) {
        let began = self.stopwatch.map(|clock| clock());
        act(&mut self.shard, self.now, out);
        if let (Some(clock), Some(began)) = (self.stopwatch, began) {
            self.shard_ns += clock() - began;
        }
    }

    fn deliver(&mut self) {
        let mut out = VecBatch::default();
        while self
            .flights
            .peek()
            .is_some_and(|Reverse((at, _))| *at <= self.now)
        {
            let Some(Reverse((_, key))) = self.flights.pop() else {
                break;
            };
            let flight = self.in_flight.remove(&key).unwrap();
            if flight.to == self.server {
                let datagram = Datagram {
                    remote: flight.from,
                    local: flight.to,
                    protocol: TransportProtocol::Udp,
                    payload: &flight.bytes,
                };
                self.timed(&mut out, |shard, now, out| {
                    shard.handle_datagram(datagram, now, out);
                });
            } else if let Some(connection) = self
                .participants
                .iter_mut()
                .flat_map(|p| std::iter::once(&mut p.connection).chain(&mut p.subscriber))
                .find(|connection| {
                    let own = connection.local();
                    *self.nat.get(&own).unwrap_or(&own) == flight.to
                })
            {
                let own = connection.local();
                connection.handle_datagram(own, flight.from, &flight.bytes, self.now);
            } else if let Some(received) = self.strangers.get_mut(&flight.to) {
                received.push(flight.bytes);
            }
        }
        self.timed(&mut out, |shard, now, out| shard.flush(now, out));
        self.after_shard(out);
    }

    fn wake(&mut self) {
        if self
            .shard
            .poll_timeout()
            .is_some_and(|(at, _)| at <= self.now)
        {
            let mut out = VecBatch::default();
            self.timed(&mut out, |shard, now, out| shard.handle_timeout(now, out));
            self.after_shard(out);
        }
        for i in 0..self.participants.len() {
            let now = self.now;
            let p = &mut self.participants[i];
            if p.left {
                continue;
            }
            let mut transmits = Vec::new();
            let mut events = Vec::new();
            for connection in std::iter::once(&mut p.connection).chain(&mut p.subscriber) {
                if connection.poll_timeout().is_some_and(|at| at <= now) {
                    connection.handle_timeout(now);
                }
                transmits.extend(std::iter::from_fn(|| connection.poll_transmit()));
                events.extend(std::iter::from_fn(|| connection.poll_event()));
            }
            for event in events {
                match event {
                    PeerEvent::Connected => p.connected = true,
                    PeerEvent::Data { payload, .. } => p.data.push(payload),
                    PeerEvent::Packet { mid, packet } => p.packets.push((mid, packet)),
                    PeerEvent::KeyFrameRequested { mid, .. } => {
                        p.key_frame_requests += 1;
                        // The canned picture begins again with its key frame.
                        for source in &mut p.sources {
                            let is_canned = !matches!(source.kind, SourceKind::Vp9);
                            let own = p.connection.mid_of(&source.cid);
                            if is_canned && own.as_deref() == Some(&mid) {
                                source.count = 0;
                            }
                        }
                    }
                    _ => {}
                }
            }
            for transmit in transmits {
                let from = *self.nat.get(&transmit.local).unwrap_or(&transmit.local);
                self.post(from, transmit.remote, transmit.payload);
            }
        }
    }

    /// Sends what the sources have to send now: 50 audio frames and 30 pictures a second.
    fn play(&mut self) {
        for p in &mut self.participants {
            for source in &mut p.sources {
                if source.next > self.now {
                    continue;
                }
                let can_send = p.connection.is_connected() && p.connection.can_send(&source.cid);
                let Some(mid) = p.connection.mid_of(&source.cid).filter(|_| can_send) else {
                    source.next = self.now + Duration::from_millis(20);
                    continue;
                };
                let elapsed = self.now.duration_since(source.next);
                match &mut source.kind {
                    SourceKind::Tone => {
                        let frames = tone();
                        let level = p.levels.as_ref().map(|levels| AudioLevel {
                            dbov: -(levels[source.count as usize % levels.len()] as i8),
                            voice: true,
                        });
                        let frame = frames[source.count as usize % frames.len()];
                        let time = media_time(self.now, 48_000);
                        p.connection
                            .write_frame(&mid, None, frame, time, level, self.now)
                            .unwrap();
                        source.next = self.now + Duration::from_millis(20) - elapsed;
                    }
                    SourceKind::Vp9 => {
                        let wanted = p.wanted.get(&p.cids[&source.cid]);
                        if wanted != Some(&None) {
                            let packet = vp9_key_picture(source.count, self.now);
                            p.connection
                                .write_rtp(&mid, None, packet, self.now)
                                .unwrap();
                        }
                        source.next = self.now + Duration::from_millis(33) - elapsed;
                    }
                    SourceKind::Svc(svc) => {
                        let time = media_time(self.now, 90_000);
                        for packet in svc.picture(source.count == 0, time) {
                            p.connection
                                .write_rtp(&mid, None, packet, self.now)
                                .unwrap();
                        }
                        source.next = self.now + Duration::from_millis(33) - elapsed;
                    }
                    SourceKind::Video(streams) => {
                        let time = media_time(self.now, 90_000);
                        let wanted = p.wanted.get(&p.cids[&source.cid]);
                        let is_wanted = |layer: &Option<Layer>| match wanted {
                            None => true,
                            Some(None) => false,
                            Some(Some(highest)) => {
                                layer.is_none_or(|layer| layer as u8 <= *highest as u8)
                            }
                        };
                        for (layer, size) in streams.iter().filter(|(layer, _)| is_wanted(layer)) {
                            let frames = moving_picture(*size);
                            let frame = frames[source.count as usize % frames.len()];
                            p.connection
                                .write_frame(&mid, *layer, frame, time, None, self.now)
                                .unwrap();
                        }
                        source.next = self.now + Duration::from_millis(33) - elapsed;
                    }
                }
                source.count += 1;
            }
        }
    }
}

/// RTP, but not RTCP.
fn is_rtp(bytes: &[u8]) -> bool {
    bytes.len() >= 12 && bytes[0] >> 6 == 2 && !(192..224).contains(&bytes[1])
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

fn layer_sizes() -> Vec<LayerSize> {
    let layers = [SpatialLayer::Low, SpatialLayer::Medium, SpatialLayer::High];
    let sizes = layers
        .into_iter()
        .zip(PictureSize::ALL.map(PictureSize::pixels));
    sizes
        .map(|(layer, (width, height))| LayerSize {
            layer,
            width: width.into(),
            height: height.into(),
        })
        .collect()
}

/// RFC 9628, section 4.2: a picture id, and the bits that say that a picture begins and ends.
fn vp9_key_picture(count: u64, now: Instant) -> OutgoingPacket {
    let id = (count as u16 & 0x7fff | 0x8000).to_be_bytes();
    OutgoingPacket {
        sequence: count,
        timestamp: media_time(now, 90_000),
        marker: true,
        payload: vec![0x8c, id[0], id[1], 0x82, 0x49, 0x83, 0x42].into(),
        audio_level: None,
    }
}

fn media_time(now: Instant, clock: u64) -> u32 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let start = START.get_or_init(|| now);
    (now.saturating_duration_since(*start).as_millis() as u64 * clock / 1000) as u32
}

fn size_of_layer(layer: Layer) -> PictureSize {
    match layer {
        Layer::Low => PictureSize::Low,
        Layer::Medium => PictureSize::Medium,
        Layer::High => PictureSize::High,
    }
}
