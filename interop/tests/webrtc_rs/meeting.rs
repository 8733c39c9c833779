//! A meeting of a participant on str0m, the host, with a guest on webrtc-rs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::rig::Rig;
use client::{
    fixtures::{PictureSize, moving_picture, tone},
    media::MediaKind as ClientKind,
};
use interop::webrtc_rs::{
    Config, Kind, Packet, PeerConnection, SendTrack,
    rtp::{
        codec::vp8::{Vp8Packet, Vp8Payloader},
        packetizer::{Depacketizer, Payloader},
    },
};
use protocol::{ParticipantSid, TrackSid};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sfu::{
    AudioFeatures, DescriptionCommand, DisconnectReason, Event, LayerSize, MediaKind,
    MediaSections, MemberCommand, PeerPermissions, PublishedTrack, SpatialLayer,
    SubscriptionCommand, TrackCommand, TrackSetting,
};

pub const SECOND: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(1);
const ADDRESS: &str = "203.0.113.7:40000";
const SECOND_ADDRESS: &str = "203.0.113.7:40001";

/// Media that the guest sends.
struct Source {
    kind: Kind,
    track: SendTrack,
    size: PictureSize,
    payloader: Vp8Payloader,
    next: Instant,
    count: usize,
    timestamp: u32,
}

/// A participant on webrtc-rs.
pub struct Guest {
    pub sid: ParticipantSid,
    /// With which it publishes; and receives, where there is no other.
    pub connection: PeerConnection,
    pub subscriber: Option<PeerConnection>,
    /// Tracks that it receives, by section.
    pub tracks: BTreeMap<String, TrackSid>,
    pub packets: BTreeMap<String, Vec<Packet>>,
    sources: Vec<Source>,
    pub connected: usize,
    pub disconnected: Option<DisconnectReason>,
    /// What webrtc-rs complained of.
    pub failures: Vec<String>,
    /// The last offer and answer of its (first) connection.
    pub offer: String,
    pub answer: String,
    /// Our last offer to its second one.
    pub offered: String,
    offer_id: u32,
    /// Its offers say this instead of `a=setup:actpass`.
    pub setup: Option<&'static str>,
    next_ssrc: u32,
}

pub struct Meeting {
    pub rig: Rig,
    pub guest: Guest,
    /// What the participant on str0m publishes.
    pub voice: TrackSid,
    pub picture: TrackSid,
    /// Share of the guest's datagrams that get lost, both ways.
    pub loss: f64,
    /// So many of the guest's next DTLS datagrams are lost; for ours see [`Rig::lost_dtls`].
    pub lost_dtls: usize,
    rng: StdRng,
    events_seen: usize,
}

impl Meeting {
    /// Somebody on str0m publishes a voice and a picture; then somebody on webrtc-rs joins.
    pub fn new(config: &Config, two: bool) -> Self {
        let mut rig = Rig::new(1);
        rig.packets = true;
        let host = rig.join();
        let voice = rig.publish(host, ClientKind::Audio, &[]);
        let picture = rig.publish(host, ClientKind::Video, &[]);
        rig.run(SECOND);
        let mut rng = StdRng::seed_from_u64(7);
        let connect = |address: &str| {
            let address: SocketAddr = address.parse().unwrap();
            PeerConnection::new(config, address, rig.now).unwrap()
        };
        let guest = Guest {
            sid: ParticipantSid::random(&mut rng),
            connection: connect(ADDRESS),
            subscriber: two.then(|| connect(SECOND_ADDRESS)),
            tracks: BTreeMap::new(),
            packets: BTreeMap::new(),
            sources: Vec::new(),
            connected: 0,
            disconnected: None,
            failures: Vec::new(),
            offer: String::new(),
            answer: String::new(),
            offered: String::new(),
            offer_id: 0,
            setup: None,
            next_ssrc: 1000,
        };
        for address in [ADDRESS, SECOND_ADDRESS] {
            rig.strangers.insert(address.parse().unwrap(), Vec::new());
        }
        let events_seen = rig.events.len();
        let peer = guest.sid;
        rig.command(MemberCommand::Add {
            room: rig.room,
            peer,
            principal: "guest".into(),
            identity: "guest".into(),
            permissions: PeerPermissions {
                can_publish_data: true,
                hidden: false,
                agent: false,
                hears_all: false,
            },
        });
        if two {
            rig.command(MemberCommand::AddSecondConnection {
                peer,
                primary: true,
            });
        }
        let mut meeting = Self {
            rig,
            guest,
            voice,
            picture,
            loss: 0.0,
            lost_dtls: 0,
            rng,
            events_seen,
        };
        for track in [voice, picture] {
            meeting.subscribe(track);
        }
        if two {
            meeting.rig.command(DescriptionCommand::OfferSubscriber {
                peer,
                restart_ice: false,
            });
        }
        meeting
    }

