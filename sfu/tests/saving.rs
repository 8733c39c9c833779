//! What is not sent because nobody would see or hear it.

mod rig;

use std::time::Duration;

use client::media::{Layer, MediaKind};
use protocol::TrackSid;
use rig::Rig;
use sfu::{Command, Event, SpatialLayer, TrackSetting};

const SECOND: Duration = Duration::from_secs(1);

fn wish(rig: &mut Rig, who: usize, track: TrackSid, setting: TrackSetting) {
    let peer = rig.participants[who].sid;
    rig.command(Command::SetTrackSetting {
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
    rig.command(Command::Unsubscribe {
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
