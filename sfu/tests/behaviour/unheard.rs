//! Media that should arrive and does not is noticed and repaired, before anybody asks "can you hear me?".

use std::time::Duration;

use crate::rig::Rig;
use client::media::{Layer, MediaKind};
use protocol::TrackSid;
use sfu::{Event, stats::Repairs};

const SECOND: Duration = Duration::from_secs(1);

/// What the issue allows for noticing and repairing.
const LIMIT: Duration = Duration::from_secs(4);

fn repairs(rig: &Rig) -> Repairs {
    rig.shard.stats().repairs
}

fn is_heard(rig: &Rig, listener: usize, track: TrackSid) -> bool {
    let last = rig.received(listener, track).last_packet;
    last.is_some_and(|at| rig.now - at < SECOND / 10)
}

/// Somebody gets one track of each kind, of which one stops arriving.
fn break_one(mut rig: Rig, kind: MediaKind) {
    let (a, b, c) = (rig.join(), rig.join(), rig.join());
    let voice = rig.publish(a, MediaKind::Audio, &[]);
    let picture = rig.publish(a, MediaKind::Video, &Layer::ALL);
    let other = rig.publish(c, MediaKind::Audio, &[]);
    rig.run(5 * SECOND);
    let track = if kind == MediaKind::Audio {
        voice
    } else {
        picture
    };
    let before = rig.ssrcs(b, track);
    rig.lost_ssrcs.extend(&before);
    rig.run(SECOND / 2);
    assert!(!is_heard(&rig, b, track) && is_heard(&rig, c, track));
    let began = rig.now;
    assert!(rig.run_until(LIMIT - SECOND / 2, |rig| is_heard(rig, b, track)));
    println!("{kind:?} repaired after {:?}", rig.now - began + SECOND / 2);
    assert_ne!(rig.ssrcs(b, track), before);
    rig.run(5 * SECOND);
    for listener in [b, c] {
        assert!(is_heard(&rig, listener, voice) && is_heard(&rig, listener, picture));
    }
    assert!(is_heard(&rig, b, other));
    let resubscribed = 1;
    let expected = Repairs {
        resubscribed,
        ..Repairs::default()
    };
    assert_eq!(repairs(&rig), expected);
}

#[test]
fn a_voice_that_stops_arriving_is_begun_anew() {
    break_one(Rig::new(1), MediaKind::Audio);
}

fn without_congestion_control(seed: u64) -> Rig {
    Rig::with(sfu::Config {
        congestion_control: false,
        ..crate::rig::config(seed, crate::rig::server())
    })
}

#[test]
fn a_picture_that_stops_arriving_is_begun_anew() {
    // With congestion control it would be paused: what is lost looks like a network that carries nothing.
    break_one(without_congestion_control(6), MediaKind::Video);
}

#[test]
fn a_voice_that_stops_arriving_is_found_as_soon_without_congestion_control() {
    break_one(without_congestion_control(9), MediaKind::Audio);
}

#[test]
fn a_stream_that_never_arrived_is_begun_anew() {
    let mut rig = Rig::new(2);
    let (a, b) = (rig.join(), rig.join());
    rig.run(SECOND);
    let voice = rig.publish(a, MediaKind::Audio, &[]);
    rig.lost_ssrcs = rig.ssrcs(b, voice);
    assert!(rig.run_until(LIMIT, |rig| is_heard(rig, b, voice)));
    assert_eq!(repairs(&rig).resubscribed, 1);
}

#[test]
fn where_that_does_not_help_the_client_is_to_connect_anew_once() {
    let mut rig = Rig::new(3);
    let (a, b) = (rig.join(), rig.join());
    let voice = rig.publish(a, MediaKind::Audio, &[]);
    let beside = rig.publish(a, MediaKind::Audio, &[]);
    rig.run(3 * SECOND);
    for _ in 0..600 {
        rig.lost_ssrcs.extend(rig.ssrcs(b, voice));
        rig.run(SECOND / 20);
    }
    assert!(is_heard(&rig, b, beside));
    let unreachable = rig.events.iter().filter_map(|event| match event {
        Event::Unreachable { peer } => Some(*peer),
        _ => None,
    });
    assert_eq!(unreachable.collect::<Vec<_>>(), [rig.participants[b].sid]);
    let found = repairs(&rig);
    // A few packets of each new stream arrive until the test knows its SSRC.
    assert!((1..=3).contains(&found.resubscribed), "{found:?}");
    assert_eq!(found.reconnected, 1);
}

