use proptest::prelude::*;

use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdp");

/// Offers of real clients, with the line ends they came with.
fn real_offers() -> Vec<(String, String)> {
    let mut offers: Vec<(String, String)> = std::fs::read_dir(FIXTURES)
        .expect("fixtures")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sdp"))
        .map(|path| {
            let name = path
                .file_stem()
                .expect("name")
                .to_string_lossy()
                .into_owned();
            (
                name,
                std::fs::read_to_string(&path)
                    .expect("fixture")
                    .replace('\n', "\r\n"),
            )
        })
        .collect();
    offers.sort();
    assert!(offers.len() >= 13);
    offers
}

/// A session with one audio section and these lines in it.
fn with_lines(lines: &str) -> Result<MediaDescription, SdpError> {
    let text = format!(
        "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\nm=audio 9 UDP/TLS/RTP/SAVPF 111 0\n{lines}"
    );
    SessionDescription::parse(&text).map(|mut sdp| sdp.media.remove(0))
}

#[test]
fn offers_of_real_clients_survive_writing_and_parsing() {
    for (name, text) in real_offers() {
        let parsed =
            SessionDescription::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let again = SessionDescription::parse(&parsed.to_string()).expect("our own text");
        let mut without = parsed.clone();
        // Written at session level once every section has it.
        without.extmap_allow_mixed = again.extmap_allow_mixed;
        without.text_bytes = again.text_bytes;
        assert_eq!(without, again, "{name}");
        assert_eq!(
            parsed.bundle.len(),
            parsed.media.iter().filter(|m| !m.is_rejected()).count(),
            "{name}"
        );
    }
}

#[test]
fn a_chromium_simulcast_section_is_understood() {
    let (_, text) = real_offers()
        .into_iter()
        .find(|(name, _)| name == "chromium-publish")
        .expect("fixture");
    let sdp = SessionDescription::parse(&text).expect("valid");
    let camera = sdp.media.last().expect("sections");
    assert_eq!(
        (camera.kind.clone(), camera.direction),
        (MediaType::Video, Direction::SendOnly)
    );
    let rids: Vec<&str> = camera
        .simulcast
        .send
        .iter()
        .map(|stream| stream.rid.as_str())
        .collect();
    assert_eq!(rids, ["q", "h", "f"]);
    let vp8 = &camera.codecs[0];
    assert_eq!(
        (vp8.payload_type, vp8.name.as_str(), vp8.clock_rate),
        (96, "VP8", 90_000)
    );
    assert!(
        vp8.has_feedback("nack pli")
            && vp8.has_feedback("transport-cc")
            && !vp8.has_feedback("nack sli")
    );
    assert_eq!(camera.codecs[1].parameter("apt"), Some("96"));
    assert!(
        camera
            .extensions
            .iter()
            .any(|e| e.uri == "urn:ietf:params:rtp-hdrext:sdes:mid" && e.id == 4)
    );
    assert!(camera.ssrcs.is_empty());
    assert_eq!(camera.transport.fingerprints[0].digest.len(), 32);
}

#[test]
fn port_zero_rejects_only_without_bundle_only() {
    let (_, text) = real_offers()
        .into_iter()
        .find(|(name, _)| name == "firefox-join")
        .expect("fixture");
    let sdp = SessionDescription::parse(&text).expect("valid");
    assert!(
        sdp.media
            .iter()
            .skip(1)
            .all(|media| media.port == 0 && !media.is_rejected())
    );
    let (_, text) = real_offers()
        .into_iter()
        .find(|(name, _)| name == "firefox-stopped")
        .expect("fixture");
    let sdp = SessionDescription::parse(&text).expect("valid");
    assert_eq!(
        sdp.media.iter().filter(|media| media.is_rejected()).count(),
        1
    );
}

