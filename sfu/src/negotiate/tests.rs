use std::fmt::Write;

use proptest::prelude::*;

use super::*;
use crate::{
    SpatialLayer,
    sdp::{MediaDescription, SessionDescription, Setup},
};

mod model;
mod roll_back;
mod subscriber;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdp");

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{FIXTURES}/{name}.sdp"))
        .expect(name)
        .replace('\n', "\r\n")
}

/// Compares with `tests/sdp/answers/<name>.sdp`; with `UPDATE_SNAPSHOTS` set, writes it.
fn assert_snapshot(name: &str, text: &str) {
    let path = format!("{FIXTURES}/answers/{name}.sdp");
    let text = text.replace("\r\n", "\n");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(format!("{FIXTURES}/answers")).expect("directory");
        std::fs::write(&path, &text).expect("snapshot");
    }
    let known =
        std::fs::read_to_string(&path).expect("no snapshot yet: set UPDATE_SNAPSHOTS=1 once");
    assert_eq!(
        text, known,
        "{name}: set UPDATE_SNAPSHOTS=1 if this is wanted"
    );
}

fn local(generation: u32) -> LocalParameters {
    LocalParameters {
        ice: IceCredentials {
            ufrag: format!("ours{generation}"),
            pwd: format!("ourpasswordourpassword{generation}"),
        },
        ice_lite: true,
        fingerprint: [0xab; 32],
        candidates: vec![
            "198.51.100.7:7882".parse().expect("address"),
            "[2001:db8::7]:7882".parse().expect("address"),
        ],
        tcp_candidates: vec!["198.51.100.7:443".parse().expect("address")],
        max_message_size: 65_536,
    }
}

/// For offers that change no codecs.
fn fresh_ssrc() -> u32 {
    panic!("no stream needs another SSRC")
}

fn sid(text: &str) -> TrackSid {
    text.parse().expect("sid")
}

fn negotiation() -> Negotiation {
    Negotiation::new("PA_me".parse().expect("sid"), ENABLED_CODECS)
}

fn published(track: &str, kind: MediaKind, cid: &str) -> PublishedTrack {
    PublishedTrack {
        sid: sid(track),
        kind,
        cids: vec![cid.to_owned()],
        stream: "camera".to_owned(),
        muted: false,
        audio: AudioFeatures::default(),
        mime_type: String::new(),
        layers: Vec::new(),
        backup_of: None,
    }
}

fn codec(mime_type: &str, fmtp: &str) -> TrackCodec {
    TrackCodec {
        mime_type: mime_type.to_owned(),
        fmtp: fmtp.to_owned(),
        red: None,
    }
}

fn send(track: &str, kind: MediaKind, ssrc: u32) -> SendTrack {
    let video = kind == MediaKind::Video;
    SendTrack {
        track: sid(track),
        publisher: "PA_other".parse().expect("sid"),
        stream: "camera".to_owned(),
        kind,
        codecs: vec![codec(if video { "video/VP8" } else { "audio/opus" }, "")],
        ssrc,
        rtx_ssrc: video.then_some(ssrc + 1),
    }
}

/// A section of an offer, as Chromium writes it but shorter.
#[derive(Debug, Clone)]
struct Offered {
    mid: String,
    kind: &'static str,
    direction: &'static str,
    cid: Option<String>,
    extra: String,
    rejected: bool,
}

impl Offered {
    fn new(mid: &str, kind: &'static str, direction: &'static str) -> Self {
        Self {
            mid: mid.to_owned(),
            kind,
            direction,
            cid: None,
            extra: String::new(),
            rejected: false,
        }
    }

    fn cid(mut self, cid: &str) -> Self {
        self.cid = Some(cid.to_owned());
        self
    }

    fn extra(mut self, lines: &str) -> Self {
        self.extra = lines.to_owned();
        self
    }
}

const AUDIO: &str = "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
    a=rtpmap:0 PCMU/8000\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n";
const VIDEO: &str = "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 nack\r\n\
    a=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
    a=rtpmap:98 H265/90000\r\n";

fn offer(sections: &[Offered]) -> String {
    offer_of(sections, "theirs", 0x11)
}