#[test]
fn a_client_whose_dtls_has_died_is_to_connect_anew_once() {
    for mut rig in [Rig::new(11), without_congestion_control(12)] {
        let (a, b) = (rig.join(), rig.join());
        rig.publish(a, MediaKind::Audio, &[]);
        rig.run(5 * SECOND);
        let deaf = rig.participants[b].connection.local();
        rig.deaf.push(deaf);
        let began = rig.now;
        let is_told = |rig: &Rig| repairs(rig).reconnected > 0;
        assert!(rig.run_until(10 * SECOND, is_told));
        println!("found after {:?}", rig.now - began);
        rig.run(20 * SECOND);
        let peer = rig.participants[b].sid;
        let told = rig
            .events
            .iter()
            .filter(|event| matches!(event, Event::Unreachable { peer: p } if *p == peer));
        assert_eq!(told.count(), 1);
        let found = repairs(&rig);
        assert_eq!((found.resubscribed, found.reconnected), (0, 1), "{found:?}");
    }
}

#[test]
fn a_client_that_has_yet_to_digest_an_answer_is_not_deaf() {
    let mut rig = Rig::new(13);
    let (a, b) = (rig.join(), rig.join());
    rig.run(SECOND);
    // Media overtakes the answer that announces it; a busy page may take its time.
    let busy = rig.participants[b].connection.local();
    rig.deaf.push(busy);
    let voice = rig.publish(a, MediaKind::Audio, &[]);
    rig.run(15 * SECOND);
    assert_eq!(repairs(&rig).reconnected, 0);
    rig.deaf.clear();
    assert!(rig.run_until(SECOND, |rig| is_heard(rig, b, voice)));
}

#[test]
fn bad_networks_mutes_and_silences_are_no_broken_paths() {
    for rig in [Rig::new(4), without_congestion_control(10)] {
        is_left_alone(rig);
    }
}

fn is_left_alone(mut rig: Rig) {
    let (a, b, c) = (rig.join(), rig.join(), rig.join());
    let voice = rig.publish(a, MediaKind::Audio, &[]);
    let picture = rig.publish(a, MediaKind::Video, &Layer::ALL);
    rig.publish(c, MediaKind::Audio, &[]);
    rig.run(5 * SECOND);
    rig.loss = 0.3;
    rig.run(20 * SECOND);
    rig.loss = 0.0;
    // A network that is gone for a while is no broken path either: ICE looks after it.
    let cut = rig.participants[b].connection.local();
    rig.cut.push(cut);
    rig.run(8 * SECOND);
    rig.cut.clear();
    rig.run(5 * SECOND);
    let peer = rig.participants[a].sid;
    for muted in [true, false] {
        for track in [voice, picture] {
            rig.command(sfu::TrackCommand::SetMuted { peer, track, muted });
        }
        rig.run(10 * SECOND);
    }
    // Its computer sleeps.
    let away = rig.participants[a].connection.local();
    rig.cut.push(away);
    rig.run(3 * SECOND);
    rig.cut.clear();
    rig.run(5 * SECOND);
    assert!(is_heard(&rig, b, voice) && is_heard(&rig, c, voice));
    let found = repairs(&rig);
    assert_eq!((found.resubscribed, found.reconnected), (0, 0), "{found:?}");
}

#[test]
fn a_publisher_that_sends_nothing_is_asked_to_offer_again_once() {
    let mut rig = Rig::new(5);
    let (a, _) = (rig.join(), rig.join());
    rig.publish(a, MediaKind::Audio, &[]);
    rig.announce(a, MediaKind::Audio, &[]);
    rig.run(60 * SECOND);
    assert_eq!(repairs(&rig).silent_publishers, 1);
}