    fn subscribe(&mut self, track: TrackSid) {
        self.rig.command(SubscriptionCommand::Subscribe {
            peer: self.guest.sid,
            track,
            setting: TrackSetting::default(),
        });
    }

    /// The guest publishes one more track, from its next offer on.
    pub fn publish(&mut self, kind: Kind) -> TrackSid {
        let (sid, cid) = self.announce(kind, Vec::new());
        let guest = &mut self.guest;
        let track = guest.connection.add_track(kind, &cid, guest.next_ssrc);
        guest.next_ssrc += 10;
        self.play_from_now(kind, track.unwrap(), PictureSize::Medium);
        sid
    }

    /// The guest publishes one more picture, in three layers.
    pub fn publish_simulcast(&mut self) -> TrackSid {
        let layers = [SpatialLayer::Low, SpatialLayer::Medium, SpatialLayer::High];
        let sizes = layers.into_iter().zip(PictureSize::ALL);
        let sizes = sizes.map(|(layer, size)| LayerSize {
            layer,
            width: size.pixels().0.into(),
            height: size.pixels().1.into(),
        });
        let (sid, cid) = self.announce(Kind::Video, sizes.collect());
        let guest = &mut self.guest;
        let rids = ["q", "h", "f"];
        let tracks = guest
            .connection
            .add_simulcast_track(&cid, &rids, guest.next_ssrc);
        guest.next_ssrc += 10;
        for (track, size) in tracks.unwrap().into_iter().zip(PictureSize::ALL) {
            self.play_from_now(Kind::Video, track, size);
        }
        sid
    }

    fn play_from_now(&mut self, kind: Kind, track: SendTrack, size: PictureSize) {
        let mut payloader = Vp8Payloader::default();
        payloader.enable_picture_id = true;
        self.guest.sources.push(Source {
            kind,
            track,
            size,
            payloader,
            next: self.rig.now,
            count: 0,
            timestamp: 0,
        });
    }

    fn announce(&mut self, kind: Kind, layers: Vec<LayerSize>) -> (TrackSid, String) {
        let sid = TrackSid::random("", &mut self.rng);
        let cid = format!("cid-{}", sid.as_str());
        let track = PublishedTrack {
            sid,
            kind: match kind {
                Kind::Audio => MediaKind::Audio,
                Kind::Video => MediaKind::Video,
            },
            cids: vec![cid.clone()],
            stream: "camera".into(),
            muted: false,
            audio: AudioFeatures::default(),
            mime_type: String::new(),
            backup_of: None,
            layers,
        };
        let peer = self.guest.sid;
        self.rig.command(TrackCommand::Publish { peer, track });
        (sid, cid)
    }

    fn add_sections(&mut self, missing: MediaSections) {
        let kinds = [(Kind::Audio, missing.audios), (Kind::Video, missing.videos)];
        for (kind, count) in kinds {
            for _ in 0..count {
                self.guest.connection.add_receive_section(kind).unwrap();
            }
        }
    }

    pub fn offer(&mut self, restart_ice: bool) {
        let guest = &mut self.guest;
        let mut sdp = guest
            .connection
            .create_offer(restart_ice, self.rig.now)
            .unwrap();
        if let Some(setup) = guest.setup {
            assert!(sdp.contains("a=setup:actpass"));
            sdp = sdp.replace("a=setup:actpass", setup);
        }
        guest.offer_id += 1;
        let (peer, id) = (guest.sid, guest.offer_id);
        guest.offer.clone_from(&sdp);
        self.rig
            .command(DescriptionCommand::offer(peer, id, &sdp).expect("an offer that we can read"));
        self.react();
    }

