//! The connection quality that participants are shown is the one they have.

use std::time::Duration;

use crate::rig::Rig;
use client::media::{Layer, MediaKind};
use sfu::{Event, Quality};

const SECOND: Duration = Duration::from_secs(1);

/// What was said of somebody's connection, one after the other.
fn told(rig: &Rig, index: usize) -> Vec<Quality> {
    let sid = rig.participants[index].sid;
    let quality = |event: &Event| match event {
        Event::QualityChanged { peer, quality } if *peer == sid => Some(*quality),
        _ => None,
    };
    rig.events.iter().filter_map(quality).collect()
}

fn meeting(seed: u64) -> (Rig, [usize; 3]) {
    let mut rig = Rig::new(seed);
    let all = [rig.join(), rig.join(), rig.join()];
    for one in &all[..2] {
        rig.publish(*one, MediaKind::Audio, &[]);
        rig.publish(*one, MediaKind::Video, &Layer::ALL);
    }
    (rig, all)
}

#[test]
fn good_connections_are_excellent_and_remain_so() {
    let (mut rig, all) = meeting(1);
    rig.run(60 * SECOND);
    assert!(all.iter().all(|one| told(&rig, *one).is_empty()));
}

#[test]
fn losses_are_shown_and_forgotten() {
    let (mut rig, [a, ..]) = meeting(2);
    rig.run(10 * SECOND);
    rig.loss = 0.15;
    assert!(rig.run_until(9 * SECOND, |rig| told(rig, a).last()
        == Some(&Quality::Poor)));
    rig.loss = 0.0;
    let is_excellent = |rig: &Rig| told(rig, a).last() == Some(&Quality::Excellent);
    assert!(rig.run_until(60 * SECOND, is_excellent));
}

#[test]
fn a_network_that_carries_no_picture_is_poor_and_of_that_participant_only() {
    let (mut rig, [a, b, listener]) = meeting(3);
    rig.run(10 * SECOND);
    rig.narrow(listener, 150_000, SECOND / 4);
    assert!(rig.run_until(15 * SECOND, |rig| {
        told(rig, listener).contains(&Quality::Poor)
    }));
    assert_eq!([told(&rig, a), told(&rig, b)], [[], []]);
}

#[test]
fn lost_is_who_should_send_and_of_whom_nothing_comes() {
    let (mut rig, [a, b, listener]) = meeting(4);
    rig.run(10 * SECOND);
    // All pictures and voices rest: nothing comes, because nothing should.
    let peer = rig.participants[b].sid;
    for track in rig.published(b) {
        let muted = true;
        rig.command(sfu::TrackCommand::SetMuted { peer, track, muted });
    }
    let away = rig.participants[a].connection.local();
    rig.cut.push(away);
    rig.run(6 * SECOND);
    assert!(!told(&rig, a).contains(&Quality::Lost));
    rig.run(8 * SECOND);
    assert_eq!(told(&rig, a).last(), Some(&Quality::Lost));
    rig.cut.clear();
    rig.run(9 * SECOND);
    assert_ne!(told(&rig, a).last(), Some(&Quality::Lost));
    for one in [b, listener] {
        assert!(!told(&rig, one).contains(&Quality::Lost));
    }
}

#[test]
fn who_was_lost_and_restarts_ice_is_lost_only_if_nothing_comes_after() {
    for two in [false, true] {
        let mut rig = Rig::new(5);
        let lost = if two { rig.join_with_two() } else { rig.join() };
        rig.publish(lost, MediaKind::Audio, &[]);
        rig.join();
        rig.run(10 * SECOND);
        let away = rig.participants[lost].connection.local();
        rig.cut.push(away);
        rig.run(15 * SECOND);
        assert_eq!(told(&rig, lost), [Quality::Lost]);
        // Signalling has another way than media here.
        rig.participants[lost].connection.restart_ice();
        rig.offer(lost);
        assert_eq!(told(&rig, lost), [Quality::Lost, Quality::Poor], "{two}");
        rig.run(3 * SECOND);
        assert_eq!(told(&rig, lost).len(), 2);
        rig.run(3 * SECOND);
        let all = [Quality::Lost, Quality::Poor, Quality::Lost];
        assert_eq!(told(&rig, lost), all, "{two}");
        rig.cut.clear();
        rig.participants[lost].connection.restart_ice();
        rig.offer(lost);
        rig.run(20 * SECOND);
        assert!(!told(&rig, lost)[3..].contains(&Quality::Lost));
    }
}
