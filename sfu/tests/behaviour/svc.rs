//! Layers within one stream (SVC): each viewer gets what its layer builds on, and no more; the picture never breaks.

use std::time::Duration;

use crate::rig::{
    Rig,
    svc::{Prediction, Seen, Source, decode},
};
use client::media::IncomingPacket;
use protocol::TrackSid;
use sfu::{SpatialLayer, SubscriptionCommand, TrackSetting};

const SECOND: Duration = Duration::from_secs(1);
const MODES: [Prediction; 3] = [
    Prediction::Always,
    Prediction::KeyPictures,
    Prediction::Never,
];

/// Somebody who sends a picture with layers, and viewers.
struct Meeting {
    rig: Rig,
    ada: usize,
    viewers: Vec<usize>,
    track: TrackSid,
    prediction: Prediction,
}

impl Meeting {
    fn new(seed: u64, prediction: Prediction, viewers: usize) -> Self {
        let mut rig = Rig::new(seed);
        rig.vp9 = true;
        rig.packets = true;
        let ada = rig.join();
        let viewers: Vec<_> = (0..viewers).map(|_| rig.join()).collect();
        rig.run(SECOND);
        let track = rig.publish_svc(ada, Source::new(prediction));
        rig.run(2 * SECOND);
        Self {
            rig,
            ada,
            viewers,
            track,
            prediction,
        }
    }

    fn want(&mut self, viewer: usize, max_layer: SpatialLayer) {
        let setting = TrackSetting {
            max_layer,
            ..TrackSetting::default()
        };
        let peer = self.rig.participants[self.viewers[viewer]].sid;
        let track = self.track;
        self.rig.command(SubscriptionCommand::SetSetting {
            peer,
            track,
            setting,
        });
    }

    fn packets(&self, viewer: usize) -> Vec<IncomingPacket> {
        let p = &self.rig.participants[self.viewers[viewer]];
        let mid = p.tracks.iter().find(|(_, sid)| **sid == self.track);
        let mid = mid.map(|(mid, _)| mid.as_str());
        let of_track = p.packets.iter().filter(|(of, _)| Some(of.as_str()) == mid);
        of_track.map(|(_, packet)| packet.clone()).collect()
    }

    /// All that a viewer saw so far.
    fn seen(&self, viewer: usize) -> Vec<Seen> {
        decode(&self.packets(viewer), self.prediction)
    }

    /// What a viewer sees within this time.
    fn sees(&mut self, viewer: usize, time: Duration) -> Vec<Seen> {
        let before = self.seen(viewer).len();
        self.rig.run(time);
        self.seen(viewer).split_off(before)
    }

    fn asked(&self) -> usize {
        self.rig.participants[self.ada].key_frame_requests
    }
}

fn kilobits(seen: &[Seen], time: Duration) -> f64 {
    let bytes: usize = seen.iter().map(|picture| picture.bytes).sum();
    bytes as f64 * 8.0 / 1000.0 / time.as_secs_f64()
}

#[test]
fn a_viewer_of_a_high_layer_pays_for_lower_ones_only_where_it_builds_on_them() {
    for (prediction, expected) in [
        (Prediction::Always, [242.0, 727.0, 1697.0]),
        (Prediction::KeyPictures, [242.0, 485.0, 970.0]),
        (Prediction::Never, [242.0, 485.0, 970.0]),
    ] {
        let mut meeting = Meeting::new(1, prediction, 3);
        meeting.want(0, SpatialLayer::Low);
        meeting.want(1, SpatialLayer::Medium);
        meeting.rig.run(SECOND);
        for (viewer, expected) in expected.into_iter().enumerate() {
            let seen = meeting.sees(viewer, 5 * SECOND);
            assert!((149..=153).contains(&seen.len()), "{}", seen.len());
            let layer = viewer as u8;
            assert!(
                seen.iter().all(|picture| picture.layer == layer),
                "{prediction:?} {layer}"
            );
            let rate = kilobits(&seen, 5 * SECOND);
            assert!(
                (rate / expected - 1.0).abs() < 0.03,
                "{prediction:?} {layer}: {rate}"
            );
        }
    }
}

#[test]
fn another_layer_is_there_at_once_and_no_picture_breaks() {
    for prediction in MODES {
        let mut meeting = Meeting::new(2, prediction, 2);
        let wishes = [
            SpatialLayer::Low,
            SpatialLayer::High,
            SpatialLayer::Medium,
            SpatialLayer::Low,
            SpatialLayer::Medium,
            SpatialLayer::High,
        ];
        for wish in wishes {
            meeting.rig.run(SECOND);
            let asked = meeting.asked();
            meeting.want(0, wish);
            let seen = meeting.sees(0, SECOND);
            let arrived = seen.iter().position(|picture| picture.layer == wish as u8);
            assert!(
                arrived.is_some_and(|after| after <= 4),
                "{prediction:?} {wish:?}: {arrived:?}"
            );
            assert!(seen.len() >= 29, "and nothing stands still: {}", seen.len());
            assert!(seen[5..].iter().all(|picture| picture.layer == wish as u8));
            assert!(meeting.asked() - asked <= 1, "{prediction:?} {wish:?}");
        }
        // The other one has all the time what it had.
        assert!(
            meeting.seen(1)[1..]
                .iter()
                .all(|picture| picture.layer == 2)
        );
    }
}