fn offer_of(sections: &[Offered], ufrag: &str, certificate: u8) -> String {
    let mut text =
        String::from("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE");
    for section in sections.iter().filter(|section| !section.rejected) {
        write!(text, " {}", section.mid).expect("text");
    }
    let digest = vec![format!("{certificate:02X}"); 32].join(":");
    for section in sections {
        let Offered {
            mid,
            kind,
            direction,
            extra,
            ..
        } = section;
        let port = if section.rejected { 0 } else { 9 };
        let (formats, codecs) = match *kind {
            "audio" => ("UDP/TLS/RTP/SAVPF 111 0", AUDIO),
            "video" => ("UDP/TLS/RTP/SAVPF 96 97 98", VIDEO),
            _ => (
                "UDP/DTLS/SCTP webrtc-datachannel",
                "a=sctp-port:5000\r\na=max-message-size:262144\r\n",
            ),
        };
        write!(
            text,
            "\r\nm={kind} {port} {formats}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=ice-ufrag:{ufrag}\r\n\
             a=ice-pwd:theirpasswordtheirpassword\r\na=fingerprint:sha-256 {digest}\r\na=setup:actpass\r\n\
             a=rtcp-mux\r\na=rtcp-rsize\r\na={direction}\r\n\
             a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n{codecs}{extra}"
        )
        .expect("text");
        if let Some(cid) = &section.cid {
            write!(text, "a=msid:- {cid}\r\n").expect("text");
        }
        text.truncate(text.trim_end().len());
    }
    text + "\r\n"
}

/// The layout of a client's first offer.
fn first_layout() -> Vec<Offered> {
    let mut sections: Vec<Offered> = ["0", "1", "2"]
        .iter()
        .map(|mid| Offered::new(mid, "audio", "recvonly"))
        .collect();
    sections.extend(
        ["3", "4", "5"]
            .iter()
            .map(|mid| Offered::new(mid, "video", "recvonly")),
    );
    sections.push(Offered::new("6", "application", "sendrecv"));
    sections
}

fn section(answer: &str, mid: &str) -> MediaDescription {
    let parsed = SessionDescription::parse(answer).expect("our answer");
    parsed
        .media
        .into_iter()
        .find(|media| media.mid.as_deref() == Some(mid))
        .expect("section")
}

#[test]
fn answers_to_real_clients_are_as_recorded() {
    for client in ["chromium", "firefox"] {
        let mut state = negotiation();
        state.subscribe(send("TR_AM1", MediaKind::Audio, 1000));
        state.subscribe(send("TR_VC1", MediaKind::Video, 2000));
        let answer = |state: &mut Negotiation, step: &str, generation| {
            let name = format!("{client}-{step}");
            let negotiated = state
                .handle_offer(&fixture(&name), &local(generation), fresh_ssrc)
                .expect(&name);
            assert_snapshot(&name, &negotiated.answer);
            negotiated
        };
        let join = answer(&mut state, "join", 1);
        let tracks = |pairs: &[(&str, &str)]| -> Vec<(String, TrackSid)> {
            pairs
                .iter()
                .map(|(mid, track)| ((*mid).to_owned(), sid(track)))
                .collect()
        };
        assert_eq!(
            join.mid_to_track,
            tracks(&[("0", "TR_AM1"), ("3", "TR_VC1")])
        );
        assert_eq!(join.missing, MediaSections::default());
        assert!(
            join.remote
                .sctp
                .is_some_and(|sctp| sctp.port == 5000 && sctp.max_message_size >= 262_144)
        );

        let cid = |mid| {
            section(&fixture(&format!("{client}-publish")), mid)
                .msid
                .and_then(|msid| msid.track)
                .expect("cid")
        };
        let microphone = PublishedTrack {
            audio: AudioFeatures {
                dtx: true,
                stereo: false,
                red: true,
            },
            ..published("TR_AMme", MediaKind::Audio, &cid("7"))
        };
        state.publish(&microphone);
        state.publish(&published("TR_VCme", MediaKind::Video, &cid("8")));
        let publish = answer(&mut state, "publish", 2);
        assert_eq!(
            publish.local_ice,
            local(1).ice,
            "no restart, no new credentials"
        );
        assert_eq!(
            publish
                .newly_bound
                .iter()
                .map(|bound| bound.track)
                .collect::<Vec<_>>(),
            [sid("TR_AMme"), sid("TR_VCme")]
        );
        let layers: Vec<_> = publish.newly_bound[1]
            .layers
            .iter()
            .map(|layer| (layer.rid.as_str(), layer.layer))
            .collect();
        assert_eq!(
            layers,
            [
                ("q", SpatialLayer::Low),
                ("h", SpatialLayer::Medium),
                ("f", SpatialLayer::High)
            ]
        );
        let camera = state.receive_sections().pop().expect("camera");
        assert!(
            camera.extensions.rid.is_some()
                && camera.extensions.repaired_rid.is_some()
                && camera.extensions.mid.is_some()
        );
        assert!(
            camera.extensions.transport_cc.is_some()
                && camera.codecs[0].transport_cc
                && camera.codecs[0].pli
        );
        assert_eq!(camera.ssrcs.len(), if client == "firefox" { 3 } else { 0 });
    }
    let mut state = negotiation();
    state.subscribe(send("TR_VC1", MediaKind::Video, 2000));
    assert_snapshot(
        "native-join",
        &state
            .handle_offer(&fixture("native-join"), &local(1), fresh_ssrc)
            .expect("native")
            .answer,
    );
}

