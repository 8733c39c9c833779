//! What is not sent because nobody would see or hear it.

use std::time::Duration;

use crate::rig::Rig;
use client::media::{Layer, MediaKind};
use protocol::TrackSid;
use sfu::{Event, RoomCommand, SpatialLayer, SubscriptionCommand, TrackSetting};

const SECOND: Duration = Duration::from_secs(1);

fn wish(rig: &mut Rig, who: usize, track: TrackSid, setting: TrackSetting) {
    let peer = rig.participants[who].sid;
    rig.command(SubscriptionCommand::SetSetting {
        peer,
        track,
        setting,
    });
}

fn up_to(max_layer: SpatialLayer) -> TrackSetting {
    TrackSetting {
        max_layer,
        ..TrackSetting::default()
    }
}

/// What the publisher was told, one after the other.
fn told(rig: &Rig) -> Vec<Option<SpatialLayer>> {
    let wanted = |event: &Event| match event {
        Event::WantedLayersChanged { wanted, .. } => Some(*wanted),
        _ => None,
    };
    rig.events.iter().filter_map(wanted).collect()
}

#[test]
fn a_publisher_need_not_send_what_nobody_wants() {
    let mut rig = Rig::new(1);
    let (a, b, c) = (rig.join(), rig.join(), rig.join());
    let picture = rig.publish(a, MediaKind::Video, &Layer::ALL);
    rig.run(8 * SECOND);
    assert_eq!(told(&rig), []);
    wish(&mut rig, b, picture, up_to(SpatialLayer::Low));
    rig.run(8 * SECOND);
    assert_eq!(told(&rig), [], "the other one still wants it");
    let medium = TrackSetting {
        width: 600,
        height: 340,
        ..TrackSetting::default()
    };
    wish(&mut rig, c, picture, medium);
    rig.run(4 * SECOND);
    assert_eq!(told(&rig), [], "it may come back");
    rig.run(2 * SECOND);
    assert_eq!(told(&rig), [Some(SpatialLayer::Medium)]);
    let disabled = TrackSetting {
        disabled: true,
        ..TrackSetting::default()
    };
    wish(&mut rig, c, picture, disabled);
    let peer = rig.participants[b].sid;
    rig.command(SubscriptionCommand::Unsubscribe {
        peer,
        track: picture,
    });
    rig.run(6 * SECOND);
    assert_eq!(told(&rig)[1..], [None]);
    let incoming = rig.shard.stats().rtp_in;
    rig.run(2 * SECOND);
    assert_eq!(rig.shard.stats().rtp_in, incoming, "nothing is sent");
    wish(&mut rig, c, picture, TrackSetting::default());
    assert_eq!(told(&rig)[2..], [Some(SpatialLayer::High)], "at once");
}

#[test]
fn a_layer_that_was_off_comes_back_at_once_and_without_a_freeze() {
    let mut rig = Rig::new(2);
    let (a, b) = (rig.join(), rig.join());
    let picture = rig.publish(a, MediaKind::Video, &Layer::ALL);
    rig.run(2 * SECOND);
    wish(&mut rig, b, picture, up_to(SpatialLayer::Low));
    rig.run(8 * SECOND);
    assert_eq!(told(&rig), [Some(SpatialLayer::Low)]);
    assert_eq!(rig.received(b, picture).size, (320, 180));
    wish(&mut rig, b, picture, up_to(SpatialLayer::High));
    let is_back = |rig: &Rig| rig.received(b, picture).size == (1280, 720);
    assert!(rig.run_until(SECOND / 2, is_back));
    rig.run(2 * SECOND);
    let seen = rig.received(b, picture);
    assert_eq!((seen.lost, seen.dropped_frames), (0, 0), "{seen:?}");
    assert!(seen.longest_gap < 9_000, "{seen:?}");
}

#[test]
fn the_first_to_want_a_picture_sees_it_at_once() {
    let mut rig = Rig::new(3);
    let a = rig.join();
    let picture = rig.publish(a, MediaKind::Video, &Layer::ALL);
    rig.run(8 * SECOND);
    assert_eq!(told(&rig), [None]);
    let b = rig.join();
    let is_seen = |rig: &Rig| rig.received(b, picture).decodable_frames > 0;
    assert!(rig.run_until(SECOND / 5, is_seen));
    rig.run(SECOND);
    assert_eq!(rig.received(b, picture).size, (1280, 720));
}

/// A room of which five voices are forwarded.
fn large_room(seed: u64) -> Rig {
    Rig::with(sfu::Config {
        audio_top_n: 5,
        ..crate::rig::config(seed, crate::rig::server())
    })
}

