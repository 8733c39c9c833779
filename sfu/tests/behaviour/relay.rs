//! Somebody is in two rooms, on two shards: what the other room hears and sees, and that neither disturbs the other.

use std::time::Duration;

use crate::rig::Rig;
use client::media::{Layer, MediaKind};
use protocol::{DataTrackSid, ParticipantSid, TrackSid};
use rand::{SeedableRng, rngs::StdRng};
use sfu::{
    AudioFeatures, Command, DataCommand, DataTrackHandle, Event, LayerSize, MemberCommand,
    PublishedTrack, RelayCommand, RelayRequest, RoomCommand, SpatialLayer, SubscriptionCommand,
    TrackCodec, TrackCommand, TrackSetting, stats::DropReason,
};

const SECOND: Duration = Duration::from_secs(1);

/// Time between two looks of one shard at what the other has for it.
const STEP: Duration = Duration::from_millis(1);

/// The room somebody joined, and another one that they are in too.
struct Rooms {
    here: Rig,
    there: Rig,
    rng: StdRng,
    /// Packets and requests from shard to shard.
    packets: usize,
    requests: Vec<RelayRequest>,
    /// Of the packets, one in so many is lost with the two after it.
    loss: Option<usize>,
}

impl Rooms {
    fn new(seed: u64) -> Self {
        Self::with(seed, 0)
    }

    /// Of `here`, so many voices are forwarded.
    fn with(seed: u64, audio_top_n: usize) -> Self {
        let here = Rig::with(sfu::Config {
            audio_top_n,
            ..crate::rig::config(seed, crate::rig::server())
        });
        let mut there = Rig::with(sfu::Config {
            index: 1,
            ..crate::rig::config(seed + 1000, crate::rig::server())
        });
        there.now = here.now;
        Self {
            here,
            there,
            rng: StdRng::seed_from_u64(seed),
            packets: 0,
            requests: Vec::new(),
            loss: None,
        }
    }

    /// A participant of the first room is in the second one too. Returns its sid there.
    fn forward(&mut self) -> ParticipantSid {
        let peer = ParticipantSid::random(&mut self.rng);
        self.there.command(MemberCommand::AddRelayed {
            room: self.there.room,
            peer,
            identity: "somebody".into(),
            principal: "somebody".into(),
            source: 0,
        });
        peer
    }

    /// And so is a track of it, for everybody who is there. Returns its sid there.
    fn relay(&mut self, who: usize, track: TrackSid, peer: ParticipantSid) -> TrackSid {
        let codec = self.here.events.iter().find_map(|event| match event {
            Event::TrackBound {
                track: bound,
                codec,
                ..
            } if *bound == track => Some(codec.clone()),
            _ => None,
        });
        let codec: TrackCodec = codec.expect("bound");
        let relayed = TrackSid::random("", &mut self.rng);
        let sizes = [(320, 180), (640, 360), (1280, 720)];
        let layers = [SpatialLayer::Low, SpatialLayer::Medium, SpatialLayer::High]
            .into_iter()
            .zip(sizes)
            .map(|(layer, (width, height))| LayerSize {
                layer,
                width,
                height,
            });
        let track_there = PublishedTrack {
            sid: relayed,
            kind: match codec.mime_type.starts_with("audio") {
                true => sfu::MediaKind::Audio,
                false => sfu::MediaKind::Video,
            },
            cids: Vec::new(),
            stream: "camera".into(),
            muted: false,
            audio: AudioFeatures::default(),
            mime_type: String::new(),
            backup_of: None,
            layers: layers.collect(),
        };
        self.there.command(TrackCommand::PublishRelayed {
            peer,
            track: track_there,
            codec,
        });
        let publisher = self.here.participants[who].sid;
        self.here.command(RelayCommand::Start {
            peer: publisher,
            track,
            relayed,
            shard: 1,
        });
        for listener in 0..self.there.participants.len() {
            self.watch(listener, relayed, TrackSetting::default());
        }
        relayed
    }

