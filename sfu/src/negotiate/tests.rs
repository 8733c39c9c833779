use std::fmt::Write;

use proptest::prelude::*;

use super::*;
use crate::{
    api::SpatialLayer,
    sdp::{Direction, MediaDescription, SessionDescription, Setup},
};

mod codecs;
mod crowd;
mod hostile;
mod model;
mod refused;
mod roll_back;
mod sections;
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

/// Descriptions as text, which can be read.
trait Texts {
    fn take_offer(
        &mut self,
        sdp: &str,
        local: &LocalParameters,
        fresh_ssrc: impl FnMut() -> u32,
    ) -> Result<Negotiated, NegotiationError>;

    fn take_answer(&mut self, id: u32, sdp: &str) -> Result<Option<Answered>, NegotiationError>;
}

impl Texts for Negotiation {
    fn take_offer(
        &mut self,
        sdp: &str,
        local: &LocalParameters,
        fresh_ssrc: impl FnMut() -> u32,
    ) -> Result<Negotiated, NegotiationError> {
        let offer = SessionDescription::parse(sdp).expect("readable");
        self.handle_offer(&offer, local, fresh_ssrc)
    }

    fn take_answer(&mut self, id: u32, sdp: &str) -> Result<Option<Answered>, NegotiationError> {
        let answer = SessionDescription::parse(sdp).expect("readable");
        self.handle_answer(id, &answer)
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
                .take_offer(&fixture(&name), &local(generation), fresh_ssrc)
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
            .take_offer(&fixture("native-join"), &local(1), fresh_ssrc)
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
                .take_offer(&fixture(&format!("{client}-{step}")), &local(7), fresh_ssrc)
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
            .take_offer(
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
        .take_offer(&offer(&first_layout()), &local(1), fresh_ssrc)
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
        .take_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(
        negotiated.mid_to_track.last(),
        Some(&("7".to_owned(), sid("TR_V4")))
    );
    assert!(!state.needs_renegotiation() && negotiated.missing == MediaSections::default());
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
        .take_offer(&text, &local(1), fresh_ssrc)
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
        .take_offer(&offer(&layout), &local(1), fresh_ssrc)
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
        .take_offer(&offer_of(&first_layout(), "aaaa", 1), &local(1), fresh_ssrc)
        .expect("offer");
    assert!(!first.remote.ice_restarted);
    let second = state
        .take_offer(&offer_of(&first_layout(), "bbbb", 1), &local(2), fresh_ssrc)
        .expect("offer");
    assert!(second.remote.ice_restarted);
    assert_eq!(
        (second.local_ice, second.mid_to_track),
        (local(2).ice, first.mid_to_track)
    );
    assert!(second.answer.contains("a=ice-ufrag:ours2"));
}

#[test]
fn an_offer_says_who_begins_dtls_and_that_stays_so_until_ice_is_restarted() {
    let mut state = negotiation();
    let mut answered = |ice: &str, setup: &str| {
        let offer = offer_of(&first_layout(), ice, 0x11);
        let offer = offer.replace("a=setup:actpass", &format!("a=setup:{setup}"));
        let negotiated = state.take_offer(&offer, &local(1), fresh_ssrc)?;
        let said = section(&negotiated.answer, "0").transport.setup;
        assert_eq!(said, Some(negotiated.remote.setup.reversed()));
        Ok(negotiated.remote.setup)
    };
    assert_eq!(answered("ice1", "passive"), Ok(Setup::Passive));
    // Until ICE starts anew, nothing else is possible.
    for setup in ["actpass", "active", "passive"] {
        assert_eq!(answered("ice1", setup), Ok(Setup::Passive));
    }
    assert_eq!(answered("ice2", "actpass"), Ok(Setup::Passive));
    assert_eq!(answered("ice3", "active"), Ok(Setup::Active));
    assert_eq!(answered("ice3", "passive"), Ok(Setup::Active));
    let refused = Err(NegotiationError::SetupUnusable);
    assert_eq!(answered("ice3", "holdconn"), refused);
    assert_eq!(answered("ice4", "passive"), Ok(Setup::Passive));
}