#[test]
fn a_whole_session_of_a_real_client_is_followed() {
    for client in ["chromium", "firefox"] {
        let mut state = negotiation();
        let step = |state: &mut Negotiation, step: &str| {
            state
                .handle_offer(&fixture(&format!("{client}-{step}")), &local(7), fresh_ssrc)
                .unwrap_or_else(|error| panic!("{step}: {error}"))
        };
        let cid = |file: &str, mid| {
            section(&fixture(&format!("{client}-{file}")), mid)
                .msid
                .and_then(|m| m.track)
                .expect("cid")
        };
        step(&mut state, "join");
        state.publish(&published(
            "TR_VCme",
            MediaKind::Video,
            &cid("publish", "8"),
        ));
        assert_eq!(step(&mut state, "publish").newly_bound.len(), 1);
        assert_eq!(step(&mut state, "unpublish").unbound, [sid("TR_VCme")]);
        let restart = state
            .handle_offer(
                &fixture(&format!("{client}-restart")),
                &local(8),
                fresh_ssrc,
            )
            .expect("restart");
        assert!(restart.remote.ice_restarted);
        assert_eq!(restart.local_ice, local(8).ice);
        let stopped = step(&mut state, "stopped");
        assert!(section(&stopped.answer, "8").is_rejected());
        assert!(!stopped.remote.ice_restarted);
        // Chromium puts the next track into the rejected section, under a new mid; so does Firefox.
        let late = step(&mut state, "late");
        assert_eq!(section(&late.answer, "11").direction, Direction::RecvOnly);
        assert!(late.newly_bound.is_empty());
        let bound = state
            .publish(&published("TR_VSme", MediaKind::Video, &cid("late", "11")))
            .bound
            .expect("late add_track");
        assert_eq!(
            (bound.mid.as_str(), bound.mime_type, bound.layers.len()),
            ("11", "video/VP8", 0)
        );
    }
}