/// Levels of somebody who speaks, at its loudest with this one.
fn speech(loudest: u8) -> Option<Vec<u8>> {
    Some(
        [0, 3, 9, 14, 4, 1, 20, 8]
            .map(|softer| loudest + softer)
            .to_vec(),
    )
}

/// How many packets of each voice arrive in this time.
fn heard(rig: &mut Rig, listener: usize, voices: &[TrackSid], time: Duration) -> Vec<u64> {
    let packets = |rig: &Rig| -> Vec<u64> {
        let packets = |voice: &TrackSid| rig.received(listener, *voice).packets;
        voices.iter().map(packets).collect()
    };
    let before = packets(rig);
    rig.run(time);
    let after = packets(rig).into_iter();
    after.zip(before).map(|(now, then)| now - then).collect()
}

#[test]
fn of_twenty_voices_the_five_loudest_are_forwarded_and_nobody_misses_a_packet() {
    let mut rig = large_room(4);
    let listener = rig.join();
    let speakers: Vec<_> = (0..20).map(|_| rig.join()).collect();
    for (i, speaker) in speakers.iter().enumerate() {
        rig.participants[*speaker].levels = speech(if i % 4 == 0 { 25 } else { 60 });
    }
    let publish = |speaker: &usize| rig.publish(*speaker, MediaKind::Audio, &[]);
    let voices: Vec<_> = speakers.iter().map(publish).collect();
    rig.run(3 * SECOND);
    let packets = heard(&mut rig, listener, &voices, 2 * SECOND);
    for (i, packets) in packets.iter().enumerate() {
        let expected = if i % 4 == 0 { 99..=101 } else { 0..=0 };
        assert!(expected.contains(packets), "voice {i}: {packets}");
    }
    // Somebody takes the word from somebody.
    rig.participants[speakers[0]].levels = Some(vec![127]);
    rig.run(2 * SECOND);
    rig.participants[speakers[1]].levels = speech(30);
    let packets = heard(&mut rig, listener, &voices, SECOND);
    assert!(packets[1] >= 48, "from its first word: {packets:?}");
    assert!(packets[0] <= 2, "{packets:?}");
    rig.participants[speakers[1]].levels = Some(vec![127]);
    rig.run(2 * SECOND);
    rig.participants[speakers[0]].levels = speech(30);
    let packets = heard(&mut rig, listener, &voices, SECOND);
    assert!(packets[0] >= 48, "{packets:?}");
    for voice in &voices {
        assert_eq!(rig.received(listener, *voice).lost, 0);
    }
    assert_eq!(rig.shard.stats().retransmitted, 0);
    assert_eq!(rig.shard.stats().repairs, Default::default());
}

#[test]
fn voices_without_levels_and_sound_of_screens_are_always_forwarded() {
    let mut rig = large_room(5);
    let listener = rig.join();
    let speakers: Vec<_> = (0..9).map(|_| rig.join()).collect();
    for speaker in &speakers[..7] {
        rig.participants[*speaker].levels = speech(25);
    }
    rig.participants[speakers[7]].levels = None;
    rig.participants[speakers[8]].levels = Some(vec![100]);
    let voices: Vec<_> = (0..8)
        .map(|i| rig.publish(speakers[i], MediaKind::Audio, &[]))
        .collect();
    let screen = rig.publish_in("screen", speakers[8], MediaKind::Audio, &[]);
    rig.run(3 * SECOND);
    let packets = heard(&mut rig, listener, &voices, SECOND);
    let through = packets.iter().filter(|packets| **packets >= 49).count();
    assert_eq!((through, packets[7] >= 49), (6, true), "{packets:?}");
    assert!(heard(&mut rig, listener, &[screen], SECOND)[0] >= 49);
}

#[test]
fn a_room_decides_for_itself_how_many_voices_are_forwarded() {
    let mut rig = large_room(6);
    let listener = rig.join();
    let (room, limit) = (rig.room, 0);
    let speakers: Vec<_> = (0..7).map(|_| rig.join()).collect();
    let voices: Vec<_> = speakers
        .iter()
        .map(|speaker| rig.publish(*speaker, MediaKind::Audio, &[]))
        .collect();
    rig.run(2 * SECOND);
    let packets = heard(&mut rig, listener, &voices, SECOND);
    assert_eq!(packets.iter().filter(|packets| **packets > 0).count(), 5);
    rig.command(RoomCommand::SetAudioTopN { room, limit });
    let packets = heard(&mut rig, listener, &voices, SECOND);
    assert!(packets.iter().all(|packets| *packets >= 49), "{packets:?}");
    let lost = voices
        .iter()
        .map(|voice| rig.received(listener, *voice).lost);
    assert_eq!(lost.sum::<u64>(), 0);
}
