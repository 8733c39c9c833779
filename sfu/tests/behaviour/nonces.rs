//! Publishers that want the server to seal two packets for a subscriber under one nonce: with AES-GCM the key of all of
//! that subscriber's packets would follow from them (RFC 7714, section 10).
//!
//! A failure of the last test names its seed; `SEED=… cargo test -p sfu --test behaviour nonces` repeats it.

use std::{collections::BTreeMap, time::Duration};

use crate::attacker::{Attacker, EAR, EYE, LEVEL, MID, PICTURE, Section, VOICE};
use crate::rig::{Nonces, Rig};
use protocol::{ParticipantSid, RoomSid, TrackSid};
use rand::{Rng as _, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use sfu::{
    AudioFeatures, MediaKind, MemberCommand, PublishedTrack, RelayCommand, SpatialLayer,
    SubscriptionCommand, TrackCodec, TrackCommand, TrackSetting,
    internals::{rtcp::ReportBlock, rtp::SeqNo},
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

const OPUS: u8 = 111;
const VIDEO: u8 = 96;
const RTX: u8 = 97;

/// A payload that is longer than any that is kept.
const TOO_LONG: usize = 1600;

/// The offer of a client that does not know RTX: its repairs have the numbers of what they repair.
fn without_rtx(sdp: String) -> String {
    let lines = sdp.lines().filter(|line| !line.contains(":97 "));
    let lines = lines.map(|line| match line.strip_suffix(" 96 97") {
        Some(line) => format!("{line} 96\r\n"),
        None => format!("{line}\r\n"),
    });
    lines.collect()
}

fn join(
    rig: &mut Rig,
    number: u8,
    sections: &[Section],
    change: impl Fn(String) -> String,
) -> Attacker {
    Attacker::join_as(rig, number, sections, change).connected(rig)
}

/// A publisher with bad intentions, and somebody who receives from it.
struct Stage {
    rig: Rig,
    mallory: Attacker,
    alice: Attacker,
    tracks: [TrackSid; 2],
}

impl Stage {
    fn new(seed: u64) -> Self {
        let mut rig = Rig::new(seed);
        rig.nonces = Some(Nonces::default());
        let mut mallory = join(&mut rig, 1, &[VOICE, PICTURE], |sdp| sdp);
        let voice = mallory.publish(&mut rig, MediaKind::Audio, "voice");
        let picture = mallory.publish(&mut rig, MediaKind::Video, "picture");
        assert!(mallory.offer(&mut rig, &[VOICE, PICTURE], |sdp| sdp));
        let mut alice = join(&mut rig, 2, &[EAR, EYE], without_rtx);
        for track in [voice, picture] {
            alice.subscribe(&mut rig, track);
        }
        assert!(alice.offer(&mut rig, &[EAR, EYE], without_rtx));
        Self {
            rig,
            mallory,
            alice,
            tracks: [voice, picture],
        }
    }

    fn voice(&self, ssrc: u32, index: u64, content: &[u8]) -> Vec<u8> {
        let extensions: [(u8, &[u8]); 2] = [(MID, b"0"), (LEVEL, &[0x90])];
        self.mallory.rtp((ssrc, index), OPUS, &extensions, content)
    }

    /// A key picture of VP8.
    fn picture(&self, ssrc: u32, index: u64, content: &[u8]) -> Vec<u8> {
        let payload = [&[0x10, 0], content].concat();
        self.mallory
            .rtp((ssrc, index), VIDEO, &[(MID, b"1")], &payload)
    }

    fn retransmission(&self, ssrc: u32, (index, original): (u64, u16), content: &[u8]) -> Vec<u8> {
        let payload = [&original.to_be_bytes()[..], &[0x10, 0], content].concat();
        self.mallory
            .rtp((ssrc, index), RTX, &[(MID, b"1")], &payload)
    }

    fn send(&mut self, datagrams: &[Vec<u8>]) {
        self.rig.inject_batch(self.mallory.address, datagrams);
        self.alice.step(&mut self.rig);
    }

    /// Streams that nobody knows, until what was known of the others' replays is forgotten.
    fn flood(&mut self) {
        for ssrc in 0..256 {
            let stranger = self
                .mallory
                .rtp((100_000 + ssrc, 1), OPUS, &[(MID, b"9")], b"x");
            self.rig.inject(self.mallory.address, &stranger);
        }
    }

    /// All that alice got of a stream, by number: what she asks for again.
    fn ask_for_all(&mut self) {
        let mut streams: BTreeMap<u32, Vec<SeqNo>> = BTreeMap::new();
        for (ssrc, index, _) in &self.alice.received {
            streams.entry(*ssrc).or_default().push(SeqNo(*index as u16));
        }
        for (ssrc, seqs) in streams {
            self.alice.rtcp(&mut self.rig, |writer| {
                writer.nack(1, ssrc, &seqs).unwrap();
            });
        }
        self.alice.step(&mut self.rig);
    }

    fn set(&mut self, track: TrackSid, disabled: bool) {
        let setting = TrackSetting {
            disabled,
            ..TrackSetting::default()
        };
        let peer = self.alice.sid;
        self.rig.command(SubscriptionCommand::SetSetting {
            peer,
            track,
            setting,
        });
    }

    fn broken(&self) -> &[String] {
        &self.rig.nonces.as_ref().unwrap().broken
    }

    fn count(&self) -> usize {
        self.rig.nonces.as_ref().unwrap().count(self.alice.address)
    }

    /// The attack is over: no nonce was used twice, and the streams go on.
    fn end(mut self) {
        assert_eq!(self.broken(), [""; 0]);
        let before = self.count();
        for index in 5000..5010 {
            let (voice, picture) = (
                self.voice(91, index, b"later"),
                self.picture(92, index, b"later"),
            );
            self.send(&[voice, picture]);
        }
        self.ask_for_all();
        assert_eq!(self.count(), before + 20);
        assert_eq!(self.broken(), [""; 0]);
    }
}

#[test]
fn two_streams_with_the_same_numbers_in_one_batch_do_not_share_a_nonce() {
    let mut stage = Stage::new(1);
    for index in 1000..1010 {
        let (voice, picture) = (
            stage.voice(77, index, b"before"),
            stage.picture(87, index, b"before"),
        );
        stage.send(&[voice, picture]);
    }
    assert_eq!(stage.count(), 20);
    for index in 1010..1020 {
        let batch = [
            stage.voice(77, index, b"one"),
            stage.voice(78, index, b"another"),
            stage.picture(87, index, b"one"),
            stage.picture(88, index, b"another"),
        ];
        stage.send(&batch);
    }
    stage.end();
}

#[test]
fn a_stream_that_returns_with_other_packets_under_the_same_numbers_gets_new_ones() {
    let mut stage = Stage::new(2);
    for index in 1000..1020 {
        let (voice, picture) = (
            stage.voice(77, index, &[1; 60]),
            stage.picture(87, index, &[1; 60]),
        );
        stage.send(&[voice, picture]);
    }
    assert_eq!(stage.count(), 40);
    stage.flood();
    let too_long = [
        stage.voice(78, 1, &[0; TOO_LONG]),
        stage.picture(88, 1, &[0; TOO_LONG]),
    ];
    stage.send(&too_long);
    for index in 1005..1015 {
        let (voice, picture) = (
            stage.voice(77, index, &[2; 60]),
            stage.picture(87, index, &[2; 60]),
        );
        stage.send(&[voice, picture]);
    }
    assert_eq!(stage.count(), 60, "heard, under new numbers");
    stage.end();
}

#[test]
fn retransmissions_into_a_stream_that_returned_do_not_bring_used_numbers_again() {
    let mut stage = Stage::new(3);
    let never_sent = [1001, 1021];
    for index in (1000..1030).filter(|index| !never_sent.contains(index)) {
        let picture = stage.picture(77, index, &[1; 60]);
        stage.send(&[picture]);
    }
    assert_eq!(stage.count(), 28);
    let too_long = stage.picture(78, 1, &[0; TOO_LONG]);
    stage.send(&[too_long]);
    for index in never_sent {
        let picture = stage.picture(77, index, &[2; 60]);
        stage.send(&[picture]);
    }
    for (i, original) in (1002..1020).enumerate() {
        let repair = stage.retransmission(79, (1 + i as u64, original), &[2; 60]);
        stage.send(&[repair]);
    }
    assert_eq!(stage.rig.shard.stats().recovered, 18, "it was taken");
    stage.end();
}

#[test]
fn a_repair_is_never_made_of_what_came_later_under_the_same_number() {
    let mut stage = Stage::new(4);
    for index in 1000..1020 {
        let (voice, picture) = (
            stage.voice(77, index, &[1; 60]),
            stage.picture(87, index, &[1; 60]),
        );
        stage.send(&[voice, picture]);
    }
    stage.ask_for_all();
    let repeated = stage.rig.nonces.as_ref().unwrap().repeated;
    assert_eq!(repeated, 40, "an honest repair is the same packet");
    // What comes while she wants nothing is kept, and not sent.
    for track in stage.tracks {
        stage.set(track, true);
    }
    stage.flood();
    let too_long = [
        stage.voice(78, 1, &[0; TOO_LONG]),
        stage.picture(88, 1, &[0; TOO_LONG]),
    ];
    stage.send(&too_long);
    for index in 1000..1020 {
        let (voice, picture) = (
            stage.voice(77, index, &[2; 60]),
            stage.picture(87, index, &[2; 60]),
        );
        stage.send(&[voice, picture]);
    }
    assert_eq!(stage.count(), 40);
    stage.rig.run(SECOND);
    stage.ask_for_all();
    assert_eq!(stage.count(), 40);
    for track in stage.tracks {
        stage.set(track, false);
    }
    stage.end();
}

/// What the publisher of the last test sends in.
#[derive(Clone, Copy, PartialEq)]
enum Codec {
    Vp8,
    /// With layers within the stream.
    Vp9,
}

impl Codec {
    /// The offer, with this codec for pictures.
    fn name(self, sdp: String) -> String {
        match self {
            Self::Vp8 => sdp,
            Self::Vp9 => sdp.replace("VP8/90000", "VP9/90000"),
        }
    }
}

struct Hostile {
    stage: Stage,
    rng: StdRng,
    codec: Codec,
    /// Next number of each stream.
    numbers: BTreeMap<u32, u64>,
    /// The streams in use: begun anew too often, they would not be taken.
    ssrcs: [u32; 2],
    /// Who receives by hand: with and without RTX, and in another room.
    others: Vec<Attacker>,
}

impl Hostile {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let codec = *[Codec::Vp8, Codec::Vp9].choose(&mut rng).unwrap();
        let mut rig = Rig::new(seed);
        rig.nonces = Some(Nonces::default());
        rig.vp9 = true;
        let named = move |sdp: String| codec.name(sdp);
        let plain = move |sdp: String| named(without_rtx(sdp));
        // Somebody whose network is slow, so that packets wait for it.
        let slow = rig.join();
        rig.narrow(slow, 60_000, SECOND / 4);
        let mut mallory = join(&mut rig, 1, &[VOICE, PICTURE], named);
        let tracks = [
            mallory.publish(&mut rig, MediaKind::Audio, "voice"),
            mallory.publish(&mut rig, MediaKind::Video, "picture"),
        ];
        assert!(mallory.offer(&mut rig, &[VOICE, PICTURE], named));
        let mut alice = join(&mut rig, 2, &[EAR, EYE], plain);
        let mut bob = join(&mut rig, 3, &[EAR, EYE], named);
        for listener in [&mut alice, &mut bob] {
            for track in tracks {
                listener.subscribe(&mut rig, track);
            }
        }
        assert!(alice.offer(&mut rig, &[EAR, EYE], plain));
        assert!(bob.offer(&mut rig, &[EAR, EYE], named));
        // The same tracks in another room of this shard.
        let there = RoomSid::random(&mut rng);
        let peer = ParticipantSid::random(&mut rng);
        rig.command(MemberCommand::AddRelayed {
            room: there,
            peer,
            identity: "mallory".into(),
            principal: "mallory".into(),
            source: 0,
        });
        let here = std::mem::replace(&mut rig.room, there);
        let mut carol = join(&mut rig, 4, &[EAR, EYE], plain);
        rig.room = here;
        for (track, kind, mime) in [
            (tracks[0], MediaKind::Audio, "audio/opus"),
            (
                tracks[1],
                MediaKind::Video,
                match codec {
                    Codec::Vp8 => "video/VP8",
                    Codec::Vp9 => "video/VP9",
                },
            ),
        ] {
            let relayed = TrackSid::random("", &mut rng);
            rig.command(TrackCommand::PublishRelayed {
                peer,
                track: PublishedTrack {
                    sid: relayed,
                    kind,
                    cids: Vec::new(),
                    stream: "camera".into(),
                    muted: false,
                    audio: AudioFeatures::default(),
                    mime_type: String::new(),
                    backup_of: None,
                    layers: Vec::new(),
                },
                codec: TrackCodec {
                    mime_type: mime.into(),
                    ..TrackCodec::default()
                },
            });
            rig.command(RelayCommand::Start {
                peer: mallory.sid,
                track,
                relayed,
                shard: 0,
            });
            carol.subscribe(&mut rig, relayed);
        }
        assert!(carol.offer(&mut rig, &[EAR, EYE], plain));
        let stage = Stage {
            rig,
            mallory,
            alice,
            tracks,
        };
        Self {
            stage,
            rng,
            codec,
            numbers: BTreeMap::new(),
            ssrcs: [77, 87],
            others: vec![bob, carol],
        }
    }

    /// A number near the newest of the stream: mostly the next, at times one that was skipped or used.
    fn number(&mut self, ssrc: u32) -> u64 {
        let next = self.numbers.entry(ssrc).or_insert(1000);
        match self.rng.random_range(0..10) {
            0..5 => {
                *next += 1;
                *next - 1
            }
            5 => {
                *next += self.rng.random_range(2..6);
                *next - 1
            }
            6 if self.rng.random_bool(0.05) => {
                *next += self.rng.random_range(100..1200);
                *next
            }
            _ => next.saturating_sub(self.rng.random_range(1..40)),
        }
    }

    /// Mostly the one in use.
    fn ssrc(&mut self, section: usize, among: [u32; 3]) -> u32 {
        if self.rng.random_bool(0.02) {
            self.ssrcs[section] = *among.choose(&mut self.rng).unwrap();
        }
        self.ssrcs[section]
    }

    fn content(&mut self) -> Vec<u8> {
        let len = match self.rng.random_range(0..12) {
            0 => TOO_LONG,
            1..4 => 900,
            _ => self.rng.random_range(3..60),
        };
        (0..len).map(|_| self.rng.random()).collect()
    }

    fn descriptor(&mut self) -> Vec<u8> {
        let id = self.rng.random::<u16>() | 0x8000;
        let id = match self.rng.random_bool(0.7) {
            true => 0x8000 | self.numbers.values().sum::<u64>() as u16 & 0x3f,
            false => id,
        };
        let [high, low] = id.to_be_bytes();
        match self.codec {
            // With picture id and TL0PICIDX; a key picture or none.
            Codec::Vp8 => vec![0x90, 0xc0, high, low, low, self.rng.random::<u8>() & 1],
            // With picture id and layers, of which the subscriber gets some.
            Codec::Vp9 => {
                let flags = 0xa0 | self.rng.random::<u8>() & 0x4c;
                let layer = self.rng.random_range(0..3u8) << 1 | self.rng.random::<u8>() & 0x11;
                let mut descriptor = vec![flags, high, low, layer, low];
                if self.rng.random_bool(0.2) {
                    // Three spatial layers, no sizes, no groups of pictures.
                    descriptor[0] |= 2;
                    descriptor.push(0x40);
                }
                descriptor
            }
        }
    }

    /// One packet of the publisher.
    fn packet(&mut self) -> Vec<u8> {
        let mallory = |hostile: &Self, id, payload_type, mid: &[u8], payload: &[u8]| {
            let extensions = [(MID, mid), (LEVEL, &[0x90][..])];
            hostile
                .stage
                .mallory
                .rtp(id, payload_type, &extensions, payload)
        };
        let content = self.content();
        match self.rng.random_range(0..10) {
            0..4 => {
                let ssrc = self.ssrc(0, [77, 78, 79]);
                let index = self.number(ssrc);
                mallory(self, (ssrc, index), OPUS, b"0", &content)
            }
            4..8 => {
                let ssrc = self.ssrc(1, [87, 88, 89]);
                let index = self.number(ssrc);
                let payload = [self.descriptor(), content].concat();
                mallory(self, (ssrc, index), VIDEO, b"1", &payload)
            }
            _ => {
                let of = *[87, 88, 89].choose(&mut self.rng).unwrap();
                let newest = *self.numbers.entry(of).or_insert(1000);
                let original = newest.saturating_sub(self.rng.random_range(0..40)) as u16;
                let ssrc = 97 + self.rng.random_range(0..2u32);
                let next = self.numbers.entry(ssrc).or_insert(1);
                *next += 1;
                let index = *next;
                let payload = [original.to_be_bytes().to_vec(), self.descriptor(), content];
                mallory(self, (ssrc, index), RTX, b"1", &payload.concat())
            }
        }
    }

    /// What relays have for each other.
    fn carry(&mut self) {
        let rig = &mut self.stage.rig;
        let mut packets = Vec::new();
        rig.shard
            .drain_relayed(|_, packet| packets.push(packet.to_vec()));
        let lost = self.rng.random_bool(0.02);
        for packet in packets.iter().filter(|_| !lost) {
            rig.relayed(packet);
        }
        while let Some((_, request)) = rig.shard.poll_request() {
            rig.request(request);
        }
    }

    fn act(&mut self) {
        match self.rng.random_range(0..20) {
            0..12 => {
                let count = *[1, 1, 2, 3, 8].choose(&mut self.rng).unwrap();
                let batch: Vec<_> = (0..count).map(|_| self.packet()).collect();
                let from = self.stage.mallory.address;
                self.stage.rig.inject_batch(from, &batch);
            }
            12 if self.rng.random_bool(0.2) => self.stage.flood(),
            13 => {
                let disabled = self.rng.random_bool(0.3);
                let max_layer = *[SpatialLayer::Low, SpatialLayer::Medium, SpatialLayer::High]
                    .choose(&mut self.rng)
                    .unwrap();
                let track = *self.stage.tracks.choose(&mut self.rng).unwrap();
                for peer in [self.stage.alice.sid, self.others[0].sid] {
                    self.stage.rig.command(SubscriptionCommand::SetSetting {
                        peer,
                        track,
                        setting: TrackSetting {
                            disabled,
                            max_layer,
                            ..TrackSetting::default()
                        },
                    });
                }
            }
            14 if self.rng.random_bool(0.2) => {
                let (peer, muted) = (self.stage.mallory.sid, self.rng.random_bool(0.3));
                let track = *self.stage.tracks.choose(&mut self.rng).unwrap();
                self.stage
                    .rig
                    .command(TrackCommand::SetMuted { peer, track, muted });
            }
            15..18 => self.ask_again(),
            18 if self.rng.random_bool(0.2) => self.offer_again(),
            _ => {
                let rig = &mut self.stage.rig;
                rig.run(self.rng.random_range(1..40u32) * MS);
                self.stage.alice.step(rig);
                self.others.iter_mut().for_each(|other| other.step(rig));
            }
        }
        self.carry();
    }

    /// Subscribers negotiate anew what they get, and may get it under other SSRCs.
    fn offer_again(&mut self) {
        let codec = self.codec;
        let rig = &mut self.stage.rig;
        let [bob, carol] = self.others.as_mut_slice() else {
            unreachable!()
        };
        let named = |sdp| codec.name(sdp);
        assert!(bob.offer(rig, &[EAR, EYE], named));
        for listener in [&mut self.stage.alice, carol] {
            assert!(listener.offer(rig, &[EAR, EYE], |sdp| named(without_rtx(sdp))));
        }
    }

    /// Subscribers miss what they have got, lately or not; some say that they know the stream.
    fn ask_again(&mut self) {
        let Self {
            stage, rng, others, ..
        } = self;
        for listener in std::iter::once(&mut stage.alice).chain(others) {
            listener.step(&mut stage.rig);
            let newest = listener.received.iter().rev();
            let lately: Vec<_> = newest
                .take(120)
                .filter(|_| rng.random_bool(0.1))
                .map(|(ssrc, index, _)| (*ssrc, SeqNo(*index as u16)))
                .collect();
            for (ssrc, seq) in lately {
                let known = rng.random_bool(0.02);
                listener.rtcp(&mut stage.rig, |writer| {
                    writer.nack(1, ssrc, &[seq]).unwrap();
                    if known {
                        let report = ReportBlock {
                            ssrc,
                            ..ReportBlock::default()
                        };
                        writer.receiver_report(1, &[report]).unwrap();
                    }
                });
            }
        }
    }
}

#[test]
fn whatever_a_publisher_sends_no_nonce_is_used_twice() {
    let chosen: Option<u64> = std::env::var("SEED").ok().and_then(|s| s.parse().ok());
    let seeds = chosen.map_or(0..16, |seed| seed..seed + 1);
    let (mut repeated, mut retransmitted, mut counts) = (0, 0, [0; 4]);
    for seed in seeds {
        let mut hostile = Hostile::new(seed);
        (0..1200).for_each(|_| hostile.act());
        let stats = hostile.stage.rig.shard.stats();
        assert_eq!(stats.panics, 0, "SEED={seed}");
        let nonces = hostile.stage.rig.nonces.as_ref().unwrap();
        assert_eq!(nonces.broken, [""; 0], "SEED={seed}");
        let slow = hostile.stage.rig.participants[0].connection.local();
        let listeners = std::iter::once(&hostile.stage.alice).chain(&hostile.others);
        let listeners = std::iter::once(slow).chain(listeners.map(|other| other.address));
        for (count, listener) in counts.iter_mut().zip(listeners) {
            *count += nonces.count(listener);
        }
        repeated += nonces.repeated;
        retransmitted += stats.retransmitted;
    }
    // All ways out were taken.
    println!("{counts:?} sealed, {repeated} repeated, {retransmitted} repaired");
    let is_enough =
        counts.iter().all(|count| *count > 1000) && repeated > 200 && retransmitted > 500;
    assert!(chosen.is_some() || is_enough);
}