#[test]
fn existing_tracks_are_in_the_first_answer() {
    let mut state = negotiation();
    for (i, track) in ["TR_V1", "TR_V2", "TR_V3", "TR_V4"].iter().enumerate() {
        state.subscribe(send(track, MediaKind::Video, 1000 + 10 * i as u32));
    }
    assert!(
        !state.needs_renegotiation() && state.missing() == MediaSections::default(),
        "nothing was offered yet"
    );
    let negotiated = state
        .handle_offer(&offer(&first_layout()), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(
        negotiated.missing,
        MediaSections {
            audios: 0,
            videos: 1
        }
    );
    assert!(state.needs_renegotiation());
    let first = section(&negotiated.answer, "3");
    assert_eq!(first.direction, Direction::SendOnly);
    let msid = first.msid.expect("msid");
    assert_eq!(
        (msid.stream.as_str(), msid.track.as_deref()),
        ("PA_other|camera", Some("TR_V1"))
    );
    assert_eq!(
        (first.fid_groups, first.ssrcs.len()),
        (vec![(1000, 1001)], 2)
    );
    assert_eq!(first.formats, ["96", "97"]);
    assert!(first.codecs[0].has_feedback("transport-cc") && first.codecs[0].has_feedback("nack"));
    let sent = state.send_sections();
    assert_eq!(sent.len(), 3);
    assert_eq!(
        (
            sent[0].ssrc,
            sent[0].rtx_ssrc,
            sent[0].codec.rtx_payload_type
        ),
        (1000, Some(1001), Some(97))
    );
    assert_eq!(
        (sent[0].extensions.mid, sent[0].extensions.transport_cc),
        (Some(4), None)
    );

    let mut layout = first_layout();
    layout.push(Offered::new("7", "video", "recvonly"));
    let negotiated = state
        .handle_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(
        negotiated.mid_to_track.last(),
        Some(&("7".to_owned(), sid("TR_V4")))
    );
    assert!(!state.needs_renegotiation() && negotiated.missing == MediaSections::default());
}

#[test]
fn a_section_is_reused_only_after_an_inactive_answer() {
    let mut state = negotiation();
    let layout = [Offered::new("0", "video", "recvonly")];
    state.subscribe(send("TR_V1", MediaKind::Video, 10));
    state
        .handle_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer");
    state.unsubscribe(sid("TR_V1"));
    assert!(
        state.send_sections().is_empty(),
        "nothing is sent from now on"
    );
    state.subscribe(send("TR_V2", MediaKind::Video, 20));
    assert_eq!(
        state.missing().videos,
        1,
        "a new section is quicker than two rounds"
    );
    let negotiated = state
        .handle_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(
        section(&negotiated.answer, "0").direction,
        Direction::Inactive
    );
    assert!(section(&negotiated.answer, "0").msid.is_none());
    assert!(
        state.needs_renegotiation() && negotiated.missing.videos == 0,
        "the section is free now"
    );
    let negotiated = state
        .handle_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(negotiated.mid_to_track, [("0".to_owned(), sid("TR_V2"))]);
    assert_eq!(state.send_sections()[0].ssrc, 20);
}

#[test]
fn names_win_over_guesses_and_order_does_not_matter() {
    let mut layout = first_layout();
    layout.push(Offered::new("7", "video", "sendonly").cid("screen"));
    layout.push(Offered::new("8", "video", "sendonly").cid("changed"));
    // add_track first.
    let mut state = negotiation();
    state.publish(&published("TR_VC", MediaKind::Video, "camera"));
    state.publish(&published("TR_VS", MediaKind::Video, "screen"));
    state.publish(&published("TR_AM", MediaKind::Audio, "microphone"));
    let bound = state
        .handle_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer")
        .newly_bound;
    let pairs: Vec<_> = bound
        .iter()
        .map(|bound| (bound.mid.as_str(), bound.track))
        .collect();
    assert_eq!(pairs, [("7", sid("TR_VS")), ("8", sid("TR_VC"))]);
    // Offer first.
    let mut state = negotiation();
    let negotiated = state
        .handle_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(
        section(&negotiated.answer, "7").direction,
        Direction::RecvOnly,
        "accepted before it is announced"
    );
    assert!(negotiated.mid_to_track.is_empty() && state.receive_sections().is_empty());
    let guessed = state
        .publish(&published("TR_VC", MediaKind::Video, "camera"))
        .bound
        .expect("first free one");
    assert_eq!(guessed.mid, "7");
    let outcome = state.publish(&published("TR_VS", MediaKind::Video, "screen"));
    assert_eq!(outcome.bound.expect("named").mid, "7");
    assert_eq!(outcome.unbound, Some(sid("TR_VC")), "the guess was wrong");
    let again = state
        .handle_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(again.newly_bound[0].mid, "8", "and is made good");
    assert!(again.unbound.is_empty());
}

#[test]
fn a_backup_waits_for_its_name_and_takes_the_announced_codec() {
    let mut state = negotiation();
    let backup = |cids: &[&str]| PublishedTrack {
        cids: cids.iter().map(|cid| (*cid).to_owned()).collect(),
        mime_type: "video/vp8".to_owned(),
        ..published("TR_B", MediaKind::Video, "")
    };
    state.publish(&PublishedTrack {
        mime_type: "video/vp9".to_owned(),
        ..published("TR_VC", MediaKind::Video, "camera")
    });
    state.publish(&backup(&[]));
    let vp9 = "a=rtpmap:40 VP9/90000\r\n";
    let mut layout = vec![
        Offered::new("0", "video", "sendonly")
            .cid("camera")
            .extra(vp9),
        Offered::new("1", "video", "sendonly")
            .cid("second")
            .extra(vp9),
    ];
    let bound = |state: &mut Negotiation, layout: &[Offered]| {
        let text = offer(layout).replace("SAVPF 96 97 98", "SAVPF 40 96 97 98");
        let negotiated = state.handle_offer(&text, &local(1), fresh_ssrc);
        let bound = negotiated.expect("offer").newly_bound.into_iter();
        let what = bound.map(|bound| (bound.mid, bound.mime_type));
        what.collect::<Vec<_>>()
    };
    assert_eq!(
        bound(&mut state, &layout),
        [("0".to_owned(), "video/VP9")],
        "it is not guessed"
    );
    let late = state.publish(&backup(&["second"])).bound.expect("named");
    assert_eq!((late.mid.as_str(), late.mime_type), ("1", "video/VP8"));
    state.unpublish(sid("TR_B"));
    state.publish(&backup(&["third"]));
    layout.push(
        Offered::new("2", "video", "sendonly")
            .cid("third")
            .extra(vp9),
    );
    assert_eq!(bound(&mut state, &layout), [("2".to_owned(), "video/VP8")]);
}

#[test]
fn of_two_codecs_a_client_gets_the_first_it_offers() {
    let vp9 = "a=rtpmap:40 VP9/90000\r\n";
    let both = [codec("video/VP9", ""), codec("video/VP8", "")];
    let text = |takes_vp9: bool| {
        let section = Offered::new("0", "video", "recvonly");
        match takes_vp9 {
            true => offer(&[section.extra(vp9)]).replace("SAVPF 96 97 98", "SAVPF 40 96 97 98"),
            false => offer(&[section]),
        }
    };
    for (takes_vp9, expected) in [(true, "video/VP9"), (false, "video/VP8")] {
        let mut state = negotiation();
        state.subscribe(SendTrack {
            codecs: both.to_vec(),
            ..send("TR_V", MediaKind::Video, 10)
        });
        let answer = state.handle_offer(&text(takes_vp9), &local(1), fresh_ssrc);
        assert!(answer.expect("offer").unsupported.is_empty());
        assert_eq!(state.send_sections()[0].codec.mime_type, expected);
    }
}

#[test]
fn a_track_goes_on_in_another_codec_with_other_ssrcs_from_the_next_answer_on() {
    let vp9 = "a=rtpmap:40 VP9/90000\r\n";
    let text = offer(&[Offered::new("0", "video", "recvonly").extra(vp9)])
        .replace("SAVPF 96 97 98", "SAVPF 40 96 97 98");
    let mut state = negotiation();
    let mut both = vec![codec("video/VP9", ""), codec("video/VP8", "")];
    state.subscribe(SendTrack {
        codecs: both.clone(),
        ..send("TR_V", MediaKind::Video, 10)
    });
    state
        .handle_offer(&text, &local(1), fresh_ssrc)
        .expect("offer");
    assert!(!state.needs_renegotiation());
    both.reverse();
    state.set_codecs(sid("TR_V"), &both);
    let sent = |state: &Negotiation| {
        let section = &state.send_sections()[0];
        (section.codec.mime_type, section.ssrc, section.rtx_ssrc)
    };
    assert!(state.needs_renegotiation());
    assert_eq!(sent(&state).0, "video/VP9", "until it is agreed");
    let mut fresh = 100..;
    let answer = state
        .handle_offer(&text, &local(1), || fresh.next().expect("ssrc"))
        .expect("offer")
        .answer;
    assert_eq!(section(&answer, "0").formats, ["96", "97"]);
    assert_eq!(sent(&state), ("video/VP8", 100, Some(101)));
    assert!(!state.needs_renegotiation());
}

#[test]
fn an_unpublished_track_leaves_its_section_to_nobody_else() {
    let mut state = negotiation();
    let layout = [
        Offered::new("0", "audio", "sendonly").cid("a"),
        Offered::new("1", "audio", "recvonly"),
    ];
    state.publish(&published("TR_A1", MediaKind::Audio, "a"));
    state
        .handle_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer");
    state.unpublish(sid("TR_A1"));
    assert!(state.receive_sections().is_empty());
    assert_eq!(
        state.publish(&published("TR_A2", MediaKind::Audio, "b")),
        PublishOutcome::default()
    );
    let negotiated = state
        .handle_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(
        section(&negotiated.answer, "0").direction,
        Direction::Inactive
    );
    assert!(negotiated.newly_bound.is_empty() && negotiated.unbound.is_empty());
    // The same source, announced again.
    assert!(
        state
            .publish(&published("TR_A3", MediaKind::Audio, "a"))
            .bound
            .is_some()
    );
}

#[test]
fn a_track_the_client_gave_up_comes_back_only_by_name() {
    let mut state = negotiation();
    let sending = |cid: &str| [Offered::new("0", "audio", "sendonly").cid(cid)];
    state.publish(&published("TR_A", MediaKind::Audio, "a"));
    state
        .handle_offer(&offer(&sending("a")), &local(1), fresh_ssrc)
        .expect("offer");
    let stopped = state
        .handle_offer(
            &offer(&[Offered::new("0", "audio", "inactive").cid("a")]),
            &local(1),
            fresh_ssrc,
        )
        .expect("offer");
    assert_eq!(stopped.unbound, [sid("TR_A")]);
    assert!(
        state
            .handle_offer(&offer(&sending("b")), &local(1), fresh_ssrc)
            .expect("offer")
            .newly_bound
            .is_empty()
    );
    let mut fresh = state.clone();
    assert!(
        fresh
            .handle_offer(
                &offer(&[Offered::new("0", "audio", "inactive")]),
                &local(1),
                fresh_ssrc
            )
            .expect("offer")
            .unbound
            .is_empty()
    );
    assert_eq!(
        state
            .handle_offer(&offer(&sending("a")), &local(1), fresh_ssrc)
            .expect("offer")
            .newly_bound
            .len(),
        1
    );
}

#[test]
fn paused_and_reversed_simulcast_layers_are_all_accepted() {
    let layers = |lines: &str| {
        let mut state = negotiation();
        state.publish(&published("TR_V", MediaKind::Video, "v"));
        let layout = [Offered::new("0", "video", "sendonly").cid("v").extra(lines)];
        let negotiated = state
            .handle_offer(&offer(&layout), &local(1), fresh_ssrc)
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
        .handle_offer(&offer(&layout), &local(1), fresh_ssrc)
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
        .handle_offer(&offer(&layout), &local(1), fresh_ssrc)
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
        .handle_offer(&text, &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(state.receive_sections()[0].codecs[0].rtx_payload_type, None);
    assert_eq!(state.send_sections()[0].rtx_ssrc, None);
    let sending = section(&negotiated.answer, "1");
    assert_eq!((sending.fid_groups.len(), sending.ssrcs.len()), (0, 1));
}

#[test]
fn variants_of_h264_go_to_whoever_can_decode_them() {
    // What the stream is, what the receiver offers in order, which of these it gets.
    let cases: [(&str, &[&str], Option<usize>); 7] = [
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
            .handle_offer(&text, &local(1), fresh_ssrc)
            .expect("offer");
        let sent = state.send_sections();
        let found = sent
            .first()
            .map(|section| usize::from(section.codec.payload_type) - 40);
        assert_eq!(found, expected, "{stream} to {offered:?}");
    }
}

#[test]
fn a_publisher_is_answered_with_one_codec_and_red_around_opus_where_wanted() {
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
            .handle_offer(&text, &local(1), fresh_ssrc)
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
        assert_eq!(names("2"), ["45"], "not the first that is offered");
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
        .handle_offer(&offer(&first_layout()), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(negotiated.unsupported, [sid("TR_V")]);
    assert_eq!(negotiated.missing, MediaSections::default());
    assert!(!state.needs_renegotiation());
}

#[test]
fn sections_we_cannot_use_are_rejected_with_their_mid() {
    let mut layout = first_layout();
    layout.push(Offered::new("7", "video", "sendonly").cid("v"));
    let text = offer(&layout).replace(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 0.0.0.0\r\na=mid:0",
        "m=text 9 UDP/x y\r\na=mid:0",
    );
    let text = text.replacen(
        "UDP/TLS/RTP/SAVPF 96 97 98\r\nc=IN IP4 0.0.0.0\r\na=mid:7",
        "UDP/TLS/RTP/SAVPF 98\r\na=mid:7",
        1,
    );
    let negotiated = negotiation()
        .handle_offer(&text, &local(1), fresh_ssrc)
        .expect("offer");
    let answer = SessionDescription::parse(&negotiated.answer).expect("answer");
    assert!(answer.media[0].is_rejected() && answer.media[7].is_rejected());
    assert_eq!(answer.bundle, ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(
        answer.media[1].candidates.len(),
        3,
        "candidates are in the first section of the bundle"
    );
    assert!(answer.media[2].candidates.is_empty());
}

#[test]
fn extension_directions_are_turned_around() {
    let twcc = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    let lines = format!(
        "a=extmap:9/sendonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\na=extmap:7/recvonly http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\na=extmap:5 {twcc}\r\na=extmap:20 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\n"
    );
    let mut state = negotiation();
    state.publish(&published("TR_V", MediaKind::Video, "v"));
    let layout = [Offered::new("0", "video", "sendonly")
        .cid("v")
        .extra(&lines)];
    let negotiated = state
        .handle_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer");
    assert!(negotiated.answer.contains("a=extmap:9/recvonly urn:"));
    assert!(negotiated.answer.contains("a=extmap:7/sendonly http:"));
    assert!(
        !negotiated.answer.contains("a=extmap:20"),
        "needs two-byte headers"
    );
    let ids = state.receive_sections()[0].extensions;
    assert_eq!(
        (ids.rid, ids.abs_send_time, ids.transport_cc, ids.mid),
        (Some(9), None, Some(5), Some(4))
    );
}

#[test]
fn an_ice_restart_keeps_everything_else() {
    let mut state = negotiation();
    state.subscribe(send("TR_V", MediaKind::Video, 10));
    let first = state
        .handle_offer(&offer_of(&first_layout(), "aaaa", 1), &local(1), fresh_ssrc)
        .expect("offer");
    assert!(!first.remote.ice_restarted);
    let second = state
        .handle_offer(&offer_of(&first_layout(), "bbbb", 1), &local(2), fresh_ssrc)
        .expect("offer");
    assert!(second.remote.ice_restarted);
    assert_eq!(
        (second.local_ice, second.mid_to_track),
        (local(2).ice, first.mid_to_track)
    );
    assert!(second.answer.contains("a=ice-ufrag:ours2"));
}

#[test]
fn hostile_stream_names_cannot_leave_their_line() {
    let mut state = negotiation();
    let name = "x y\r\na=ice-lite|".repeat(20);
    state.subscribe(SendTrack {
        stream: name,
        ..send("TR_V", MediaKind::Video, 10)
    });
    state.subscribe(SendTrack {
        stream: String::new(),
        ..send("TR_A", MediaKind::Audio, 20)
    });
    let answer = state
        .handle_offer(&offer(&first_layout()), &local(1), fresh_ssrc)
        .expect("offer")
        .answer;
    let stream = section(&answer, "3").msid.expect("msid").stream;
    assert!(
        stream.starts_with("PA_other|x_y__a_ice-lite_") && stream.len() <= 64,
        "{stream}"
    );
    assert_eq!(
        section(&answer, "0").msid.expect("msid").stream,
        "PA_other|TR_A"
    );
}

/// An attack: a name, what it does to the second offer, and whether the error is the one meant.
type Attack = (
    &'static str,
    fn(&mut Vec<Offered>),
    fn(&NegotiationError) -> bool,
);

#[test]
fn bad_offers_are_refused_and_change_nothing() {
    use NegotiationError as E;
    let attacks: &[Attack] = &[
        (
            "duplicate mid",
            |s| s[1].mid = "0".to_owned(),
            |e| matches!(e, E::MidRepeated(mid) if mid == "0"),
        ),
        (
            "swapped mids",
            |s| s.swap(0, 1),
            |e| matches!(e, E::MidChanged { index: 0, .. }),
        ),
        (
            "other kind",
            |s| s[0].kind = "video",
            |e| matches!(e, E::KindChanged(_)),
        ),
        (
            "data to media",
            |s| s[6].kind = "audio",
            |e| matches!(e, E::KindChanged(_)),
        ),
        (
            "media to data",
            |s| s[0].kind = "application",
            |e| matches!(e, E::KindChanged(_)),
        ),
        (
            "removed",
            |s| drop(s.pop()),
            |e| {
                matches!(
                    e,
                    E::SectionsRemoved {
                        offered: 6,
                        known: 7
                    }
                )
            },
        ),
        ("none", Vec::clear, |e| {
            matches!(e, E::SectionsRemoved { .. })
        }),
        (
            "all rejected",
            |s| s.iter_mut().for_each(|s| s.rejected = true),
            |e| *e == E::NothingUsable,
        ),
        (
            "10,000 sections",
            |s| {
                s.extend((7..10_000).map(|mid| Offered::new(&mid.to_string(), "audio", "recvonly")))
            },
            |e| matches!(e, E::Sdp(_)),
        ),
        (
            "long mid",
            |s| s[0].mid = "m".repeat(100),
            |e| matches!(e, E::Sdp(_)),
        ),
        (
            "extension id with two meanings",
            |s| {
                s[3].extra =
                    "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n".to_owned()
            },
            |e| *e == E::ExtensionConflict(1),
        ),
        (
            "one SSRC twice",
            |s| {
                for mid in ["7", "8"] {
                    s.push(Offered::new(mid, "audio", "sendonly").extra("a=ssrc:5 cname:x\r\n"));
                }
            },
            |e| *e == E::SsrcRepeated(5),
        ),
    ];
    let mut state = negotiation();
    state.subscribe(send("TR_V", MediaKind::Video, 10));
    state
        .handle_offer(&offer(&first_layout()), &local(1), fresh_ssrc)
        .expect("offer");
    let before = format!("{state:?}");
    for (name, attack, meant) in attacks {
        let mut layout = first_layout();
        attack(&mut layout);
        let error = state
            .handle_offer(&offer(&layout), &local(2), fresh_ssrc)
            .expect_err(name);
        assert!(meant(&error), "{name}: {error:?}");
        assert_eq!(format!("{state:?}"), before, "{name}");
    }
    let texts: &[(&str, &str, E)] = &[
        ("a=rtcp-mux\r\n", "", E::RtcpMuxMissing("0".to_owned())),
        ("a=ice-ufrag:theirs\r\n", "", E::IceMissing),
        (
            "a=fingerprint:sha-256",
            "a=fingerprint:sha-1",
            E::FingerprintMissing,
        ),
        ("a=setup:actpass", "a=setup:passive", E::SetupUnusable),
        ("a=setup:actpass", "a=setup:holdconn", E::SetupUnusable),
        ("a=mid:3", "a=dim:3", E::MidMissing(3)),
        ("a=group:BUNDLE", "a=group:LS", E::NothingUsable),
    ];
    for (from, to, meant) in texts {
        let text = offer(&first_layout()).replace(from, to);
        assert_eq!(
            &state
                .handle_offer(&text, &local(2), fresh_ssrc)
                .expect_err(from),
            meant
        );
        assert_eq!(format!("{state:?}"), before, "{from}");
    }
    let other_certificate = offer_of(&first_layout(), "theirs", 0x22);
    assert_eq!(
        state.handle_offer(&other_certificate, &local(2), fresh_ssrc),
        Err(E::FingerprintChanged)
    );
    assert_eq!(format!("{state:?}"), before);
    state
        .handle_offer(&offer(&first_layout()), &local(2), fresh_ssrc)
        .expect("the client is still served");
}