    /// Somebody in the other room subscribes.
    fn watch(&mut self, listener: usize, track: TrackSid, setting: TrackSetting) {
        let peer = self.there.participants[listener].sid;
        self.there.command(SubscriptionCommand::Subscribe {
            peer,
            track,
            setting,
        });
    }

    fn wish(&mut self, listener: usize, track: TrackSid, setting: TrackSetting) {
        let peer = self.there.participants[listener].sid;
        self.there.command(SubscriptionCommand::SetSetting {
            peer,
            track,
            setting,
        });
    }

    fn run(&mut self, duration: Duration) {
        let end = self.here.now + duration;
        while self.here.now < end {
            self.here.run(STEP);
            self.there.run(STEP);
            self.carry();
        }
    }

    fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.here.now + limit;
        while self.here.now < end && !done(self) {
            self.run(5 * STEP);
        }
        done(self)
    }

    /// What the shell does.
    fn carry(&mut self) {
        let mut packets = Vec::new();
        self.here.shard.drain_relayed(|shard, packet| {
            assert_eq!(shard, 1);
            packets.push(packet.to_vec());
        });
        for packet in packets {
            self.packets += 1;
            if self.loss.is_none_or(|every| self.packets % every > 2) {
                self.there.relayed(&packet);
            }
        }
        self.there
            .shard
            .drain_relayed(|_, _| panic!("nothing goes back"));
        while let Some((shard, request)) = self.there.shard.poll_request() {
            assert_eq!(shard, 0);
            self.requests.push(request.clone());
            self.here.request(request);
        }
        assert!(self.here.shard.poll_request().is_none());
    }
}

fn up_to(max_layer: SpatialLayer) -> TrackSetting {
    TrackSetting {
        max_layer,
        ..TrackSetting::default()
    }
}

const NOTHING: TrackSetting = TrackSetting {
    disabled: true,
    max_layer: SpatialLayer::High,
    width: 0,
    height: 0,
};

/// What the publisher was told is wanted, one after the other.
fn told(rig: &Rig) -> Vec<Option<SpatialLayer>> {
    let wanted = |event: &Event| match event {
        Event::WantedLayersChanged { wanted, .. } => Some(*wanted),
        _ => None,
    };
    rig.events.iter().filter_map(wanted).collect()
}

#[test]
fn both_rooms_hear_and_see_each_with_its_own_choice_of_layer() {
    let mut rooms = Rooms::new(1);
    let (alice, bob) = (rooms.here.join(), rooms.here.join());
    let (carol, dave) = (rooms.there.join(), rooms.there.join());
    let sound = rooms.here.publish(alice, MediaKind::Audio, &[]);
    let picture = rooms.here.publish(alice, MediaKind::Video, &Layer::ALL);
    rooms.run(2 * SECOND);
    let peer = rooms.forward();
    let sound_there = rooms.relay(alice, sound, peer);
    let picture_there = rooms.relay(alice, picture, peer);
    rooms.wish(dave, picture_there, up_to(SpatialLayer::Low));
    rooms.run(4 * SECOND);
    assert_eq!(rooms.there.received(carol, picture_there).size, (1280, 720));
    assert_eq!(rooms.there.received(dave, picture_there).size, (320, 180));
    assert_eq!(rooms.here.received(bob, picture).size, (1280, 720));
    for listener in [carol, dave] {
        let heard = rooms.there.received(listener, sound_there);
        assert!(heard.packets > 150, "{heard:?}");
        let seen = rooms.there.received(listener, picture_there);
        assert_eq!((seen.lost, seen.dropped_frames), (0, 0), "{seen:?}");
    }
    rooms.wish(dave, picture_there, up_to(SpatialLayer::Medium));
    rooms.run(2 * SECOND);
    assert_eq!(rooms.there.received(dave, picture_there).size, (640, 360));
    let speaks = |event: &Event| match event {
        Event::SpeakersChanged { speakers, .. } => speakers.iter().any(|s| s.peer == peer),
        _ => false,
    };
    assert!(rooms.there.events.iter().any(speaks));
    // The connection of somebody who is elsewhere is not judged here.
    let of_peer = |event: &Event| matches!(event, Event::QualityChanged { .. });
    assert!(!rooms.there.events.iter().any(of_peer));
}

