//! What is answered to the codecs and layers of an offer.

use super::*;

#[test]
fn paused_and_reversed_simulcast_layers_are_all_accepted() {
    let layers = |lines: &str| {
        let mut state = negotiation();
        state.publish(&published("TR_V", MediaKind::Video, "v"));
        let layout = [Offered::new("0", "video", "sendonly").cid("v").extra(lines)];
        let negotiated = state
            .take_offer(&offer(&layout), &local(1), fresh_ssrc)
            .expect("offer");
        let bound = negotiated.newly_bound[0]
            .layers
            .iter()
            .map(|layer| (layer.rid.clone(), layer.layer as u8))
            .collect::<Vec<_>>();
        (bound, negotiated.answer)
    };
    let rids = "a=rid:f send\r\na=rid:h send\r\na=rid:q send\r\n";
    let (bound, answer) = layers(&format!("{rids}a=simulcast:send f;~h;~q\r\n"));
    assert_eq!(
        bound,
        [
            ("f".to_owned(), 2),
            ("h".to_owned(), 1),
            ("q".to_owned(), 0)
        ]
    );
    assert!(
        answer
            .contains("a=rid:f recv\r\na=rid:h recv\r\na=rid:q recv\r\na=simulcast:recv f;h;q\r\n")
    );
    let (bound, _) = layers("a=rid:q send\r\na=rid:h send\r\na=simulcast:send q;h\r\n");
    assert_eq!(bound, [("q".to_owned(), 0), ("h".to_owned(), 1)]);
    let (bound, _) = layers("a=rid:x send\r\na=rid:h send\r\na=simulcast:send x;h\r\n");
    assert_eq!(
        bound,
        [("x".to_owned(), 0), ("h".to_owned(), 1)],
        "unknown names count by order"
    );
    let (bound, answer) = layers("a=rid:q send\r\n");
    assert_eq!(bound, [("q".to_owned(), 2)], "the only one is the highest");
    assert!(!answer.contains("simulcast"));
    let four = "a=rid:1 send\r\na=rid:2 send\r\na=rid:3 send\r\na=rid:4 send\r\na=simulcast:send 1;2;3;4\r\n";
    let (bound, answer) = layers(four);
    assert_eq!(bound.len(), 3);
    assert!(answer.contains("a=simulcast:recv 1;2;3\r\n"));
}

#[test]
fn opus_wishes_are_answered_and_a_late_wish_asks_for_another_offer() {
    let mut state = negotiation();
    let layout = [
        Offered::new("0", "audio", "sendonly")
            .cid("a")
            .extra("a=rtcp-fb:111 nack\r\n"),
        Offered::new("1", "audio", "recvonly"),
    ];
    let negotiated = state
        .take_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(
        section(&negotiated.answer, "0").codecs[0].fmtp,
        "minptime=10;useinbandfec=1"
    );
    assert!(section(&negotiated.answer, "0").codecs[0].has_feedback("nack"));
    assert!(!state.needs_renegotiation());
    let music = PublishedTrack {
        audio: AudioFeatures {
            stereo: true,
            dtx: true,
            red: false,
        },
        ..published("TR_A", MediaKind::Audio, "a")
    };
    assert!(state.publish(&music).bound.is_some());
    assert!(state.needs_renegotiation());
    let negotiated = state
        .take_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer");
    let wanted = "minptime=10;useinbandfec=1;usedtx=1;stereo=1;maxaveragebitrate=510000";
    // libwebrtc complains when one payload type means two things in one bundle.
    assert_eq!(section(&negotiated.answer, "0").codecs[0].fmtp, wanted);
    assert_eq!(section(&negotiated.answer, "1").codecs[0].fmtp, wanted);
    assert_eq!(state.receive_sections()[0].codecs[0].fmtp, wanted);
    assert!(!state.needs_renegotiation());
}

