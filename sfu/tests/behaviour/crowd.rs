//! Meetings of many, and publishers that do not keep to what was agreed.

use std::time::Duration;

use crate::attacker::{Attacker, EAR, EYE, MID, PICTURE, VOICE};
use crate::rig::Rig;
use sfu::{Event, MediaKind, SubscriptionCommand, TrackCommand, TrackSetting, stats::DropReason};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The others of a meeting: each publishes sound and a picture, and needs no connection for that. Returns the tracks.
fn others(rig: &mut Rig, count: u8) -> Vec<protocol::TrackSid> {
    let mut tracks = Vec::new();
    for number in 1..=count {
        let one = Attacker::join(rig, number, &[VOICE, PICTURE]);
        for (kind, cid) in [(MediaKind::Audio, "voice"), (MediaKind::Video, "picture")] {
            let sid = format!("TR_{kind:?}{number}").parse().unwrap();
            rig.command(TrackCommand::Publish {
                peer: one.sid,
                track: sfu::PublishedTrack {
                    sid,
                    kind,
                    cids: vec![cid.to_owned()],
                    stream: "camera".into(),
                    muted: false,
                    audio: Default::default(),
                    mime_type: String::new(),
                    backup_of: None,
                    layers: Vec::new(),
                },
            });
            tracks.push(sid);
        }
    }
    tracks
}

fn join(rig: &mut Rig, two: bool) -> usize {
    match two {
        true => rig.join_with_two(),
        false => rig.join(),
    }
}

fn has_all(rig: &Rig, index: usize, tracks: &[protocol::TrackSid]) -> bool {
    let mut has: Vec<_> = rig.participants[index].tracks.values().copied().collect();
    has.sort_unstable();
    let mut wanted = tracks.to_vec();
    wanted.sort_unstable();
    has == wanted
}

fn nobody_failed(rig: &Rig) {
    let failed = |event: &&Event| {
        matches!(
            event,
            Event::SubscriptionFailed { .. }
                | Event::NegotiationFailed { .. }
                | Event::TrackRefused { .. }
        )
    };
    assert_eq!(rig.events.iter().find(failed), None);
}

#[test]
fn whoever_comes_to_a_hundred_and_sixty_others_has_all_tracks_over_one_connection_and_over_two() {
    for two in [false, true] {
        let mut rig = Rig::new(170);
        let tracks = others(&mut rig, 160);
        let late = join(&mut rig, two);
        let peer = rig.participants[late].sid;
        for track in &tracks {
            rig.command(SubscriptionCommand::Subscribe {
                peer,
                track: *track,
                setting: TrackSetting::default(),
            });
        }
        let limit = 10 * SECOND;
        let done = rig.run_until(limit, |rig| has_all(rig, late, &tracks));
        let has = rig.participants[late].tracks.len();
        assert!(done, "{has} of {}", tracks.len());
        nobody_failed(&rig);
    }
}

#[test]
fn sixty_people_who_come_one_after_the_other_are_all_received() {
    for two in [false, true] {
        let mut rig = Rig::new(171);
        let first = join(&mut rig, two);
        rig.run(SECOND);
        let tracks = others(&mut rig, 60);
        let limit = 10 * SECOND;
        let done = rig.run_until(limit, |rig| has_all(rig, first, &tracks));
        let has = rig.participants[first].tracks.len();
        assert!(done, "{has} of {}", tracks.len());
        nobody_failed(&rig);
    }
}