#[test]
fn who_comes_later_sees_the_picture_at_once() {
    let mut rooms = Rooms::new(2);
    let alice = rooms.here.join();
    let picture = rooms.here.publish(alice, MediaKind::Video, &Layer::ALL);
    rooms.run(SECOND);
    let peer = rooms.forward();
    let there = rooms.relay(alice, picture, peer);
    rooms.run(3 * SECOND);
    let requests = rooms.here.participants[alice].key_frame_requests;
    let carol = rooms.there.join();
    rooms.watch(carol, there, TrackSetting::default());
    let is_seen = |rooms: &Rooms| rooms.there.received(carol, there).decodable_frames > 0;
    assert!(rooms.run_until(SECOND / 2, is_seen));
    assert!(rooms.here.participants[alice].key_frame_requests > requests);
    let key_frame = |request: &RelayRequest| matches!(request, RelayRequest::KeyFrame { .. });
    assert!(rooms.requests.iter().any(key_frame));
    rooms.run(2 * SECOND);
    let seen = rooms.there.received(carol, there);
    assert_eq!((seen.size, seen.lost), ((1280, 720), 0), "{seen:?}");
}

#[test]
fn what_nobody_wants_in_either_room_is_not_sent() {
    let mut rooms = Rooms::new(3);
    let (alice, bob, carol) = (rooms.here.join(), rooms.here.join(), rooms.there.join());
    let picture = rooms.here.publish(alice, MediaKind::Video, &Layer::ALL);
    rooms.run(2 * SECOND);
    let peer = rooms.forward();
    let there = rooms.relay(alice, picture, peer);
    rooms.run(SECOND);
    let peer_here = rooms.here.participants[bob].sid;
    rooms.here.command(SubscriptionCommand::Unsubscribe {
        peer: peer_here,
        track: picture,
    });
    rooms.run(8 * SECOND);
    assert_eq!(told(&rooms.here), [], "the other room wants it");
    rooms.wish(carol, there, up_to(SpatialLayer::Low));
    rooms.run(12 * SECOND);
    assert_eq!(told(&rooms.here), [Some(SpatialLayer::Low)]);
    rooms.wish(carol, there, NOTHING);
    rooms.run(12 * SECOND);
    assert_eq!(told(&rooms.here)[1..], [None]);
    let packets = rooms.packets;
    rooms.run(2 * SECOND);
    assert!(rooms.packets - packets <= 9, "at most sender reports");
    rooms.wish(carol, there, TrackSetting::default());
    let is_back = |rooms: &Rooms| rooms.there.received(carol, there).size == (1280, 720);
    assert!(rooms.run_until(SECOND, is_back), "{:?}", told(&rooms.here));
}

#[test]
fn what_only_one_room_wants_does_not_go_to_the_other() {
    let mut rooms = Rooms::new(4);
    let (alice, bob, carol) = (rooms.here.join(), rooms.here.join(), rooms.there.join());
    let picture = rooms.here.publish(alice, MediaKind::Video, &Layer::ALL);
    rooms.run(2 * SECOND);
    let peer = rooms.forward();
    let there = rooms.relay(alice, picture, peer);
    rooms.wish(carol, there, NOTHING);
    rooms.run(8 * SECOND);
    let packets = rooms.packets;
    rooms.run(2 * SECOND);
    assert!(rooms.packets - packets <= 9, "sender reports");
    assert_eq!(told(&rooms.here), []);
    assert_eq!(rooms.here.received(bob, picture).size, (1280, 720));
}

