//! Offers that came to nothing, and answers that never arrived.

use super::*;

/// Seven sections from the first offer, settled by the second.
fn settled() -> Negotiation {
    let mut state = negotiation();
    for _ in 0..2 {
        state
            .take_offer(&offer(&first_layout()), &local(1), fresh_ssrc)
            .expect("offer");
    }
    state
}

fn with(added: &[Offered]) -> String {
    offer(&[first_layout().as_slice(), added].concat())
}

#[test]
fn a_track_offered_again_after_a_roll_back_moves_to_its_new_section() {
    let mut state = settled();
    state.publish(&published("TR_A", MediaKind::Audio, "a"));
    let microphone = |mid| Offered::new(mid, "audio", "sendonly").cid("a");
    let bound = |negotiated: &Negotiated| -> Vec<_> {
        let pair = |bound: &Bound| (bound.track, bound.mid.clone());
        negotiated.newly_bound.iter().map(pair).collect()
    };
    let first = state
        .take_offer(&with(&[microphone("7")]), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(bound(&first), [(sid("TR_A"), "7".to_owned())]);
    // libwebrtc gives another mid to what it offers again.
    let again = state
        .take_offer(&with(&[microphone("8")]), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(bound(&again), [(sid("TR_A"), "8".to_owned())]);
    assert!(again.unbound.is_empty(), "it only moved");
    assert_eq!(section(&again.answer, "8").direction, Direction::RecvOnly);
}

#[test]
fn what_a_client_no_longer_offers_after_a_roll_back_is_lost_and_its_place_free() {
    let mut state = settled();
    state.publish(&published("TR_A", MediaKind::Audio, "a"));
    state.publish(&published("TR_V", MediaKind::Video, "v"));
    let microphone = Offered::new("7", "audio", "sendonly").cid("a");
    state
        .take_offer(&with(&[microphone]), &local(1), fresh_ssrc)
        .expect("offer");
    // Nothing comes in its place, or something of another kind by the same name.
    let camera = Offered::new("7", "video", "sendonly").cid("v");
    for (added, expected) in [
        (vec![], vec![]),
        (vec![camera], vec![("7".to_owned(), sid("TR_V"))]),
    ] {
        let mut state = state.clone();
        let negotiated = state
            .take_offer(&with(&added), &local(1), fresh_ssrc)
            .expect("offer");
        assert_eq!(negotiated.unbound, [sid("TR_A")]);
        assert_eq!(negotiated.mid_to_track, expected);
        assert_eq!(state.receive_sections().len(), expected.len());
    }
}

#[test]
fn a_roll_back_in_an_offer_that_is_refused_has_not_happened() {
    let mut state = settled();
    state.publish(&published("TR_A", MediaKind::Audio, "a"));
    let microphone = Offered::new("7", "audio", "sendonly").cid("a");
    state
        .take_offer(&with(&[microphone]), &local(1), fresh_ssrc)
        .expect("offer");
    let before = format!("{state:?}");
    let twice = ["8", "8"].map(|mid| Offered::new(mid, "audio", "recvonly"));
    state
        .take_offer(&with(&twice), &local(1), fresh_ssrc)
        .expect_err("a mid twice");
    assert_eq!(format!("{state:?}"), before);
}

#[test]
fn another_track_in_the_place_of_one_that_was_rolled_back_is_not_taken_for_it() {
    let mut state = settled();
    for (track, cid) in [("TR_A", "a"), ("TR_B", "b")] {
        state.publish(&published(track, MediaKind::Audio, cid));
    }
    let sending = |cid: &str| Offered::new("7", "audio", "sendonly").cid(cid);
    state
        .take_offer(&with(&[sending("a")]), &local(1), fresh_ssrc)
        .expect("offer");
    let negotiated = state
        .take_offer(&with(&[sending("b")]), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(negotiated.mid_to_track, [("7".to_owned(), sid("TR_B"))]);
    assert_eq!(negotiated.unbound, [sid("TR_A")]);
}

#[test]
fn a_subscription_whose_section_was_rolled_back_gets_another() {
    let mut state = settled();
    for number in 0..4 {
        let track = format!("TR_V{number}");
        state.subscribe(send(&track, MediaKind::Video, 10 + 2 * number));
    }
    state
        .take_offer(
            &with(&[Offered::new("7", "video", "recvonly")]),
            &local(1),
            fresh_ssrc,
        )
        .expect("offer");
    assert_eq!(state.send_sections().len(), 4);
    let without = state
        .take_offer(&with(&[]), &local(1), fresh_ssrc)
        .expect("offer");
    assert_eq!(state.send_sections().len(), 3);
    assert_eq!(without.missing.videos, 1);
    let again = state
        .take_offer(
            &with(&[Offered::new("8", "video", "recvonly")]),
            &local(1),
            fresh_ssrc,
        )
        .expect("offer");
    assert_eq!(state.send_sections().len(), 4);
    assert!(again.answer.contains("TR_V3"));
}

#[test]
fn what_an_answer_settled_can_not_be_rolled_back() {
    let mut state = settled();
    let added = [Offered::new("7", "audio", "recvonly")];
    let more = [
        added[0].clone(),
        Offered::new("8", "audio", "recvonly"),
        Offered::new("9", "audio", "recvonly"),
    ];
    for offered in [with(&added), with(&more)] {
        state
            .take_offer(&offered, &local(1), fresh_ssrc)
            .expect("offer");
    }
    let removed = state.clone().take_offer(&with(&[]), &local(1), fresh_ssrc);
    assert_eq!(
        removed.expect_err("7 is settled"),
        NegotiationError::SectionsRemoved {
            offered: 7,
            known: 8
        }
    );
    let renamed = [Offered::new("8", "audio", "recvonly")];
    let renamed = state
        .clone()
        .take_offer(&with(&renamed), &local(1), fresh_ssrc);
    assert!(matches!(
        renamed,
        Err(NegotiationError::MidChanged { index: 7, .. })
    ));
    // Of the last offer any part may stay.
    state
        .take_offer(&with(&more[..2]), &local(1), fresh_ssrc)
        .expect("offer");
}

#[test]
fn a_section_whose_end_may_have_been_lost_ends_again_before_it_is_used() {
    let mut state = negotiation();
    let layout = [Offered::new("0", "video", "recvonly")];
    let mut directions = Vec::new();
    let mut settle = |state: &mut Negotiation, ufrag: &str, generation| {
        let negotiated = state
            .take_offer(&offer_of(&layout, ufrag, 1), &local(generation), fresh_ssrc)
            .expect("offer");
        directions.push(section(&negotiated.answer, "0").direction);
    };
    state.subscribe(send("TR_V1", MediaKind::Video, 10));
    settle(&mut state, "aaaa", 1);
    state.unsubscribe(sid("TR_V1"));
    settle(&mut state, "aaaa", 1);
    // With this answer the signal connection breaks. What the client knows of the section is that it carries the first.
    state.subscribe(send("TR_V2", MediaKind::Video, 20));
    settle(&mut state, "bbbb", 2);
    assert!(state.needs_renegotiation());
    settle(&mut state, "bbbb", 2);
    assert_eq!(
        directions,
        [
            Direction::SendOnly,
            Direction::Inactive,
            Direction::Inactive,
            Direction::SendOnly
        ]
    );
    assert_eq!(state.send_sections()[0].track, sid("TR_V2"));
}