    /// The part of signalling.
    fn react(&mut self) {
        while let Some(event) = self.rig.events.get(self.events_seen).cloned() {
            self.events_seen += 1;
            let (sid, now) = (self.guest.sid, self.rig.now);
            match event {
                Event::Answer {
                    peer,
                    sdp,
                    mid_to_track,
                    missing,
                    ..
                } if peer == sid => {
                    self.guest.connection.accept_answer(&sdp, now).unwrap();
                    self.guest.answer = sdp;
                    if self.guest.subscriber.is_none() {
                        self.guest.tracks = mid_to_track.into_iter().collect();
                    }
                    if missing.audios + missing.videos > 0 {
                        self.add_sections(missing);
                        self.offer(false);
                    }
                }
                Event::Offer {
                    peer,
                    id,
                    sdp,
                    mid_to_track,
                } if peer == sid => {
                    self.guest.tracks = mid_to_track.into_iter().collect();
                    let subscriber = self.guest.subscriber.as_mut().unwrap();
                    let answer = subscriber.accept_offer(&sdp, now).unwrap();
                    self.guest.offered = sdp;
                    let answer = DescriptionCommand::answer(peer, id, &answer);
                    self.rig
                        .command(answer.expect("an answer that we can read"));
                }
                Event::NegotiationNeeded { peer, missing } if peer == sid => {
                    self.add_sections(missing);
                    self.offer(false);
                }
                Event::NegotiationFailed { peer, reason } if peer == sid => {
                    panic!("negotiation failed: {reason}\n{}", self.guest.offer);
                }
                Event::TrackBound { peer, track, .. } if peer != sid => self.subscribe(track),
                Event::Connected { peer } if peer == sid => self.guest.connected += 1,
                Event::Disconnected { peer, reason } if peer == sid => {
                    self.guest.disconnected = Some(reason);
                }
                _ => {}
            }
        }
    }

    pub fn run(&mut self, duration: Duration) {
        let end = self.rig.now + duration;
        while self.rig.now < end {
            self.rig.run(STEP);
            self.react();
            self.play();
            self.exchange();
            self.react();
        }
    }

    /// Datagrams and timers of the guest's connections.
    fn exchange(&mut self) {
        let now = self.rig.now;
        let mut sent = Vec::new();
        let mut failures = Vec::new();
        let guest = &mut self.guest;
        for connection in std::iter::once(&mut guest.connection).chain(&mut guest.subscriber) {
            let local = connection.local();
            let arrived = std::mem::take(self.rig.strangers.get_mut(&local).unwrap());
            for bytes in arrived {
                if !self.rng.random_bool(self.loss) {
                    let server = self.rig.server();
                    let handled = connection.handle_datagram(server, &bytes, now);
                    failures.extend(handled.err());
                }
            }
            while connection.poll_timeout().is_some_and(|at| at <= now) {
                failures.extend(connection.handle_timeout(now).err());
                if !failures.is_empty() {
                    break;
                }
            }
            connection.poll();
            while let Some((to, bytes)) = connection.poll_transmit() {
                assert_eq!(to, self.rig.server());
                sent.push((local, bytes));
            }
            for (mid, packet) in connection.received.drain(..) {
                guest.packets.entry(mid).or_default().push(packet);
            }
        }
        let failures = failures.into_iter().map(|failure| failure.to_string());
        guest.failures.extend(failures);
        for (from, bytes) in sent {
            if self.lost_dtls > 0 && (20..64).contains(&bytes[0]) {
                self.lost_dtls -= 1;
            } else if !self.rng.random_bool(self.loss) {
                self.rig.inject(from, &bytes);
            }
        }
    }

    /// 50 audio frames and 30 pictures a second.
    fn play(&mut self) {
        let now = self.rig.now;
        let guest = &mut self.guest;
        let connection = &mut guest.connection;
        if !connection.is_connected() {
            return;
        }
        for source in &mut guest.sources {
            if source.next > now {
                continue;
            }
            let (frames, ticks, wait) = match source.kind {
                Kind::Audio => (tone(), 960, Duration::from_millis(20)),
                Kind::Video => (
                    moving_picture(source.size),
                    3000,
                    Duration::from_micros(33_333),
                ),
            };
            let frame = frames[source.count % frames.len()];
            let payloads = match source.kind {
                Kind::Audio => vec![frame.to_vec().into()],
                Kind::Video => source
                    .payloader
                    .payload(1100, &frame.to_vec().into())
                    .unwrap(),
            };
            let last = payloads.len() - 1;
            for (at, payload) in payloads.iter().enumerate() {
                let marker = source.kind == Kind::Video && at == last;
                connection
                    .write(&mut source.track, source.timestamp, marker, payload, now)
                    .unwrap();
            }
            source.timestamp = source.timestamp.wrapping_add(ticks);
            source.count += 1;
            source.next = now + wait;
        }
    }