#[test]
fn losses_of_the_publishers_network_are_repaired_in_both_rooms() {
    let mut rooms = Rooms::new(5);
    let (alice, bob, carol) = (rooms.here.join(), rooms.here.join(), rooms.there.join());
    let picture = rooms.here.publish(alice, MediaKind::Video, &[]);
    rooms.run(2 * SECOND);
    let peer = rooms.forward();
    let there = rooms.relay(alice, picture, peer);
    rooms.run(2 * SECOND);
    let frames = rooms.there.received(carol, there).decodable_frames;
    rooms.here.loss = 0.05;
    rooms.run(10 * SECOND);
    rooms.here.loss = 0.0;
    rooms.run(SECOND);
    assert!(rooms.here.shard.stats().recovered > 20);
    let seen = rooms.there.received(carol, there);
    assert!(seen.decodable_frames - frames > 250, "{seen:?}");
    assert_eq!(
        rooms.there.shard.stats().nacked,
        0,
        "nobody is there to be asked"
    );
    assert!(rooms.here.received(bob, picture).decodable_frames > 250);
}

#[test]
fn data_tracks_go_to_the_other_room_under_the_same_handles() {
    let mut rooms = Rooms::new(15);
    let (alice, bob) = (rooms.here.join(), rooms.here.join());
    let (carol, dave) = (rooms.there.join(), rooms.there.join());
    rooms.run(SECOND);
    let peer = rooms.forward();
    let number = |number| DataTrackHandle::new(number).unwrap();
    let [here, there] = [(); 2].map(|()| DataTrackSid::random(&mut rooms.rng));
    let publisher = rooms.here.participants[alice].sid;
    let publish = |peer, track| {
        Command::Data(DataCommand::Publish {
            peer,
            track,
            handle: number(7),
        })
    };
    let subscribe = |rig: &mut Rig, who: usize, track, handle| {
        let peer = rig.participants[who].sid;
        let handle = number(handle);
        rig.command(DataCommand::Subscribe {
            peer,
            track,
            handle,
        });
    };
    let relay = |shard| {
        Command::Relay(RelayCommand::SetData {
            peer: publisher,
            relayed: peer,
            shard,
        })
    };
    rooms.here.command(publish(publisher, here));
    rooms.there.command(publish(peer, there));
    subscribe(&mut rooms.here, bob, here, 20);
    subscribe(&mut rooms.there, carol, there, 30);
    rooms.here.command(relay(Some(1)));
    let packet = |handle: u8, text: &[u8]| {
        let header = [0, 0, 0, handle, 0, 1, 0, 1, 1, 2, 3, 4];
        [&header, text].concat()
    };
    let send = |rooms: &mut Rooms, handle, text: &[u8]| {
        let now = rooms.here.now;
        let connection = &mut rooms.here.participants[alice].connection;
        let channel = client::DataChannel::DataTrack;
        connection
            .send_data(channel, &packet(handle, text), now)
            .unwrap();
        rooms.run(SECOND / 5);
        let got = |rig: &mut Rig, who: usize| std::mem::take(&mut rig.participants[who].data);
        let (bob, carol) = (got(&mut rooms.here, bob), got(&mut rooms.there, carol));
        assert!(got(&mut rooms.there, dave).is_empty(), "nobody asked");
        (bob, carol)
    };
    let both = (vec![packet(20, b"one")], vec![packet(30, b"one")]);
    assert_eq!(send(&mut rooms, 7, b"one"), both);
    // What is no track of hers goes nowhere.
    let packets = rooms.packets;
    assert_eq!(send(&mut rooms, 8, b"two"), (vec![], vec![]));
    assert_eq!(rooms.packets, packets);
    // Nor do those of somebody who is connected there.
    let own = rooms.there.participants[carol].sid;
    rooms.here.command(RelayCommand::SetData {
        peer: publisher,
        relayed: own,
        shard: Some(1),
    });
    let both = (vec![packet(20, b"three")], vec![packet(30, b"three")]);
    assert_eq!(send(&mut rooms, 7, b"three"), both);
    let refused = rooms.there.shard.stats().drops(DropReason::UnknownStream);
    assert_eq!(refused, 1);
    rooms.here.command(relay(None));
    let one = (vec![packet(20, b"four")], vec![]);
    assert_eq!(send(&mut rooms, 7, b"four"), one);
}

