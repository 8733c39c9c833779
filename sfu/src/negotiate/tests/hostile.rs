//! Offers that nobody should send.

use super::*;

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
