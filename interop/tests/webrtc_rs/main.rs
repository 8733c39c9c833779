//! Meetings of a participant on webrtc-rs with one on str0m: everything below data channels is another's code at its end.

mod meeting;
#[path = "../../../sfu/tests/rig/mod.rs"]
mod rig;

use client::media::MediaKind as ClientKind;
use interop::webrtc_rs::{
    CipherSuiteId, Config, Kind, RTCDtlsRole, SrtpProtectionProfile,
    rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication,
};
use meeting::{Meeting, SECOND, heard, seen};
use sfu::{
    DescriptionCommand, DisconnectReason, Event, SpatialLayer, SubscriptionCommand, TrackSetting,
};

/// Host and guest connect, on one PeerConnection or two, and each has what the other sends.
fn meet(config: &Config, two: bool, setup: Option<&'static str>) -> Meeting {
    let mut meeting = Meeting::new(config, two);
    meeting.guest.setup = setup;
    let own = meeting.publish(Kind::Audio);
    let camera = meeting.publish(Kind::Video);
    meeting.offer(false);
    meeting.run(3 * SECOND);
    assert!(meeting.guest.connection.is_connected());
    assert_eq!(meeting.guest.connected, 1);
    assert_eq!(meeting.guest.disconnected, None);
    assert_eq!(meeting.guest.failures, Vec::<String>::new());
    meeting.assert_all_have_all(own, camera, 2);
    meeting
}

#[test]
fn they_hear_and_see_each_other_whoever_begins_dtls() {
    // It offers `actpass`, and begins.
    let meeting = meet(&Config::default(), false, None);
    assert!(meeting.guest.answer.contains("a=setup:passive"));
    // It insists that we begin.
    let meeting = meet(&Config::default(), false, Some("a=setup:passive"));
    assert!(meeting.guest.answer.contains("a=setup:active"));
}

#[test]
fn they_hear_and_see_each_other_where_it_answers_our_offers() {
    for role in [None, Some(RTCDtlsRole::Client), Some(RTCDtlsRole::Server)] {
        let config = Config {
            dtls_role: role,
            ..Config::default()
        };
        meet(&config, true, None);
    }
}

#[test]
fn they_hear_and_see_each_other_under_each_protection_profile() {
    for profile in [
        SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    ] {
        let config = Config {
            profile: Some(profile),
            ..Config::default()
        };
        meet(&config, false, None);
        meet(&config, false, Some("a=setup:passive"));
    }
}

#[test]
fn they_hear_and_see_each_other_under_each_cipher_suite_that_is_not_weak() {
    let with = |suite| Config {
        suite: Some(suite),
        ..Config::default()
    };
    for setup in [None, Some("a=setup:passive")] {
        for suite in [
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
        ] {
            meet(&with(suite), false, setup);
        }
        let cbc = with(CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_256_Cbc_Sha);
        let mut meeting = Meeting::new(&cbc, false);
        meeting.guest.setup = setup;
        meeting.publish(Kind::Audio);
        meeting.offer(false);
        meeting.run(20 * SECOND);
        assert_eq!(meeting.guest.connected, 0);
        assert!(!meeting.guest.connection.is_connected());
        assert_ne!(meeting.guest.disconnected, None);
    }
}

/// With one or two lost a flight has a hole, with three it is gone.
#[test]
fn a_handshake_survives_losses_whoever_begins_it() {
    for lost in [1, 2, 3] {
        for setup in [None, Some("a=setup:passive")] {
            for (ours, theirs) in [(lost, 0), (0, lost), (lost, lost)] {
                let mut meeting = Meeting::new(&Config::default(), false);
                meeting.guest.setup = setup;
                meeting.lost_dtls = theirs;
                meeting.rig.lost_dtls = ours as u32;
                meeting.publish(Kind::Audio);
                meeting.offer(false);
                meeting.run(14 * SECOND);
                assert!(
                    meeting.guest.connection.is_connected() && meeting.guest.connected == 1,
                    "{ours} of ours and {theirs} of theirs lost, {setup:?}"
                );
            }
        }
    }
}

#[test]
fn who_says_goodbye_is_gone_at_once() {
    let mut meeting = meet(&Config::default(), false, None);
    meeting.guest.connection.close().unwrap();
    meeting.run(SECOND / 10);
    let gone = Some(DisconnectReason::ClosedByPeer);
    assert_eq!(meeting.guest.disconnected, gone);
}

#[test]
fn tracks_that_come_later_arrive() {
    for two in [false, true] {
        let mut meeting = meet(&Config::default(), two, None);
        let own = meeting.publish(Kind::Video);
        meeting.offer(false);
        let other = meeting.rig.publish(0, ClientKind::Video, &[]);
        meeting.run(3 * SECOND);
        for (who, got) in [
            ("guest", meeting.got(other)),
            ("host", meeting.host_got(own)),
        ] {
            let (pictures, broken) = seen(&got);
            assert!(
                pictures > 80 && broken == 0,
                "{who}: {pictures}, {broken} broken"
            );
        }
    }
}