#[test]
fn what_is_lost_between_the_shards_comes_once_more() {
    let mut rooms = Rooms::new(12);
    let (alice, carol) = (rooms.here.join(), rooms.there.join());
    let sound = rooms.here.publish(alice, MediaKind::Audio, &[]);
    let picture = rooms.here.publish(alice, MediaKind::Video, &[]);
    rooms.run(2 * SECOND);
    let peer = rooms.forward();
    let sound_there = rooms.relay(alice, sound, peer);
    let picture_there = rooms.relay(alice, picture, peer);
    rooms.run(2 * SECOND);
    let received = |rooms: &Rooms| {
        let (sound, picture) = (sound_there, picture_there);
        [sound, picture].map(|track| rooms.there.received(carol, track).clone())
    };
    let requests = rooms.requests.len();
    let before = received(&rooms);
    rooms.loss = Some(30);
    rooms.run(5 * SECOND);
    rooms.loss = None;
    rooms.run(SECOND);
    let after = received(&rooms);
    // 50 and 30 a second.
    let [heard, seen] = [0, 1].map(|i| after[i].decodable_frames - before[i].decodable_frames);
    assert!(heard >= 299 && seen >= 179, "{heard}, {seen}: {after:?}");
    assert_eq!([after[0].lost, after[1].lost], [0, 0], "{after:?}");
    let asked = rooms.requests[requests..].iter();
    let missing = |request: &&RelayRequest| matches!(request, RelayRequest::Resend { .. });
    let asked = asked.filter(missing).count();
    assert!((10..200).contains(&asked), "{asked}");
    // No key frame was needed.
    assert_eq!(rooms.requests.len() - requests, asked);
    // And when nothing is lost, nothing is asked for.
    rooms.run(2 * SECOND);
    assert_eq!(rooms.requests.len() - requests, asked);
}

#[test]
fn what_was_left_out_on_purpose_is_not_asked_for() {
    let mut rooms = Rooms::new(13);
    let (alice, carol) = (rooms.here.join(), rooms.there.join());
    let sound = rooms.here.publish(alice, MediaKind::Audio, &[]);
    let picture = rooms.here.publish(alice, MediaKind::Video, &Layer::ALL);
    rooms.run(2 * SECOND);
    let peer = rooms.forward();
    let sound_there = rooms.relay(alice, sound, peer);
    let picture_there = rooms.relay(alice, picture, peer);
    rooms.run(2 * SECOND);
    let publisher = rooms.here.participants[alice].sid;
    for muted in [true, false] {
        rooms.here.command(TrackCommand::SetMuted {
            peer: publisher,
            track: sound,
            muted,
        });
        rooms.run(SECOND);
    }
    for wanted in [None, Some(SpatialLayer::High)] {
        rooms.here.request(RelayRequest::Want {
            relayed: picture_there,
            wanted,
        });
        rooms.run(SECOND);
    }
    assert!(rooms.there.received(carol, sound_there).packets > 140);
    let missing = |request: &RelayRequest| matches!(request, RelayRequest::Resend { .. });
    assert!(!rooms.requests.iter().any(missing), "{:?}", rooms.requests);
}

#[test]
fn who_asks_for_too_much_again_gets_no_more_than_twice_the_stream() {
    let mut rooms = Rooms::new(14);
    let alice = rooms.here.join();
    let picture = rooms.here.publish(alice, MediaKind::Video, &[]);
    rooms.run(2 * SECOND);
    let peer = rooms.forward();
    let there = rooms.relay(alice, picture, peer);
    rooms.loss = Some(10);
    rooms.run(SECOND);
    let ssrc = rooms.requests.iter().find_map(|request| match request {
        RelayRequest::Resend { ssrc, .. } => Some(*ssrc),
        _ => None,
    });
    let ssrc = ssrc.expect("something was lost");
    let before = rooms.packets;
    for _ in 0..100 {
        rooms.here.request(RelayRequest::Resend {
            relayed: there,
            layer: SpatialLayer::High,
            ssrc,
            seqs: (0..=u16::MAX).collect(),
        });
        rooms.carry();
    }
    let got = rooms.packets - before;
    let refused = rooms.here.shard.stats().drops(DropReason::TooManyRepairs);
    assert!(
        (1..10_000).contains(&got) && refused > 0,
        "{got}, {refused}"
    );
}