#[test]
fn formats_follow_the_media_line_and_feedback_may_come_before_the_codec() {
    let section = with_lines(
        "a=rtcp-fb:* nack\na=fmtp:111 a=1; minptime=10\na=rtpmap:0 PCMU/8000\na=rtpmap:111 opus/48000/2\na=rtpmap:5 DVI4/8000\n",
    )
    .expect("valid");
    let names: Vec<&str> = section
        .codecs
        .iter()
        .map(|codec| codec.name.as_str())
        .collect();
    assert_eq!(names, ["opus", "PCMU"]);
    assert!(
        section
            .codecs
            .iter()
            .all(|codec| codec.has_feedback("nack"))
    );
    assert_eq!(section.codecs[0].parameter("minptime"), Some("10"));
    assert_eq!(section.codecs[0].parameter("ptime"), None);
}

#[test]
fn a_paused_rid_is_a_rid_and_only_the_first_alternative_counts() {
    let section =
        with_lines("a=rid:q send\na=rid:h send\na=simulcast:send q,x;~h recv f\n").expect("valid");
    let stream = |rid: &str, paused| SimulcastStream {
        rid: rid.to_owned(),
        paused,
    };
    assert_eq!(
        section.simulcast.send,
        [stream("q", false), stream("h", true)]
    );
    assert_eq!(section.simulcast.receive, [stream("f", false)]);
}

#[test]
fn ssrcs_are_listed_once_with_their_cname() {
    let section =
        with_lines("a=ssrc-group:FID 1 2\na=ssrc:1 msid:a b\na=ssrc:1 cname:x\na=ssrc:2 cname:x\n")
            .expect("valid");
    let ssrc = |ssrc| Ssrc {
        ssrc,
        cname: Some("x".to_owned()),
    };
    assert_eq!(section.ssrcs, [ssrc(1), ssrc(2)]);
    assert_eq!(section.fid_groups, [(1, 2)]);
}

#[test]
fn feedback_nobody_knows_is_told_apart() {
    let feedback = |lines: &str| {
        let section = with_lines(&format!("a=rtpmap:111 opus/48000/2\n{lines}")).expect("valid");
        section.codecs[0].feedback
    };
    assert_eq!(feedback("a=rtcp-fb:111 nack\n").other, 0);
    let one = feedback("a=rtcp-fb:111 rrtr\n");
    let other = feedback("a=rtcp-fb:111 ccm tmmbr\n");
    assert!(one != Feedback::default() && other != Feedback::default() && one != other);
}

#[test]
fn what_is_essential_and_malformed_is_named_with_its_line() {
    let cases = [
        ("m=audio", "m="),
        ("m=audio 70000 RTP/SAVPF 0", "m="),
        ("m=audio 9 RTP/SAVPF", "m="),
        ("m=au\u{e9}dio 9 RTP/SAVPF 0", "m="),
        ("a=mid:a b", "mid"),
        ("a=mid:", "mid"),
        ("a=ice-ufrag:abc", "ice-ufrag"),
        ("a=ice-ufrag:ab cd", "ice-ufrag"),
        ("a=ice-pwd:tooshort", "ice-pwd"),
        ("a=fingerprint:sha-256 00:11", "fingerprint"),
        ("a=fingerprint:sha-256", "fingerprint"),
        ("a=setup:both", "setup"),
    ];
    for (line, what) in cases {
        let error = with_lines(line).expect_err(line);
        assert_eq!(
            error,
            SdpError {
                line: 6,
                problem: SdpProblem::Malformed(what)
            },
            "{line}"
        );
        assert_eq!(error.to_string(), format!("SDP line 6: malformed {what}"));
    }
    for line in [
        "x",
        "=",
        "ab=1",
        "a=mid:1\ra=mid:2",
        "m=audio 9 RTP/\u{1} 0",
    ] {
        assert_eq!(
            with_lines(line).expect_err(line).problem,
            SdpProblem::NotSdp,
            "{line:?}"
        );
    }
    assert_eq!(
        with_lines("a=mid:1\na=mid:1")
            .expect_err("repeated")
            .to_string(),
        "SDP line 7: mid given twice"
    );
    for text in ["", "\n", "hello", "m=audio 9 RTP/SAVPF 0", "\u{feff}v=0"] {
        assert_eq!(
            SessionDescription::parse(text).expect_err(text).problem,
            SdpProblem::NotSdp
        );
    }
}