#[test]
fn the_layers_of_its_simulcast_are_told_apart() {
    let mut meeting = meet(&Config::default(), false, None);
    let camera = meeting.publish_simulcast();
    meeting.offer(false);
    meeting.run(5 * SECOND);
    let layers = meeting.rig.events.iter().filter_map(|event| match event {
        Event::TrackActive { track, layer, .. } if *track == camera => Some(*layer),
        _ => None,
    });
    let layers: Vec<_> = layers.collect();
    for layer in [SpatialLayer::Low, SpatialLayer::Medium, SpatialLayer::High] {
        assert!(layers.contains(&layer), "{layers:?}");
    }
    let (pictures, broken) = seen(&meeting.host_got(camera));
    assert!(
        pictures > 4 * 29 && broken == 0,
        "{pictures} pictures, {broken} packets missing"
    );
}

#[test]
fn media_goes_on_through_an_ice_restart() {
    let mut meeting = meet(&Config::default(), false, None);
    let before = (ufrag(&meeting.guest.offer), ufrag(&meeting.guest.answer));
    meeting.offer(true);
    let after = (ufrag(&meeting.guest.offer), ufrag(&meeting.guest.answer));
    assert!(before.0 != after.0 && before.1 != after.1);
    // It takes nothing until its first check is answered, which is a fifth of a second of losses to us: then the picture
    // waits until there is an estimate of its network again.
    goes_on(&mut meeting, 36);
}

#[test]
fn media_goes_on_through_an_ice_restart_of_ours() {
    let mut meeting = meet(&Config::default(), true, None);
    let before = ufrag(&meeting.guest.offered);
    meeting.rig.command(DescriptionCommand::OfferSubscriber {
        peer: meeting.guest.sid,
        restart_ice: true,
    });
    goes_on(&mut meeting, 39);
    assert_ne!(before, ufrag(&meeting.guest.offered));
}

fn ufrag(sdp: &str) -> String {
    let line = sdp.lines().find(|line| line.starts_with("a=ice-ufrag:"));
    line.unwrap().to_owned()
}

/// For longer than a path without consent lives; and so many seconds of it have a picture.
fn goes_on(meeting: &mut Meeting, seconds: usize) {
    let had = |meeting: &Meeting| {
        let (heard, _) = heard(&meeting.got(meeting.voice));
        let (seen, _) = seen(&meeting.got(meeting.picture));
        (heard, seen)
    };
    let before = had(meeting);
    meeting.run(40 * SECOND);
    assert_eq!(meeting.guest.disconnected, None);
    let after = had(meeting);
    let (heard, seen) = (after.0 - before.0, after.1 - before.1);
    assert!(
        heard > 39 * 50 && seen > seconds * 29,
        "{heard} voice packets, {seen} pictures"
    );
}

#[test]
fn what_a_network_loses_is_sent_again_both_ways() {
    let mut meeting = meet(&Config::default(), false, None);
    let picture = meeting.picture;
    let own = meeting.publish(Kind::Video);
    meeting.offer(false);
    meeting.loss = 0.03;
    meeting.run(10 * SECOND);
    meeting.loss = 0.0;
    meeting.run(SECOND);
    for (who, got) in [
        ("guest", meeting.got(picture)),
        ("host", meeting.host_got(own)),
    ] {
        let (pictures, missing) = seen(&got);
        assert!(
            pictures > 10 * 27 && missing == 0,
            "{who}: {pictures} pictures, {missing} packets missing"
        );
    }
    assert!(meeting.guest.connection.feedback().nacks > 0);
}

#[test]
fn key_frames_are_asked_for_both_ways() {
    let mut meeting = meet(&Config::default(), false, None);
    let picture = meeting.picture;
    let own = meeting.publish(Kind::Video);
    meeting.offer(false);
    meeting.run(SECOND);
    let before = meeting.guest.connection.feedback().key_frame_requests;
    // Who comes in the middle of a picture needs one.
    let late = meeting.rig.join();
    let peer = meeting.rig.participants[late].sid;
    meeting.rig.command(SubscriptionCommand::Subscribe {
        peer,
        track: own,
        setting: TrackSetting::default(),
    });
    meeting.run(SECOND);
    assert!(meeting.guest.connection.feedback().key_frame_requests > before);
    let now = meeting.rig.now;

    let sections = &meeting.guest.tracks;
    let (mid, _) = sections.iter().find(|(_, sid)| **sid == picture).unwrap();
    let mid = mid.clone();
    let media_ssrc = meeting.guest.packets[&mid][0].header.ssrc;
    let before = meeting.rig.participants[0].key_frame_requests;
    let request = PictureLossIndication {
        sender_ssrc: 1,
        media_ssrc,
    };
    meeting
        .guest
        .connection
        .write_rtcp(&mid, Box::new(request), now)
        .unwrap();
    meeting.run(SECOND);
    assert!(meeting.rig.participants[0].key_frame_requests > before);
}