#[test]
fn a_muted_track_is_muted_in_both_rooms() {
    let mut rooms = Rooms::new(6);
    let (alice, carol) = (rooms.here.join(), rooms.there.join());
    let sound = rooms.here.publish(alice, MediaKind::Audio, &[]);
    rooms.run(2 * SECOND);
    let peer = rooms.forward();
    let there = rooms.relay(alice, sound, peer);
    rooms.run(2 * SECOND);
    let publisher = rooms.here.participants[alice].sid;
    let mute = |peer, track, muted| Command::Track(TrackCommand::SetMuted { peer, track, muted });
    rooms.here.command(mute(publisher, sound, true));
    rooms.run(SECOND / 10);
    let (packets, heard) = (rooms.packets, rooms.there.received(carol, there).packets);
    rooms.run(SECOND);
    assert!(rooms.packets - packets <= 2, "at most sender reports");
    assert_eq!(rooms.there.received(carol, there).packets, heard);
    rooms.here.command(mute(publisher, sound, false));
    rooms.run(SECOND);
    assert!(rooms.there.received(carol, there).packets >= heard + 45);
}

#[test]
fn who_is_too_quiet_for_one_room_is_heard_in_the_other() {
    let mut rooms = Rooms::with(7, 1);
    let (alice, bob, carol) = (rooms.here.join(), rooms.here.join(), rooms.there.join());
    let speech = |loudest: u8| Some((0..50).map(|i| loudest + i % 13).collect());
    rooms.here.participants[alice].levels = speech(60);
    rooms.here.participants[bob].levels = speech(25);
    rooms.here.publish(bob, MediaKind::Audio, &[]);
    rooms.run(SECOND);
    let sound = rooms.here.publish(alice, MediaKind::Audio, &[]);
    rooms.run(SECOND);
    let peer = rooms.forward();
    let there = rooms.relay(alice, sound, peer);
    rooms.run(3 * SECOND);
    let left_out = rooms.here.shard.stats().drops(DropReason::NotAmongLoudest);
    assert!(left_out > 100, "{left_out}");
    assert!(rooms.there.received(carol, there).packets > 120);
}

#[test]
fn the_end_in_either_room_leaves_the_other_as_it_was() {
    let mut rooms = Rooms::new(8);
    let (alice, bob, carol) = (rooms.here.join(), rooms.here.join(), rooms.there.join());
    let sound = rooms.here.publish(alice, MediaKind::Audio, &[]);
    let own = rooms.there.publish(carol, MediaKind::Audio, &[]);
    rooms.run(2 * SECOND);
    let peer = rooms.forward();
    let there = rooms.relay(alice, sound, peer);
    let second = rooms.relay(alice, sound, peer);
    rooms.run(2 * SECOND);
    assert!(rooms.there.received(carol, second).packets > 80);
    // One of two copies ends.
    rooms.here.command(RelayCommand::Stop { relayed: second });
    rooms.run(SECOND / 10);
    let heard = rooms.there.received(carol, second).packets;
    rooms.run(SECOND);
    assert_eq!(rooms.there.received(carol, second).packets, heard);
    assert!(rooms.there.received(carol, there).packets > 130);
    // The other room ends before the first one knows: what comes then is for nobody.
    rooms.there.command(MemberCommand::Remove { peer });
    let unknown = rooms.there.shard.stats().drops(DropReason::UnknownStream);
    let before = rooms.here.received(bob, sound).packets;
    rooms.run(SECOND);
    assert!(rooms.there.shard.stats().drops(DropReason::UnknownStream) > unknown + 40);
    assert!(rooms.here.received(bob, sound).packets >= before + 45);
    assert!(rooms.there.shard.stats().up_tracks == 1 && !own.as_str().is_empty());
    // And the publisher leaves.
    rooms.here.leave(alice);
    let packets = rooms.packets;
    rooms.run(SECOND);
    assert_eq!(rooms.packets, packets);
    rooms.here.request(RelayRequest::KeyFrame {
        relayed: there,
        layer: SpatialLayer::High,
    });
    assert_eq!(
        rooms.here.shard.stats().panics + rooms.there.shard.stats().panics,
        0
    );
}

