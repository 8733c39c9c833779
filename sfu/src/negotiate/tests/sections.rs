//! Which section carries which track, over several offers.

use super::*;

#[test]
fn a_section_is_reused_only_after_an_inactive_answer() {
    let mut state = negotiation();
    let layout = [Offered::new("0", "video", "recvonly")];
    state.subscribe(send("TR_V1", MediaKind::Video, 10));
    state
        .take_offer(&offer(&layout), &local(1), fresh_ssrc)
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
        .take_offer(&offer(&layout), &local(1), fresh_ssrc)
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
        .take_offer(&offer(&layout), &local(1), fresh_ssrc)
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
        .take_offer(&offer(&layout), &local(1), fresh_ssrc)
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
        .take_offer(&offer(&layout), &local(1), fresh_ssrc)
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
        .take_offer(&offer(&layout), &local(1), fresh_ssrc)
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
        let negotiated = state.take_offer(&text, &local(1), fresh_ssrc);
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
        let answer = state.take_offer(&text(takes_vp9), &local(1), fresh_ssrc);
        answer.expect("offer");
        assert_eq!(state.take_failures(), []);
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
        .take_offer(&text, &local(1), fresh_ssrc)
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
        .take_offer(&text, &local(1), || fresh.next().expect("ssrc"))
        .expect("offer")
        .answer;
    assert_eq!(section(&answer, "0").formats, ["96", "97", "40"]);
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
        .take_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer");
    state.unpublish(sid("TR_A1"));
    assert!(state.receive_sections().is_empty());
    assert_eq!(
        state.publish(&published("TR_A2", MediaKind::Audio, "b")),
        PublishOutcome::default()
    );
    let negotiated = state
        .take_offer(&offer(&layout), &local(1), fresh_ssrc)
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
        .take_offer(&offer(&sending("a")), &local(1), fresh_ssrc)
        .expect("offer");
    let stopped = state
        .take_offer(
            &offer(&[Offered::new("0", "audio", "inactive").cid("a")]),
            &local(1),
            fresh_ssrc,
        )
        .expect("offer");
    assert_eq!(stopped.unbound, [sid("TR_A")]);
    assert!(
        state
            .take_offer(&offer(&sending("b")), &local(1), fresh_ssrc)
            .expect("offer")
            .newly_bound
            .is_empty()
    );
    let mut fresh = state.clone();
    assert!(
        fresh
            .take_offer(
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
            .take_offer(&offer(&sending("a")), &local(1), fresh_ssrc)
            .expect("offer")
            .newly_bound
            .len(),
        1
    );
}
