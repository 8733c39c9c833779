use super::*;
use slotmap::SlotMap;

fn track() -> UpTrack {
    let size = |layer, width, height| LayerSize {
        layer,
        width,
        height,
    };
    let announced = PublishedTrack {
        sid: "TR_VCabc".parse().unwrap(),
        kind: MediaKind::Video,
        cids: vec![],
        stream: "camera".into(),
        muted: false,
        audio: Default::default(),
        mime_type: String::new(),
        backup_of: None,
        layers: vec![
            size(SpatialLayer::Low, 320, 180),
            size(SpatialLayer::Medium, 640, 360),
            size(SpatialLayer::High, 1280, 720),
        ],
    };
    let mut track = UpTrack::new(
        announced,
        SlotMap::<MemberKey, ()>::with_key().insert(()),
        SlotMap::<RouterKey, ()>::with_key().insert(()),
    );
    track.codec = Some(Codec::Vp8);
    track
}

fn activate(track: &mut UpTrack, layer: SpatialLayer, now: Instant) {
    track.open_layer(layer, layer as u32 + 1, &mut StreamIds::default());
    track.arrived(layer as u8, RtpTime(0), false, now);
}

fn wish(max_layer: SpatialLayer, width: u32, height: u32) -> TrackSetting {
    TrackSetting {
        disabled: false,
        max_layer,
        width,
        height,
    }
}

#[test]
fn the_best_active_layer_within_the_wish_is_chosen() {
    let (mut track, now) = (track(), Instant::now());
    let high = wish(SpatialLayer::High, 0, 0);
    assert_eq!(track.choose_layer(&high), NO_LAYER);
    activate(&mut track, SpatialLayer::Low, now);
    assert_eq!(track.choose_layer(&high), 0);
    activate(&mut track, SpatialLayer::High, now);
    assert_eq!(track.choose_layer(&high), 2);
    assert_eq!(track.choose_layer(&wish(SpatialLayer::Medium, 0, 0)), 0);
    assert_eq!(track.choose_layer(&wish(SpatialLayer::High, 300, 170)), 0);
    activate(&mut track, SpatialLayer::Medium, now);
    assert_eq!(track.choose_layer(&wish(SpatialLayer::Low, 680, 380)), 1);
    assert_eq!(track.choose_layer(&wish(SpatialLayer::Low, 4000, 2000)), 2);
    track.muted = true;
    assert_eq!(track.choose_layer(&high), NO_LAYER);
}

#[test]
fn within_an_svc_stream_wish_and_share_are_counted_from_the_top() {
    let (mut track, now) = (track(), Instant::now());
    activate(&mut track, SpatialLayer::High, now);
    let high = wish(SpatialLayer::High, 0, 0);
    for (count, expected) in [(1, [0, 0, 0]), (2, [0, 0, 1]), (3, [0, 1, 2])] {
        let open = track.layer(2).unwrap();
        open.spatial.describe(count, u8::MAX);
        for spatial in 0..count {
            let picture = Picture {
                spatial,
                ..Picture::default()
            };
            let time = RtpTime(0);
            open.spatial.received(Some(&picture), time, 1000, now);
        }
        for (share, expected) in (0..3).zip(expected) {
            let choice = track.choose(&high, Share::UpTo(share));
            assert_eq!((choice.stream, choice.target.spatial), (2, expected));
        }
        let rates = track.rates(now);
        assert_eq!(rates.iter().flatten().count(), usize::from(count));
        assert!(rates.is_sorted(), "each costs those below too: {rates:?}");
    }
    assert_eq!(track.choose(&high, Share::Paused).stream, NO_LAYER);
}

#[test]
fn something_is_better_than_nothing() {
    let (mut track, now) = (track(), Instant::now());
    activate(&mut track, SpatialLayer::High, now);
    assert_eq!(track.choose_layer(&wish(SpatialLayer::Low, 0, 0)), 2);
}

#[test]
fn a_layer_expires_only_while_another_lives() {
    let (mut track, now) = (track(), Instant::now());
    activate(&mut track, SpatialLayer::Low, now);
    activate(&mut track, SpatialLayer::High, now);
    let later = now + Duration::from_secs(9);
    assert!(!track.expire_layers(later), "all are silent");
    for frame in 1..=MISSED_FRAMES {
        assert!(!track.expire_layers(now + LAYER_TIMEOUT), "frame {frame}");
        track.arrived(SpatialLayer::Low as u8, RtpTime(0), true, later);
    }
    assert!(!track.expire_layers(now + LAYER_TIMEOUT / 2), "a burst");
    assert!(track.expire_layers(now + LAYER_TIMEOUT));
    assert_eq!(track.choose_layer(&wish(SpatialLayer::High, 0, 0)), 0);
    assert!(
        track.arrived(SpatialLayer::High as u8, RtpTime(0), false, later),
        "it woke"
    );
}

#[test]
fn key_frame_requests_merge_and_repeat() {
    let (mut track, now) = (track(), Instant::now());
    let layer = track.open_layer(SpatialLayer::Low, 1, &mut StreamIds::default());
    assert!(!layer.take_key_frame_request(now));
    layer.want_key_frame();
    layer.want_key_frame();
    let sent: Vec<_> = (0..1000)
        .filter(|ms| layer.take_key_frame_request(now + Duration::from_millis(*ms)))
        .collect();
    assert_eq!(
        sent[..12],
        [0, 30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 330]
    );
    assert_eq!(sent[12..], [580, 830]);
    layer.key_frame_arrived();
    assert!(!layer.take_key_frame_request(now + Duration::from_secs(9)));
    layer.want_key_frame();
    assert!(layer.take_key_frame_request(now + Duration::from_secs(9)));
}
