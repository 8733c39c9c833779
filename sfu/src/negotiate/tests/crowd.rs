//! Meetings of many: descriptions that are long, and as long as they may be.

use super::*;

/// Sections as Chromium 156 writes them, with all its codecs and header extensions: 5.9 KB for a pair that receives.
fn chromium(audios: usize, videos: usize) -> String {
    let text = fixture("chromium-join");
    let mut sections: Vec<&str> = text.split("m=").collect();
    let head = sections.remove(0);
    let of_kind = |kind: &str| *sections.iter().find(|s| s.starts_with(kind)).expect(kind);
    let (audio, video, data) = (of_kind("audio"), of_kind("video"), of_kind("application"));
    // Those of the first offer come before the data channels, the others after.
    let first = [[audio; 3], [video; 3]].concat().into_iter().chain([data]);
    let more = [audio].repeat(audios - 3).into_iter();
    let all = first.chain(more).chain([video].repeat(videos - 3));
    let mut body = String::new();
    let mut bundle = String::from("a=group:BUNDLE");
    for (mid, section) in all.enumerate() {
        write!(bundle, " {mid}").expect("text");
        let old = section.lines().find(|line| line.starts_with("a=mid:"));
        let line = format!("a=mid:{mid}");
        write!(body, "m={}", section.replace(old.expect("mid"), &line)).expect("text");
    }
    let old = head.lines().find(|line| line.starts_with("a=group:"));
    head.replace(old.expect("group"), &bundle) + &body
}

fn crowd(state: &mut Negotiation, people: u32) {
    for person in 0..people {
        let (audio, video) = (format!("TR_A{person}"), format!("TR_V{person}"));
        state.subscribe(send(&audio, MediaKind::Audio, 10 * person));
        state.subscribe(send(&video, MediaKind::Video, 10 * person + 5));
    }
}

#[test]
fn who_joins_a_hundred_and_sixty_others_gets_all_their_tracks_with_the_second_offer() {
    let mut state = negotiation();
    crowd(&mut state, 160);
    let first = state
        .take_offer(&chromium(3, 3), &local(1), fresh_ssrc)
        .expect("offer");
    let expected = MediaSections {
        audios: 157,
        videos: 157,
    };
    assert_eq!(first.missing, expected);
    let offer = chromium(160, 160);
    let parsed = SessionDescription::parse(&offer).expect("readable");
    let before = std::time::Instant::now();
    let negotiated = state.handle_offer(&parsed, &local(1), fresh_ssrc);
    let took = before.elapsed();
    let negotiated = negotiated.expect("offer");
    println!(
        "160 others: an offer of {} bytes, an answer of {}, {took:?}",
        offer.len(),
        negotiated.answer.len()
    );
    assert_eq!(state.send_sections().len(), 320);
    assert_eq!(negotiated.missing, MediaSections::default());
    assert_eq!(state.take_failures(), []);
    assert!(!state.needs_renegotiation());
    // A resume sends both in one message.
    assert!(offer.len() + negotiated.answer.len() <= MAX_DESCRIBED);
}

#[test]
fn a_meeting_that_outgrows_a_message_costs_the_newest_track_and_says_so() {
    let mut state = negotiation();
    let (mut sections, mut people) = (MediaSections::default(), 0);
    let (mut audios, mut videos) = (3, 3);
    let failures = loop {
        let text = chromium(audios, videos);
        let negotiated = state
            .take_offer(&text, &local(1), fresh_ssrc)
            .expect("offer");
        assert!(text.len() + negotiated.answer.len() <= MAX_SDP_BYTES);
        let failures = state.take_failures();
        if !failures.is_empty() {
            break failures;
        }
        if negotiated.missing == MediaSections::default() {
            people += 20;
            crowd(&mut state, people);
        }
        sections = state.missing();
        audios += sections.audios as usize;
        videos += sections.videos as usize;
        assert!(people < 1000);
    };
    assert_eq!(state.missing(), MediaSections::default(), "{sections:?}");
    assert!(!state.needs_renegotiation(), "nobody is asked in vain");
    let sent = state.send_sections().len();
    println!("{sent} tracks fit beside each other");
    assert!(sent > 320);
    assert_eq!(sent + failures.len(), 2 * people as usize);
    let reason = SubscriptionFailure::TooManySections;
    assert!(failures.iter().all(|(_, why)| *why == reason));
    // Where somebody leaves, another one is seen.
    state.unsubscribe(sid("TR_V0"));
    assert!(state.needs_renegotiation());
    for _ in 0..2 {
        state
            .take_offer(&chromium(audios, videos), &local(1), fresh_ssrc)
            .expect("offer");
    }
    assert_eq!(state.send_sections().len(), sent);
}

#[test]
fn sections_beyond_the_last_are_rejected_and_the_others_go_on() {
    let mut layout = first_layout();
    let count = MAX_USED_SECTIONS + 50;
    layout.extend((7..count).map(|mid| Offered::new(&mid.to_string(), "audio", "recvonly")));
    let mut state = negotiation();
    let negotiated = state
        .take_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("offer");
    let answer = SessionDescription::parse(&negotiated.answer).expect("answer");
    let rejected: Vec<_> = answer
        .media
        .iter()
        .map(MediaDescription::is_rejected)
        .collect();
    assert_eq!(rejected.len(), count);
    assert!(
        rejected
            .iter()
            .enumerate()
            .all(|(i, no)| *no == (i >= MAX_USED_SECTIONS))
    );
    state.subscribe(send("TR_V", MediaKind::Video, 10));
    state
        .take_offer(&offer(&layout), &local(1), fresh_ssrc)
        .expect("the next one too");
    assert_eq!(state.send_sections().len(), 1);
}