#[test]
fn where_lower_layers_go_out_anyway_nobody_waits_for_a_key_picture_to_fall() {
    let mut meeting = Meeting::new(3, Prediction::Always, 1);
    meeting.rig.run(SECOND);
    let asked = meeting.asked();
    for wish in [SpatialLayer::Medium, SpatialLayer::Low] {
        meeting.want(0, wish);
        let seen = meeting.sees(0, SECOND);
        assert!(seen[2..].iter().all(|picture| picture.layer == wish as u8));
    }
    assert_eq!(meeting.asked(), asked);
}

#[test]
fn a_layer_that_its_sender_switches_off_leaves_its_viewers_the_next_lower_one() {
    for prediction in MODES {
        let mut meeting = Meeting::new(4, prediction, 1);
        let ada = meeting.ada;
        meeting.rig.run(SECOND);
        meeting.rig.svc(ada).active = 2;
        meeting.rig.run(SECOND);
        let seen = meeting.sees(0, SECOND);
        assert!(
            seen.len() >= 29 && seen.iter().all(|picture| picture.layer == 1),
            "{prediction:?}"
        );
        let asked = meeting.asked();
        meeting.rig.run(5 * SECOND);
        assert_eq!(
            meeting.asked(),
            asked,
            "{prediction:?}: it is not missed for ever"
        );
        meeting.rig.svc(ada).active = 3;
        meeting.rig.run(SECOND);
        let seen = meeting.sees(0, SECOND);
        assert!(
            seen.iter().all(|picture| picture.layer == 2),
            "{prediction:?}: and back"
        );
    }
}

#[test]
fn a_narrow_network_gets_the_best_layer_that_fits_by_itself() {
    // 970 kbit/s of the highest layer fit; with the lower ones, 1700 would not.
    for (rate, layer) in [(1_400_000, 2), (800_000, 1), (400_000, 0)] {
        let mut meeting = Meeting::new(5, Prediction::KeyPictures, 2);
        let viewer = meeting.viewers[0];
        meeting.rig.narrow(viewer, rate, Duration::from_millis(200));
        meeting.rig.run(20 * SECOND);
        let before = meeting.packets(0).len();
        meeting.rig.run(10 * SECOND);
        let packets = meeting.packets(0).split_off(before);
        let layers = packets.iter().map(|packet| packet.payload[3] >> 1 & 7);
        let best = layers.clone().filter(|l| *l == layer).count();
        let all = layers.count();
        assert!(
            best * 10 >= all * 8,
            "{rate}: {best} of {all} packets are of layer {layer}"
        );
        meeting.rig.widen(viewer);
        meeting.rig.run(15 * SECOND);
        let before = meeting.packets(0).len();
        meeting.rig.run(2 * SECOND);
        let packets = meeting.packets(0).split_off(before);
        assert!(
            packets.iter().all(|packet| packet.payload[3] >> 1 & 7 == 2),
            "and the large one again"
        );
        // The other one notices nothing.
        assert!(
            meeting.seen(1)[1..]
                .iter()
                .all(|picture| picture.layer == 2)
        );
    }
}

#[test]
fn who_never_sends_a_key_picture_is_asked_now_and_then() {
    let mut meeting = Meeting::new(6, Prediction::KeyPictures, 8);
    let ada = meeting.ada;
    meeting.rig.svc(ada).obeys = false;
    meeting.rig.run(SECOND);
    let asked = meeting.asked();
    for i in 0..200 {
        let layer = [SpatialLayer::Low, SpatialLayer::Medium, SpatialLayer::High][i % 3];
        meeting.want(i % 8, layer);
        meeting.rig.run(Duration::from_millis(50));
    }
    let asked = meeting.asked() - asked;
    assert!(asked <= 12 + 4 * 10 + 1, "{asked} requests within 10 s");
    for viewer in 0..8 {
        let seen = meeting.seen(viewer);
        assert!(seen.len() > 350 && seen[1..].iter().all(|picture| picture.layer == 2));
    }
}

#[test]
fn whatever_a_sender_says_of_its_layers_costs_its_own_picture_only() {
    let mut meeting = Meeting::new(7, Prediction::KeyPictures, 2);
    let mallory = meeting.rig.join();
    meeting.rig.run(SECOND);
    let lies = meeting
        .rig
        .publish_svc(mallory, Source::new(Prediction::Always));
    meeting.rig.svc(mallory).lies = true;
    for i in 0..40 {
        let layer = [SpatialLayer::Low, SpatialLayer::Medium, SpatialLayer::High][i % 3];
        let track = std::mem::replace(&mut meeting.track, lies);
        meeting.want(i % 2, layer);
        meeting.track = track;
        meeting.rig.run(Duration::from_millis(250));
    }
    assert_eq!(meeting.rig.shard.stats().panics, 0);
    for viewer in 0..2 {
        let seen = meeting.sees(viewer, SECOND);
        assert!(seen.len() >= 29 && seen.iter().all(|picture| picture.layer == 2));
    }
    // Requests for key pictures are few, whoever is asked.
    let asked = meeting.rig.participants[mallory].key_frame_requests;
    assert!(asked <= 12 + 4 * 12, "{asked}");
}