    /// What the guest got of a track.
    pub fn got(&self, track: TrackSid) -> Vec<Piece> {
        let mid = self.guest.tracks.iter().find(|(_, sid)| **sid == track);
        let packets = mid.and_then(|(mid, _)| self.guest.packets.get(mid));
        let packets = packets.into_iter().flatten();
        packets
            .map(|packet| Piece {
                sequence: packet.header.sequence_number,
                timestamp: packet.header.timestamp,
                marker: packet.header.marker,
                payload: packet.payload.to_vec(),
            })
            .collect()
    }

    /// What the participant on str0m got of a track.
    pub fn host_got(&self, track: TrackSid) -> Vec<Piece> {
        let host = &self.rig.participants[0];
        let mid = host.tracks.iter().find(|(_, sid)| **sid == track);
        let Some((mid, _)) = mid else {
            return Vec::new();
        };
        let packets = host.packets.iter().filter(|(at, _)| at == mid);
        packets
            .map(|(_, packet)| Piece {
                sequence: packet.sequence as u16,
                timestamp: packet.timestamp,
                marker: packet.marker,
                payload: packet.payload.to_vec(),
            })
            .collect()
    }

    /// Everybody got what the others sent, byte for byte, at least as much as in so many seconds.
    pub fn assert_all_have_all(&self, own: TrackSid, camera: TrackSid, seconds: usize) {
        let sides = [
            ("guest", self.got(self.voice), self.got(self.picture)),
            ("host", self.host_got(own), self.host_got(camera)),
        ];
        for (who, voice, picture) in sides {
            let (heard, silent) = heard(&voice);
            assert!(
                heard >= seconds * 45 && silent == 0,
                "{who}: {heard} voice packets, {silent} lost"
            );
            let (seen, broken) = seen(&picture);
            assert!(
                seen >= seconds * 27 && broken == 0,
                "{who}: {seen} pictures, {broken} broken"
            );
        }
    }
}

/// The same of a packet, whoever received it.
#[derive(Debug, Clone)]
pub struct Piece {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
}

/// In the order in which they were sent; a second copy is no harm.
fn in_order(packets: &[Piece]) -> Vec<(u64, &Piece)> {
    let mut highest = None;
    let mut out = BTreeMap::new();
    for packet in packets {
        let at = match highest {
            None => 1 << 20 | u64::from(packet.sequence),
            Some(highest) => {
                let ahead = packet.sequence.wrapping_sub(highest as u16) as i16;
                (highest as i64 + i64::from(ahead)) as u64
            }
        };
        highest = highest.max(Some(at));
        out.insert(at, packet);
    }
    out.into_iter().collect()
}

fn lost(packets: &[(u64, &Piece)]) -> usize {
    match (packets.first(), packets.last()) {
        (Some((first, _)), Some((last, _))) => (last - first + 1) as usize - packets.len(),
        _ => 0,
    }
}

/// Frames of the tone, and how many are missing. Panics at one that nobody sent.
pub fn heard(packets: &[Piece]) -> (usize, usize) {
    let sent: BTreeSet<_> = tone().into_iter().collect();
    let packets = in_order(packets);
    for (_, packet) in &packets {
        assert!(
            sent.contains(&packet.payload[..]),
            "a voice packet is not as it was"
        );
    }
    (packets.len(), lost(&packets))
}

/// Whole pictures, and how many packets are missing. Panics at a whole picture that nobody sent.
pub fn seen(packets: &[Piece]) -> (usize, usize) {
    let sent = PictureSize::ALL.into_iter().flat_map(moving_picture);
    let sent: BTreeSet<_> = sent.collect();
    let packets = in_order(packets);
    let mut whole = 0;
    for picture in packets.chunk_by(|(_, a), (_, b)| a.timestamp == b.timestamp) {
        let mut bytes = Vec::new();
        let mut begins = false;
        for (at, (_, packet)) in picture.iter().enumerate() {
            let mut vp8 = Vp8Packet::default();
            let part = vp8.depacketize(&packet.payload.clone().into()).unwrap();
            begins |= at == 0 && vp8.s == 1 && vp8.pid == 0;
            bytes.extend(part);
        }
        let ends = picture.last().is_some_and(|(_, packet)| packet.marker);
        if begins && ends && lost(picture) == 0 {
            assert!(sent.contains(&bytes[..]), "a picture is not as it was");
            whole += 1;
        }
    }
    (whole, lost(&packets))
}
