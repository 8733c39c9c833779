//! Tracks and sections that the two sides cannot agree on, and how they agree on less.

use super::*;

const H264: &str = "a=rtpmap:40 H264/90000\r\na=rtcp-fb:40 nack pli\r\n";

/// An offer in which the client sends track `v` with these formats, and has data channels.
fn picture(formats: &str, lines: &str) -> String {
    let video = Offered::new("0", "video", "sendonly").cid("v").extra(lines);
    offer(&[video, Offered::new("1", "application", "sendrecv")])
        .replace("SAVPF 96 97 98", &format!("SAVPF {formats}"))
}

#[test]
fn every_spelling_of_an_h264_profile_is_published_and_a_foreign_one_is_refused() {
    let fmtp = |parameters: &str| format!("{H264}a=fmtp:40 {parameters}\r\n");
    let known = [
        "profile-level-id=42c01f;packetization-mode=1",
        "packetization-mode=1;profile-level-id=42801f;level-asymmetry-allowed=1",
        "profile-level-id=42a01f",
        "profile-level-id=42401f;level-asymmetry-allowed=0",
        "profile-level-id=4D4028;packetization-mode=0",
        "profile-level-id=42E01F",
        "profile-level-id=420014",
        "profile-level-id=640032",
        "packetization-mode=1",
    ];
    for parameters in known.map(fmtp).into_iter().chain([H264.to_owned()]) {
        let mut state = negotiation();
        state.publish(&published("TR_V", MediaKind::Video, "v"));
        let negotiated = state
            .take_offer(&picture("40", &parameters), &local(1), fresh_ssrc)
            .expect("offer");
        assert_eq!(negotiated.newly_bound[0].mime_type, "video/H264");
        assert_eq!(negotiated.refused, []);
        let answered = section(&negotiated.answer, "0");
        let offered = section(&picture("40", &parameters), "0");
        assert_eq!(answered.codecs[0].fmtp, offered.codecs[0].fmtp);
    }
    for foreign in [
        "profile-level-id=f4001f",
        "profile-level-id=42",
        "profile-level-id=58001f",
    ] {
        let text = picture("40", &fmtp(foreign));
        // Announced before the offer, and after it.
        let mut state = negotiation();
        state.publish(&published("TR_V", MediaKind::Video, "v"));
        let negotiated = state
            .take_offer(&text, &local(1), fresh_ssrc)
            .expect("data is left");
        assert_eq!(negotiated.refused, [sid("TR_V")]);
        assert!(section(&negotiated.answer, "0").is_rejected());
        let mut state = negotiation();
        state
            .take_offer(&text, &local(1), fresh_ssrc)
            .expect("data is left");
        assert!(
            state
                .publish(&published("TR_V", MediaKind::Video, "v"))
                .refused
        );
    }
}

#[test]
fn who_sends_another_codec_than_agreed_is_answered_no_other() {
    let text = picture("96 97 40", H264);
    let mut state = negotiation();
    state.publish(&published("TR_V", MediaKind::Video, "v"));
    let formats = |state: &mut Negotiation| {
        let negotiated = state.take_offer(&text, &local(1), fresh_ssrc);
        section(&negotiated.expect("offer").answer, "0").formats
    };
    assert_eq!(formats(&mut state), ["96", "97", "40"]);
    assert!(!state.needs_renegotiation());
    state.insist(sid("TR_V"));
    assert!(state.needs_renegotiation());
    assert_eq!(formats(&mut state), ["96", "97"]);
    assert!(!state.needs_renegotiation());
    assert_eq!(state.receive_sections()[0].codecs.len(), 1);
}

#[test]
fn a_track_keeps_its_codec_whatever_a_later_offer_prefers_and_ends_with_it() {
    let mut state = negotiation();
    state.publish(&published("TR_V", MediaKind::Video, "v"));
    state
        .take_offer(&picture("96 97 40", H264), &local(1), fresh_ssrc)
        .expect("offer");
    let negotiated = state
        .take_offer(&picture("40 96 97", H264), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(section(&negotiated.answer, "0").formats[0], "96");
    assert_eq!(
        (negotiated.newly_bound.len(), negotiated.refused.len()),
        (0, 0)
    );
    let negotiated = state
        .take_offer(&picture("40", H264), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(negotiated.refused, [sid("TR_V")]);
    assert_eq!(
        section(&negotiated.answer, "0").direction,
        Direction::Inactive
    );
    assert!(state.receive_sections().is_empty());
}

#[test]
fn rtp_without_the_feedback_profile_is_answered_in_kind() {
    for proto in ["UDP/TLS/RTP/SAVP", "TCP/TLS/RTP/SAVP", "RTP/SAVP"] {
        let layout = [
            Offered::new("0", "audio", "sendonly").cid("a"),
            Offered::new("1", "video", "recvonly"),
        ];
        let text = offer(&layout).replace("UDP/TLS/RTP/SAVPF", proto);
        let text: String = text
            .split_inclusive("\r\n")
            .filter(|line| !line.starts_with("a=rtcp-fb"))
            .collect();
        let mut state = negotiation();
        state.publish(&published("TR_A", MediaKind::Audio, "a"));
        state.subscribe(send("TR_V", MediaKind::Video, 10));
        let negotiated = state
            .take_offer(&text, &local(1), fresh_ssrc)
            .expect("offer");
        assert_eq!(negotiated.mid_to_track.len(), 2);
        for mid in ["0", "1"] {
            let section = section(&negotiated.answer, mid);
            assert_eq!(section.proto, proto);
            let feedback = |codec: &crate::sdp::Codec| codec.feedback == Default::default();
            assert!(section.codecs.iter().all(feedback), "{}", negotiated.answer);
        }
    }
}

#[test]
fn a_track_that_only_its_ssrcs_name_is_found() {
    let layout = [
        Offered::new("0", "video", "sendonly")
            .extra("a=ssrc:7 cname:c\r\na=ssrc:7 msid:s second\r\n"),
        Offered::new("1", "video", "sendonly")
            .extra("a=ssrc:8 cname:c\r\na=ssrc:8 msid:s first\r\n"),
    ];
    let mut state = negotiation();
    state.publish(&published("TR_V1", MediaKind::Video, "first"));
    state.publish(&published("TR_V2", MediaKind::Video, "second"));
    let negotiated = state
        .take_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer");
    let expected =
        [("0", "TR_V2"), ("1", "TR_V1")].map(|(mid, track)| (mid.to_owned(), sid(track)));
    assert_eq!(negotiated.mid_to_track, expected);
}

#[test]
fn an_older_form_of_simulcast_or_a_broken_candidate_costs_no_session() {
    let rids = "a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\n";
    for (lines, layers) in [
        ("a=simulcast: send rid=q;h;f\r\n", 3),
        ("a=simulcast:send rid=q;h;f recv pt=96\r\n", 3),
        ("a=simulcast:recv pt=96;97\r\n", 3),
        ("a=simulcast: what is this\r\n", 3),
        (
            "a=candidate:broken\r\na=fmtp:nothing\r\na=extmap:9\r\na=simulcast:send q;h\r\n",
            2,
        ),
    ] {
        let layout = [Offered::new("0", "video", "sendonly")
            .cid("v")
            .extra(&format!("{rids}{lines}"))];
        let mut state = negotiation();
        state.publish(&published("TR_V", MediaKind::Video, "v"));
        let negotiated = state
            .take_offer(&offer(&layout), &local(1), fresh_ssrc)
            .expect(lines);
        assert_eq!(negotiated.newly_bound[0].layers.len(), layers, "{lines}");
    }
}