#[test]
fn only_vp8_without_rtx_is_offered_by_some_clients() {
    let text = offer(&[
        Offered::new("0", "video", "sendonly").cid("v"),
        Offered::new("1", "video", "recvonly"),
    ])
    .replace(" 96 97 98", " 96");
    let mut state = negotiation();
    state.publish(&published("TR_V", MediaKind::Video, "v"));
    state.subscribe(send("TR_V2", MediaKind::Video, 10));
    let negotiated = state
        .take_offer(&text, &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(state.receive_sections()[0].codecs[0].rtx_payload_type, None);
    assert_eq!(state.send_sections()[0].rtx_ssrc, None);
    let sending = section(&negotiated.answer, "1");
    assert_eq!((sending.fid_groups.len(), sending.ssrcs.len()), (0, 1));
}

#[test]
fn variants_of_h264_go_to_whoever_can_decode_them() {
    // What the stream is, what the receiver offers in order, which of these it gets.
    let cases: [(&str, &[&str], Option<usize>); 11] = [
        // As GStreamer, FFmpeg and hardware write it.
        ("42c01f;1", &["42e01f;1"], Some(0)),
        ("42e01f;1", &["42c015;1", "42a01f;0"], Some(0)),
        ("42801f;1", &["42401f;1"], Some(0)),
        ("4d401f;1", &["42e01f;1", "4d001f;1"], Some(1)),
        ("42e01f;1", &["42001f;1", "42e01f;1"], Some(1)),
        ("42e01f;0", &["42e01f;1"], Some(0)),
        ("42e01f;1", &["42e01f;0"], None),
        ("42001f;1", &["42e01f;1"], Some(0)),
        ("42e01f;1", &["64001f;1", "4d001f;1"], Some(1)),
        ("64001f;1", &["42e01f;1", "4d001f;1"], None),
        ("640032;1", &["42e01f;1", "64001f;1"], Some(1)),
    ];
    let fmtp = |variant: &str| {
        let (profile, mode) = variant.split_once(';').expect("profile and mode");
        format!("packetization-mode={mode};profile-level-id={profile};level-asymmetry-allowed=1")
    };
    for (stream, offered, expected) in cases {
        let lines: String = (40..)
            .zip(offered)
            .map(|(pt, variant)| {
                format!(
                    "a=rtpmap:{pt} H264/90000\r\na=fmtp:{pt} {}\r\n",
                    fmtp(variant)
                )
            })
            .collect();
        let formats = (40..)
            .zip(offered)
            .map(|(pt, _)| pt.to_string())
            .collect::<Vec<_>>()
            .join(" ");
        let text = offer(&[Offered::new("0", "video", "recvonly").extra(&lines)])
            .replace("SAVPF 96 97 98", &format!("SAVPF 96 97 98 {formats}"));
        let mut state = negotiation();
        state.subscribe(SendTrack {
            codecs: vec![codec("video/H264", &fmtp(stream))],
            ..send("TR_V", MediaKind::Video, 10)
        });
        state
            .take_offer(&text, &local(1), fresh_ssrc)
            .expect("offer");
        let sent = state.send_sections();
        let found = sent
            .first()
            .map(|section| usize::from(section.codec.payload_type) - 40);
        assert_eq!(found, expected, "{stream} to {offered:?}");
    }
}

#[test]
fn a_publisher_is_answered_with_its_codec_first_and_red_around_opus_where_wanted() {
    let extra = "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n";
    let mut layout = vec![Offered::new("0", "audio", "sendonly").cid("a").extra(extra)];
    layout.push(Offered::new("1", "audio", "recvonly").extra(extra));
    let av1 = "a=rtpmap:45 AV1/90000\r\n";
    layout.push(Offered::new("2", "video", "sendonly").cid("v").extra(av1));
    let text = offer(&layout)
        .replace("SAVPF 111 0", "SAVPF 111 63 0")
        .replace("SAVPF 96 97 98", "SAVPF 96 97 98 45");
    for red in [false, true] {
        let mut state = negotiation();
        state.publish(&PublishedTrack {
            audio: AudioFeatures {
                red,
                ..AudioFeatures::default()
            },
            ..published("TR_A", MediaKind::Audio, "a")
        });
        state.publish(&PublishedTrack {
            mime_type: "video/av1".to_owned(),
            ..published("TR_V", MediaKind::Video, "v")
        });
        state.subscribe(SendTrack {
            codecs: vec![match red {
                true => codec("audio/red", "111/111"),
                false => codec("audio/opus", ""),
            }],
            ..send("TR_B", MediaKind::Audio, 10)
        });
        let negotiated = state
            .take_offer(&text, &local(1), fresh_ssrc)
            .expect("offer");
        let names = |mid| section(&negotiated.answer, mid).formats;
        assert_eq!(
            names("0"),
            if red { vec!["63", "111"] } else { vec!["111"] }
        );
        assert_eq!(
            names("1"),
            if red { vec!["111", "63"] } else { vec!["111"] }
        );
        assert_eq!(
            names("2"),
            ["45", "96", "97"],
            "not the first that is offered"
        );
        assert_eq!(negotiated.newly_bound[0].red, red.then_some(63));
    }
}

#[test]
fn a_track_whose_codec_the_client_lacks_waits_without_asking_for_sections() {
    let mut state = negotiation();
    let av1 = SendTrack {
        codecs: vec![codec("video/AV1", "")],
        ..send("TR_V", MediaKind::Video, 10)
    };
    state.subscribe(av1);
    let negotiated = state
        .take_offer(&offer(&first_layout()), &local(1), fresh_ssrc)
        .expect("offer");
    let failure = (sid("TR_V"), SubscriptionFailure::CodecUnsupported);
    assert_eq!(state.take_failures(), [failure]);
    assert_eq!(state.take_failures(), [], "it is told once");
    assert_eq!(negotiated.missing, MediaSections::default());
    assert!(!state.needs_renegotiation());
}