/// A client takes seconds to describe hundreds of sections. Were it asked for them again meanwhile, it would add them once more,
/// and its offer would grow until it is longer than any that is read.
#[test]
fn who_takes_long_to_offer_is_asked_for_each_section_once_and_seldom_to_hurry() {
    let mut rig = Rig::new(172);
    // Where nobody sends anything nobody misses anything.
    let speaker = rig.join();
    rig.publish(speaker, client::media::MediaKind::Audio, &[]);
    let tracks = others(&mut rig, 40);
    let mut late = Attacker::join(&mut rig, 99, &[EAR, EYE]).connected(&mut rig);
    let begun = rig.events.len();
    for track in &tracks {
        late.subscribe(&mut rig, *track);
        late.step(&mut rig);
    }
    let end = rig.now + 20 * SECOND;
    while rig.now < end {
        late.step(&mut rig);
        rig.run(100 * MS);
    }
    let asked = rig.events[begun..].iter().filter_map(|event| match event {
        Event::NegotiationNeeded { peer, missing } if *peer == late.sid => Some(*missing),
        _ => None,
    });
    let asked: Vec<_> = asked.collect();
    let count = |of: fn(&sfu::MediaSections) -> u32| asked.iter().map(of).sum::<u32>();
    let (audios, videos) = (count(|m| m.audios), count(|m| m.videos));
    assert_eq!(
        (audios, videos),
        (39, 39),
        "the first offer has one of each"
    );
    let hurried = asked.iter().filter(|m| m.audios + m.videos == 0).count();
    assert!((3..=12).contains(&hurried), "{hurried}");
    assert!(rig.shard.stats().repairs.asked > 0);
}

/// One packet with a whole key frame of 320x180 in VP8 (RFC 7741).
const VP8: [u8; 14] = [
    0x10, 0x10, 0x00, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00, 0, 0, 0,
];

#[test]
fn a_publisher_that_changes_its_codec_in_mid_stream_is_dropped_counted_and_told() {
    let mut rig = Rig::new(172);
    let viewer = rig.join();
    let with_vp9 = |offer: String| {
        offer
            .replace("SAVPF 96 97", "SAVPF 96 97 98 99")
            .replace(
                "a=fmtp:97 apt=96\r\n",
                "a=fmtp:97 apt=96\r\na=rtpmap:98 VP9/90000\r\na=rtcp-fb:98 nack\r\na=rtpmap:99 rtx/90000\r\na=fmtp:99 apt=98\r\n",
            )
    };
    let sections = [VOICE, PICTURE];
    let mut mallory = Attacker::join_as(&mut rig, 1, &sections, with_vp9).connected(&mut rig);
    let picture = mallory.publish(&mut rig, MediaKind::Video, "picture");
    rig.run(SECOND);
    let codecs = |rig: &Rig| {
        let sid = mallory.sid;
        let mut answers = rig.events.iter().filter_map(|event| match event {
            Event::Answer { peer, sdp, .. } if *peer == sid => Some(sdp.as_str()),
            _ => None,
        });
        let answer = answers.next_back().unwrap();
        let line = answer.lines().find(|line| line.starts_with("m=video"));
        line.unwrap().trim().to_owned()
    };
    assert!(codecs(&rig).ends_with(" 96 97 98 99"), "{}", codecs(&rig));
    let told = |rig: &Rig| {
        let told = |event: &&Event| matches!(event, Event::NegotiationNeeded { peer, .. } if *peer == mallory.sid);
        rig.events.iter().filter(told).count()
    };
    let mut sent = 0;
    let mut send = |rig: &mut Rig, payload_type: u8, ssrc: u32| {
        for _ in 0..20 {
            sent += 1;
            let packet = mallory.rtp((ssrc, 1000 + sent), payload_type, &[(MID, b"1")], &VP8);
            rig.inject(mallory.address, &packet);
            rig.run(20 * MS);
        }
        rig.received(viewer, picture).packets
    };
    let before = send(&mut rig, 96, 77);
    assert!(before >= 19, "{before}");
    assert_eq!(told(&rig), 0);
    // The same stream in another codec, and another stream of the same layer.
    let dropped = |rig: &Rig| rig.shard.stats().drops(DropReason::OtherCodec);
    assert_eq!(send(&mut rig, 98, 77), before);
    assert_eq!(send(&mut rig, 98, 78), before);
    assert_eq!(send(&mut rig, 99, 79), before);
    // Never negotiated.
    assert_eq!(send(&mut rig, 100, 77), before);
    assert_eq!(dropped(&rig), 80);
    assert_eq!(told(&rig), 1, "once in five seconds");
    // What was agreed goes on, in the stream in which it began.
    let after = send(&mut rig, 96, 77);
    assert_eq!(after, before + 20);
    assert!(mallory.offer(&mut rig, &sections, with_vp9));
    let line = rig.events.iter().rev().find_map(|event| match event {
        Event::Answer { peer, sdp, .. } if *peer == mallory.sid => {
            let line = sdp.lines().find(|line| line.starts_with("m=video"));
            line.map(|line| line.trim().to_owned())
        }
        _ => None,
    });
    assert!(line.as_ref().unwrap().ends_with("SAVPF 96 97"), "{line:?}");
}