#[test]
fn an_attribute_that_cannot_be_read_costs_that_attribute() {
    let good = "a=mid:1\na=rtpmap:111 opus/48000/2\na=fmtp:111 minptime=10\na=rtcp-fb:111 nack\n\
                a=extmap:1 u:x\na=ssrc:7 cname:c\na=rid:q send\na=simulcast:send q\na=msid:s t\n\
                a=candidate:1 1 udp 9 ::1 9 typ host\na=max-message-size:9\na=sctp-port:5000\n";
    let expected = with_lines(good).expect("valid");
    let long = format!("a=fmtp:111 {}", "x".repeat(5000));
    let lines = [
        "a=rtpmap:128 VP8/90000",
        "a=rtpmap:96 VP8",
        "a=rtpmap:96 VP8/0",
        "a=rtpmap:111 PCMU/8000",
        "a=fmtp:x a=1",
        "a=fmtp:111",
        "a=rtcp-fb:300 nack",
        "a=rtcp-fb:111",
        "a=extmap:x uri",
        "a=extmap:1/sideways uri",
        "a=extmap:1",
        "a=extmap:70000 uri",
        "a=ssrc:4294967296 cname:x",
        "a=ssrc:x",
        "a=ssrc-group:FID 1",
        "a=ssrc-group:FID 1 1",
        "a=rid:q",
        "a=rid:q recv",
        "a=rid:q send-it",
        "a=rid:aaaaaaaaaaaaaaaaa send",
        "a=simulcast:send",
        "a=simulcast:send q;q",
        "a=simulcast:send ~",
        "a=simulcast: recv pt=96;97",
        "a=simulcast:send x=q",
        "a=simulcast:both q",
        "a=msid:",
        "a=sctp-port:0",
        "a=sctp-port:high",
        "a=max-message-size:-1",
        "a=candidate:1 1 udp",
        "a=candidate:1 1 udp 2122 192.0.2.1 70000 typ host",
        "a=x\u{0}",
        "a=msid:\u{1} x",
        &long,
    ];
    for line in lines {
        for text in [format!("{good}{line}\n"), format!("a=mid:1\n{line}\n")] {
            let section = with_lines(&text).unwrap_or_else(|error| panic!("{line}: {error}"));
            if text.starts_with(good) {
                assert_eq!(section, expected, "{line}");
            }
        }
    }
}

#[test]
fn older_ways_to_name_streams_and_tracks_are_understood() {
    let section = with_lines(
        "a=rid:q send\na=rid:h send\na=rid:f send\na=simulcast: send rid=q;h;f recv pt=96\n\
         a=ssrc:1 cname:c\na=ssrc:1 msid:stream track\na=ssrc:2 msid:stream other\n",
    )
    .expect("valid");
    let rids = section
        .simulcast
        .send
        .iter()
        .map(|stream| stream.rid.as_str());
    assert_eq!(rids.collect::<Vec<_>>(), ["q", "h", "f"]);
    assert!(section.simulcast.receive.is_empty());
    let named = Msid {
        stream: "stream".to_owned(),
        track: Some("track".to_owned()),
    };
    assert_eq!(section.msid.as_ref(), Some(&named));
    let both = with_lines("a=ssrc:1 msid:old old\na=msid:stream track\n").expect("valid");
    assert_eq!(both.msid, Some(named), "the newer way wins");
}