#[test]
fn nobody_who_is_connected_is_written_to_by_another_shard() {
    let mut rooms = Rooms::new(9);
    let (alice, carol) = (rooms.here.join(), rooms.there.join());
    let dave = rooms.there.join();
    let sound = rooms.here.publish(alice, MediaKind::Audio, &[]);
    let own = rooms.there.publish(carol, MediaKind::Audio, &[]);
    rooms.run(2 * SECOND);
    // A copy under the sid of a track whose publisher is connected there.
    let publisher = rooms.here.participants[alice].sid;
    rooms.here.command(RelayCommand::Start {
        peer: publisher,
        track: sound,
        relayed: own,
        shard: 1,
    });
    let refused = rooms.there.shard.stats().drops(DropReason::UnknownStream);
    let heard = rooms.there.received(dave, own).packets;
    rooms.run(SECOND);
    let stats = rooms.there.shard.stats();
    assert!(stats.drops(DropReason::UnknownStream) >= refused + 45);
    let now = rooms.there.received(dave, own).packets - heard;
    assert!((45..=55).contains(&now), "{now}");
}

#[test]
fn a_shard_takes_no_more_people_from_elsewhere_than_it_may() {
    let mut rooms = Rooms::new(10);
    rooms.there = Rig::with(sfu::Config {
        index: 1,
        max_peers: 1,
        ..crate::rig::config(11, crate::rig::server())
    });
    let taken = rooms.forward();
    let refused = rooms.forward();
    let failed = |event: &Event| match event {
        Event::NegotiationFailed { peer, .. } => Some(*peer),
        _ => None,
    };
    let failed: Vec<_> = rooms.there.events.iter().filter_map(failed).collect();
    assert_eq!(failed, [refused]);
    let here = Event::Connected { peer: taken };
    assert!(rooms.there.events.contains(&here));
    assert_ne!(taken, refused);
    assert_eq!(rooms.there.shard.stats().peers, 1);
    // Who comes from elsewhere has no transport that could time out.
    rooms.there.run(60 * SECOND);
    let lost = |event: &Event| matches!(event, Event::Disconnected { .. });
    assert!(!rooms.there.events.iter().any(lost));
}

#[test]
fn an_agent_in_the_other_room_hears_who_is_too_quiet_in_both() {
    let mut rooms = Rooms::with(98, 1);
    let (loud, quiet) = (rooms.here.join(), rooms.here.join());
    rooms.here.participants[loud].levels = Some(SPEECH.to_vec());
    rooms.here.participants[quiet].levels = Some(SPEECH.map(|level| level + 40).to_vec());
    let voices = [loud, quiet].map(|who| rooms.here.publish(who, MediaKind::Audio, &[]));
    rooms.there.hears_all = true;
    let agent = rooms.there.join();
    rooms.there.hears_all = false;
    let guest = rooms.there.join();
    let (room, limit) = (rooms.there.room, 1);
    rooms
        .there
        .command(RoomCommand::SetAudioTopN { room, limit });
    rooms.run(SECOND);
    let relayed: Vec<_> = [loud, quiet]
        .into_iter()
        .zip(voices)
        .map(|(who, voice)| {
            let peer = rooms.forward();
            rooms.relay(who, voice, peer)
        })
        .collect();
    rooms.run(5 * SECOND);
    let heard = |listener, voice| rooms.there.received(listener, voice);
    for voice in &relayed {
        let got = heard(agent, *voice);
        assert!(got.packets > 200 && got.lost == 0, "{got:?}");
    }
    let (clear, left_out) = (heard(guest, relayed[0]), heard(guest, relayed[1]));
    assert!(clear.packets > 200 && left_out.packets < 20, "{left_out:?}");
}

/// Levels of somebody who speaks, -dBov.
const SPEECH: [u8; 8] = [25, 28, 34, 39, 29, 26, 45, 33];