/// One packet with a whole key picture in H.264: SPS, PPS and IDR in a STAP-A (RFC 6184, section 5.7.1).
const H264: [u8; 20] = [
    0x78, 0, 5, 0x67, 0x42, 0xe0, 0x1f, 0x8c, 0, 4, 0x68, 0xce, 0x3c, 0x80, 0, 4, 0x65, 0x88, 0x84,
    0x21,
];

#[test]
fn a_publisher_may_send_whichever_variant_of_its_codec_everybody_can_decode() {
    // pion offers several; what it sends is the one that its application names, not the first.
    let offered = |offer: String| {
        let h264 = |number: u8, profile: &str| {
            format!(
                "a=rtpmap:{number} H264/90000\r\na=rtcp-fb:{number} nack\r\na=rtcp-fb:{number} nack pli\r\n\
                 a=fmtp:{number} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile}\r\n"
            )
        };
        let rows = [(102, "42001f"), (125, "42e01f"), (123, "640032")];
        let rows: String = rows.map(|(number, profile)| h264(number, profile)).concat();
        offer
            .replace("SAVPF 96 97", "SAVPF 102 125 123")
            .lines()
            .filter(|line| {
                !["a=rtpmap:9", "a=fmtp:9", "a=rtcp-fb:9"]
                    .iter()
                    .any(|start| line.starts_with(start))
            })
            .map(|line| {
                match ["a=mid:1", "a=mid:3"]
                    .iter()
                    .any(|mid| line.starts_with(mid))
                {
                    true => format!("{line}\r\n{rows}"),
                    false => format!("{line}\r\n"),
                }
            })
            .collect()
    };
    let mut rig = Rig::new(173);
    let mallory = Attacker::join_as(&mut rig, 1, &[VOICE, PICTURE], offered).connected(&mut rig);
    let mut viewer = Attacker::join_as(&mut rig, 2, &[EAR, EYE], offered).connected(&mut rig);
    let picture = mallory.publish(&mut rig, MediaKind::Video, "picture");
    viewer.subscribe(&mut rig, picture);
    assert!(viewer.offer(&mut rig, &[EAR, EYE], offered));
    let mut sent = 0;
    let mut send = |rig: &mut Rig, payload_type: u8| {
        for _ in 0..20 {
            sent += 1;
            let packet = mallory.rtp((77, 1000 + sent), payload_type, &[(MID, b"1")], &H264);
            rig.inject(mallory.address, &packet);
            rig.run(20 * MS);
        }
        viewer.step(rig);
        viewer.received.len()
    };
    let first = send(&mut rig, 102);
    assert!(first >= 19, "{first}");
    let second = send(&mut rig, 125);
    assert!(second >= first + 20, "{second} after {first}");
    assert_eq!(rig.shard.stats().drops(DropReason::OtherCodec), 0);
    // Decoders that were promised baseline do not take high profile.
    let third = send(&mut rig, 123);
    assert_eq!(rig.shard.stats().drops(DropReason::OtherCodec), 20);
    assert!(third < second + 20, "{third} after {second}");
}