#[test]
fn size_is_limited_in_every_direction() {
    let problem = |text: &str| {
        SessionDescription::parse(text)
            .expect_err("too much")
            .problem
    };
    assert_eq!(
        problem(&format!("v=0\n{}", "a=x\n".repeat(MAX_SDP_BYTES / 4))),
        SdpProblem::TooLong
    );
    assert_eq!(
        problem(&format!("v=0\ns={}", "x".repeat(5000))),
        SdpProblem::LineTooLong
    );
    let sections = |count: usize| format!("v=0\n{}", "m=audio 9 RTP/SAVPF 0\n".repeat(count));
    assert_eq!(
        SessionDescription::parse(&sections(MAX_SECTIONS))
            .expect("fits")
            .media
            .len(),
        MAX_SECTIONS
    );
    assert_eq!(
        problem(&sections(MAX_SECTIONS + 1)),
        SdpProblem::TooManySections
    );
    // What is one too many costs itself.
    let many = |line: fn(usize) -> String| {
        let lines: String = (0..3000).map(line).collect();
        with_lines(&lines).expect("the first ones")
    };
    let kept = [
        many(|i| format!("a=extmap:{i} uri:{i}\n")).extensions.len(),
        many(|i| format!("a=ssrc:{i} cname:x\n")).ssrcs.len(),
        many(|i| format!("a=ssrc-group:FID {i} {}\n", i + 1))
            .fid_groups
            .len(),
        many(|i| format!("a=rid:r{i} send\n")).rids.len(),
        many(|i| format!("a=candidate:{i} 1 udp 1 ::1 1 typ host\n"))
            .candidates
            .len(),
        many(|i| format!("a=ice-options:x{i}\n"))
            .transport
            .ice_options
            .len(),
    ];
    assert_eq!(kept, [64, 64, 64, 16, 128, 16]);
    many(|i| format!("a=fmtp:1 x={i}\n"));
    many(|i| format!("a=rtcp-fb:1 x{i}\n"));
    let formats = format!("m=audio 9 RTP/SAVPF{}", " 1".repeat(1000));
    let text = format!("v=0\n{formats}\n");
    let media = SessionDescription::parse(&text).expect("valid").media;
    assert_eq!(media[0].formats.len(), 128);
    // All mids of a long meeting are in one line.
    let mids: String = (0..1000).map(|mid| format!(" mid-{mid}")).collect();
    let text = format!("v=0\na=group:BUNDLE{mids}\n");
    let bundle = SessionDescription::parse(&text).expect("valid").bundle;
    assert_eq!(bundle.len(), 1000);
}

proptest! {
    #[test]
    fn any_text_parses_or_fails(text in "(v=0\r?\n)?([a-z]=[ -~]{0,40}\r?\n|\\PC{0,20}\n){0,20}") {
        let _ = SessionDescription::parse(&text);
    }

    #[test]
    fn what_parses_is_written_so_that_it_parses_to_the_same(
        lines in prop::collection::vec(prop::sample::select(vec![
            "m=video 9 UDP/TLS/RTP/SAVPF 96 97 0", "m=application 0 UDP/DTLS/SCTP webrtc-datachannel", "m=text 9 x y",
            "a=mid:1", "a=bundle-only", "a=rtpmap:96 VP8/90000", "a=rtpmap:97 rtx/90000", "a=fmtp:97 apt=96",
            "a=rtcp-fb:96 nack", "a=rtcp-fb:* ccm fir", "a=inactive", "a=sendonly", "a=rtcp-mux", "a=extmap:3/recvonly u:x",
            "a=extmap:4 u:y", "a=msid:s t", "a=msid:-", "a=ssrc:7 cname:c", "a=ssrc:8", "a=ssrc-group:FID 7 8", "a=rid:q send",
            "a=rid:h recv", "a=simulcast:send q;~h", "a=simulcast:recv h send q", "a=ice-ufrag:abcd", "a=setup:actpass",
            "a=ice-pwd:abcdefghijklmnopqrstuv", "a=sctp-port:5000", "a=max-message-size:0", "a=end-of-candidates",
            "a=candidate:1 1 udp 9 ::1 9 typ host", "a=ice-lite", "a=group:BUNDLE 1 2", "a=ice-options:trickle ice2",
        ]), 0..40),
    ) {
        let text = format!("v=0\r\no=- 5 6 IN IP4 0.0.0.0\r\n{}", lines.join("\r\n"));
        if let Ok(parsed) = SessionDescription::parse(&text) {
            let again = SessionDescription::parse(&parsed.to_string()).expect("our own text");
            let application = |media: &MediaDescription| media.kind == MediaType::Application;
            for (one, other) in parsed.media.iter().zip(&again.media) {
                // A data section has no direction worth writing.
                prop_assert!(application(one) || one.direction == other.direction);
            }
            prop_assert_eq!(again.to_string(), parsed.to_string());
        }
    }
}
