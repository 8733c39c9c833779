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
fn candidates_are_read_from_either_place() {
    let section = with_lines("a=candidate:1 1 UDP 2122 192.0.2.1 3478 typ host generation 0\n")
        .expect("valid");
    let trickled =
        Candidate::parse("candidate:1 1 udp 2122 192.0.2.1 3478 typ host").expect("valid");
    assert_eq!(section.candidates, [trickled]);
    assert!(Candidate::parse("candidate:1 1 udp 2122 192.0.2.1 70000 typ host").is_err());
    assert!(Candidate::parse("").is_err());
}

#[test]
fn what_is_malformed_is_named_with_its_line() {
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
        ("a=rtpmap:128 VP8/90000", "rtpmap"),
        ("a=rtpmap:96 VP8", "rtpmap"),
        ("a=rtpmap:96 VP8/0", "rtpmap"),
        ("a=fmtp:x a=1", "fmtp"),
        ("a=rtcp-fb:300 nack", "rtcp-fb"),
        ("a=extmap:x uri", "extmap"),
        ("a=extmap:1/sideways uri", "extmap"),
        ("a=extmap:1", "extmap"),
        ("a=ssrc:4294967296 cname:x", "ssrc"),
        ("a=ssrc-group:FID 1", "ssrc-group"),
        ("a=ssrc-group:FID 1 1", "ssrc-group"),
        ("a=rid:q", "rid"),
        ("a=rid:q send-it", "rid"),
        ("a=rid:aaaaaaaaaaaaaaaaa send", "rid"),
        ("a=simulcast:send", "simulcast"),
        ("a=simulcast:send q;q", "simulcast"),
        ("a=simulcast:send ~", "simulcast"),
        ("a=sctp-port:0", "sctp-port"),
        ("a=max-message-size:-1", "max-message-size"),
        ("a=candidate:1 1 udp", "candidate"),
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
    for line in ["x", "=", "ab=1", "a=mid:1\ra=mid:2", "a=x\u{0}"] {
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
fn size_is_limited_in_every_direction() {
    let problem = |text: &str| {
        SessionDescription::parse(text)
            .expect_err("too much")
            .problem
    };
    assert_eq!(
        problem(&format!("v=0\n{}", "a=x\n".repeat(MAX_SDP_BYTES))),
        SdpProblem::TooLong
    );
    assert_eq!(
        problem(&format!("v=0\na={}", "x".repeat(5000))),
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
    assert_eq!(problem(&sections(10_000)), SdpProblem::TooManySections);
    let many = |line: fn(usize) -> String| {
        let lines: String = (0..3000).map(line).collect();
        with_lines(&lines).expect_err("too many").problem
    };
    assert_eq!(
        many(|i| format!("a=extmap:{i} uri:{i}\n")),
        SdpProblem::TooMany("extmap")
    );
    assert_eq!(
        many(|i| format!("a=ssrc:{i} cname:x\n")),
        SdpProblem::TooMany("ssrc")
    );
    assert_eq!(
        many(|i| format!("a=ssrc-group:FID {i} {}\n", i + 1)),
        SdpProblem::TooMany("ssrc-group")
    );
    assert_eq!(
        many(|i| format!("a=rid:r{i} send\n")),
        SdpProblem::TooMany("rid")
    );
    assert_eq!(
        many(|i| format!("a=candidate:{i} 1 udp 1 ::1 1 typ host\n")),
        SdpProblem::TooMany("candidate")
    );
    assert_eq!(
        many(|i| format!("a=fmtp:1 x={i}\n")),
        SdpProblem::TooMany("fmtp")
    );
    assert_eq!(
        many(|i| format!("a=rtcp-fb:1 x{i}\n")),
        SdpProblem::TooMany("rtcp-fb")
    );
    assert_eq!(
        many(|i| format!("a=ice-options:x{i}\n")),
        SdpProblem::TooMany("ice-options")
    );
}

proptest! {
    #[test]
    fn any_text_parses_or_fails(text in "(v=0\r?\n)?([a-z]=[ -~]{0,40}\r?\n|\\PC{0,20}\n){0,20}") {
        let _ = SessionDescription::parse(&text);
        let _ = Candidate::parse(&text);
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
