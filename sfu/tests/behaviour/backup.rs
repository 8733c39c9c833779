//! A picture in two codecs: who cannot decode the first gets the other.

use std::time::Duration;

use crate::rig::Rig;
use protocol::TrackSid;
use sfu::{BackupOf, Event, SpatialLayer, SubscriptionCommand, TrackCommand};

const SECOND: Duration = Duration::from_secs(1);

/// In which browsers meet.
fn rig(seed: u64) -> Rig {
    let mut rig = Rig::new(seed);
    rig.vp9 = true;
    rig
}

/// What the publisher was told of a track or its backup, one after the other.
fn told(rig: &Rig, of: TrackSid) -> Vec<Option<SpatialLayer>> {
    let wanted = |event: &Event| match event {
        Event::WantedLayersChanged { wanted, track, .. } if *track == of => Some(*wanted),
        _ => None,
    };
    rig.events.iter().filter_map(wanted).collect()
}

fn packets(rig: &mut Rig, who: usize, track: TrackSid, time: Duration) -> u64 {
    let before = rig.received(who, track).packets;
    rig.run(time);
    rig.received(who, track).packets - before
}

fn sees_all_of_it(rig: &Rig, who: usize, track: TrackSid) -> bool {
    let seen = rig.received(who, track);
    seen.size == (1280, 720) && seen.decodable_frames > 20
}

#[test]
fn a_backup_is_asked_for_and_sent_while_somebody_needs_it() {
    let mut rig = rig(1);
    let (a, b) = (rig.join(), rig.join());
    let (first, backup) = rig.publish_with_backup(a, false);
    rig.run(8 * SECOND);
    assert_eq!(told(&rig, backup), [], "nobody needs it");
    let c = rig.join_without_vp9(false);
    assert!(rig.run_until(SECOND / 2, |rig| !told(rig, backup).is_empty()));
    assert_eq!(told(&rig, backup), [Some(SpatialLayer::High)]);
    rig.publish_backup(a, backup, first, false);
    assert!(rig.run_until(3 * SECOND, |rig| sees_all_of_it(rig, c, first)));
    let seen = rig.received(c, first);
    assert_eq!((seen.lost, seen.dropped_frames), (0, 0), "{seen:?}");
    let d = rig.join_without_vp9(true);
    assert!(rig.run_until(3 * SECOND, |rig| sees_all_of_it(rig, d, first)));
    assert!(rig.received(b, first).decodable_frames < 3, "it has VP9");
    assert!(packets(&mut rig, b, first, SECOND) >= 25);
    assert_eq!(told(&rig, backup).len(), 1);
    let mids = rig.events.iter().filter_map(|event| match event {
        Event::Answer { mid_to_track, .. } => Some(mid_to_track),
        _ => None,
    });
    let mut named = mids.flatten().map(|(_, track)| *track);
    assert!(named.all(|track| track == first), "no client sees its sid");

    rig.leave(c);
    rig.run(6 * SECOND);
    assert_eq!(told(&rig, backup).len(), 1, "the other one needs it");
    rig.leave(d);
    rig.run(6 * SECOND);
    assert_eq!(told(&rig, backup)[1..], [None]);
    assert!(packets(&mut rig, b, first, SECOND) >= 25);
    let e = rig.join_without_vp9(true);
    assert!(rig.run_until(3 * SECOND, |rig| sees_all_of_it(rig, e, first)));
}

#[test]
fn where_one_codec_is_to_be_sent_everybody_gets_the_backup_as_soon_as_one_needs_it() {
    let mut rig = rig(2);
    let (a, b, c) = (rig.join(), rig.join(), rig.join_with_two());
    let (first, backup) = rig.publish_with_backup(a, true);
    rig.run(2 * SECOND);
    assert!(packets(&mut rig, b, first, SECOND) >= 25);
    let d = rig.join_without_vp9(false);
    rig.run(SECOND);
    rig.publish_backup(a, backup, first, true);
    for who in [b, c, d] {
        let sees = rig.run_until(3 * SECOND, |rig| sees_all_of_it(rig, who, first));
        assert!(sees, "{who}: {:?}", rig.received(who, first));
    }
    rig.run(6 * SECOND);
    assert_eq!(told(&rig, first), [None], "its encoder rests");
    let e = rig.join();
    assert!(rig.run_until(3 * SECOND, |rig| sees_all_of_it(rig, e, first)));
    assert_eq!(told(&rig, first).len(), 1);
    assert_eq!(rig.shard.stats().panics, 0);
}

#[test]
fn who_was_asked_for_a_backup_and_does_not_send_it_is_asked_again() {
    let mut rig = rig(3);
    let a = rig.join();
    let (_, backup) = rig.publish_with_backup(a, false);
    rig.join_without_vp9(false);
    rig.run(13 * SECOND);
    assert_eq!(told(&rig, backup), [Some(SpatialLayer::High); 3]);
}

#[test]
fn a_backup_ends_with_its_track_and_has_none_itself() {
    let mut rig = rig(4);
    let (a, b) = (rig.join(), rig.join_without_vp9(false));
    let (first, backup) = rig.publish_with_backup(a, false);
    rig.publish_backup(a, backup, first, false);
    assert!(rig.run_until(3 * SECOND, |rig| sees_all_of_it(rig, b, first)));
    let peer = rig.participants[b].sid;
    rig.command(SubscriptionCommand::Subscribe {
        peer,
        track: backup,
        setting: Default::default(),
    });
    assert_eq!(rig.shard.stats().down_tracks, 1, "nobody subscribes to it");
    let (_, another) = rig.publish_with_backup(b, false);
    let before = rig.shard.stats().up_tracks;
    // Of somebody else's track, of a track that has one, of a backup, of nothing.
    for (track, publisher) in [
        (first, b),
        (first, a),
        (another, b),
        ("TR_none".parse().unwrap(), a),
    ] {
        let peer = rig.participants[publisher].sid;
        let mut track = rig.backup("TR_new".parse().unwrap(), track, false, vec!["x".into()]);
        assert!(matches!(track.backup_of, Some(BackupOf { .. })));
        track.mime_type = "video/h264".into();
        rig.command(TrackCommand::Publish { peer, track });
    }
    assert_eq!(rig.shard.stats().up_tracks, before);
    let peer = rig.participants[a].sid;
    rig.command(TrackCommand::Unpublish { peer, track: first });
    assert_eq!(rig.shard.stats().up_tracks, before - 2);
    assert_eq!(rig.shard.stats().down_tracks, 1, "of the other's picture");
    rig.run(SECOND);
}

#[test]
fn a_publisher_that_gives_its_backup_up_is_asked_again_and_who_can_has_the_first_codec_back() {
    let mut rig = rig(5);
    let (a, b, c) = (rig.join(), rig.join(), rig.join_without_vp9(false));
    let (first, backup) = rig.publish_with_backup(a, true);
    rig.publish_backup(a, backup, first, true);
    for who in [b, c] {
        let sees = rig.run_until(3 * SECOND, |rig| sees_all_of_it(rig, who, first));
        assert!(sees, "{who}: {:?}", rig.received(who, first));
    }
    let asked = told(&rig, backup).len();
    let cid = format!("cid-{}", backup.as_str());
    rig.participants[a].connection.remove_track(&cid);
    rig.offer(a);
    rig.run(SECOND);
    assert_eq!(told(&rig, backup)[asked..], [Some(SpatialLayer::High)]);
    let frames = rig.received(b, first).frames;
    assert!(packets(&mut rig, b, first, SECOND) >= 25);
    assert_eq!(rig.received(b, first).frames, frames, "that is VP9");
}
