//! Offers of ours, and a client that answers them as browsers do.

use super::*;
use crate::sdp::{Fingerprint, HashAlgorithm, MediaType};

fn subscriber() -> Negotiation {
    Negotiation::subscriber("PA_me".parse().expect("sid"))
}

/// The answer of a client that takes everything, after `change`.
fn answer_to(offer: &str, change: impl Fn(&mut MediaDescription)) -> String {
    let mut answer = SessionDescription::parse(offer).expect("our offer");
    answer.ice_lite = false;
    for media in &mut answer.media {
        media.direction = media.direction.reversed();
        media.transport.ice_ufrag = Some("theirs".to_owned());
        media.transport.ice_pwd = Some("theirpasswordtheirpassword".to_owned());
        media.transport.setup = Some(Setup::Active);
        media.transport.fingerprints = vec![Fingerprint {
            algorithm: HashAlgorithm::Sha256,
            digest: vec![0x11; 32],
        }];
        media.candidates.clear();
        media.ssrcs.clear();
        media.fid_groups.clear();
        media.msid = None;
        change(media);
    }
    answer.to_string()
}

/// Offers, and has it answered.
fn settle(negotiation: &mut Negotiation) -> super::super::Offered {
    let offer = negotiation.create_offer(&local(1), fresh_ssrc);
    let answer = answer_to(&offer.sdp, |_| {});
    let answered = negotiation.take_answer(offer.id, &answer).expect("taken");
    assert!(answered.is_some());
    assert_eq!(negotiation.take_failures(), []);
    offer
}

fn directions(sdp: &str) -> Vec<Direction> {
    let parsed = SessionDescription::parse(sdp).expect("our offer");
    parsed
        .media
        .iter()
        .skip(1)
        .map(|media| media.direction)
        .collect()
}

fn sent(negotiation: &Negotiation) -> Vec<(String, TrackSid)> {
    let sections = negotiation.send_sections();
    sections
        .into_iter()
        .map(|section| (section.mid, section.track))
        .collect()
}

#[test]
fn the_first_offer_is_as_recorded() {
    let mut negotiation = subscriber();
    negotiation.subscribe(send("TR_mic", MediaKind::Audio, 1000));
    negotiation.subscribe(send("TR_cam", MediaKind::Video, 2000));
    let mut h264 = send("TR_room", MediaKind::Video, 3000);
    let high = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f";
    h264.codecs = vec![codec("video/H264", high)];
    negotiation.subscribe(h264);
    let mut red = send("TR_red", MediaKind::Audio, 4000);
    red.codecs = vec![codec("audio/red", "111/111")];
    negotiation.subscribe(red);
    let offer = negotiation.create_offer(&local(1), fresh_ssrc);
    assert_snapshot("subscriber-offer", &offer.sdp);
    let tracks: Vec<_> = offer
        .mid_to_track
        .iter()
        .map(|(mid, track)| format!("{mid} {track}"))
        .collect();
    assert_eq!(tracks, ["1 TR_mic", "2 TR_cam", "3 TR_room", "4 TR_red"]);
}

#[test]
fn nothing_is_sent_before_the_answer() {
    let mut negotiation = subscriber();
    negotiation.subscribe(send("TR_cam", MediaKind::Video, 2000));
    // The client hears of the connection when the caller says so, not before.
    assert!(!negotiation.wants_offer());
    let offer = negotiation.create_offer(&local(1), fresh_ssrc);
    assert_eq!(sent(&negotiation), []);
    let answered = negotiation.take_answer(offer.id, &answer_to(&offer.sdp, |_| {}));
    let remote = answered.expect("taken").expect("of now").remote;
    assert_eq!(
        (remote.setup, remote.ice.ufrag.as_str()),
        (Setup::Active, "theirs")
    );
    assert_eq!(remote.sctp.map(|sctp| sctp.max_message_size), Some(65_536));
    let section = &negotiation.send_sections()[0];
    assert_eq!((section.ssrc, section.rtx_ssrc), (2000, Some(2001)));
    assert_eq!(
        (section.codec.payload_type, section.codec.rtx_payload_type),
        (96, Some(97))
    );
    assert_eq!(
        (section.extensions.mid, section.extensions.transport_cc),
        (Some(1), Some(4))
    );
    assert!(!negotiation.wants_offer());
}

#[test]
fn a_change_while_an_offer_is_under_way_is_in_the_next() {
    let mut negotiation = subscriber();
    negotiation.subscribe(send("TR_a", MediaKind::Audio, 1000));
    let first = negotiation.create_offer(&local(1), fresh_ssrc);
    negotiation.subscribe(send("TR_b", MediaKind::Audio, 2000));
    negotiation.unsubscribe(sid("TR_a"));
    assert!(!negotiation.wants_offer());
    let answer = answer_to(&first.sdp, |_| {});
    negotiation
        .take_answer(first.id, &answer)
        .expect("taken")
        .expect("of now");
    assert!(negotiation.wants_offer());
    assert_eq!(sent(&negotiation), []);
    let second = settle(&mut negotiation);
    assert_eq!(
        directions(&second.sdp),
        [Direction::RecvOnly, Direction::SendOnly]
    );
    assert_eq!(sent(&negotiation), [("2".to_owned(), sid("TR_b"))]);
    assert!(!negotiation.wants_offer());
}

#[test]
fn a_section_is_used_again_after_a_pause_in_which_it_is_not_inactive() {
    let mut negotiation = subscriber();
    negotiation.subscribe(send("TR_a", MediaKind::Video, 1000));
    settle(&mut negotiation);
    negotiation.unsubscribe(sid("TR_a"));
    negotiation.subscribe(send("TR_b", MediaKind::Video, 2000));
    // Clients would see no change of track in it.
    let second = settle(&mut negotiation);
    assert_eq!(
        directions(&second.sdp),
        [Direction::RecvOnly, Direction::SendOnly]
    );
    let mut vp9 = send("TR_c", MediaKind::Video, 3000);
    vp9.codecs = vec![codec("video/VP9", "profile-id=0")];
    negotiation.subscribe(vp9);
    let third = settle(&mut negotiation);
    assert_eq!(
        directions(&third.sdp),
        [Direction::SendOnly, Direction::SendOnly]
    );
    let media = section(&third.sdp, "1");
    assert_eq!(media.codecs[0].name, "VP9");
    // No client knows the new track by the section's name of it.
    assert_eq!(media.msid.expect("msid").stream, "PA_other|TR_c");
    assert_eq!(sent(&negotiation)[0], ("1".to_owned(), sid("TR_c")));
}

#[test]
fn sections_keep_their_order_and_the_data_channels_the_first() {
    let mut negotiation = subscriber();
    let mut known: Vec<(String, crate::sdp::MediaType)> = Vec::new();
    for round in 0..20 {
        let kind = if round % 3 == 0 {
            MediaKind::Audio
        } else {
            MediaKind::Video
        };
        negotiation.subscribe(send(&format!("TR_{round}"), kind, 1000 + 10 * round));
        if round > 3 {
            negotiation.unsubscribe(sid(&format!("TR_{}", round - 3)));
        }
        let offer = settle(&mut negotiation);
        let parsed = SessionDescription::parse(&offer.sdp).expect("our offer");
        let sections: Vec<_> = parsed
            .media
            .iter()
            .map(|media| (media.mid.clone().expect("mid"), media.kind.clone()))
            .collect();
        assert!(sections.starts_with(&known), "{round}");
        assert_eq!(sections[0].1, crate::sdp::MediaType::Application);
        let data = sections
            .iter()
            .filter(|(_, kind)| *kind == crate::sdp::MediaType::Application);
        assert_eq!(data.count(), 1);
        known = sections;
    }
    assert!(
        known.len() < 12,
        "{} sections for four tracks at a time",
        known.len()
    );
}

#[test]
fn late_answers_and_answers_to_nothing_are_ignored() {
    let mut negotiation = subscriber();
    negotiation.subscribe(send("TR_a", MediaKind::Audio, 1000));
    let lost = negotiation.create_offer(&local(1), fresh_ssrc);
    // The signal connection broke; ICE starts anew.
    let offer = negotiation.create_offer(&local(2), fresh_ssrc);
    assert!(offer.sdp.contains("a=ice-ufrag:ours2") && !offer.sdp.contains("ours1"));
    assert_eq!(directions(&offer.sdp), [Direction::SendOnly]);
    let answer = answer_to(&offer.sdp, |_| {});
    assert_eq!(negotiation.take_answer(lost.id, &answer), Ok(None));
    assert_eq!(negotiation.take_answer(offer.id + 1, &answer), Ok(None));
    assert_eq!(sent(&negotiation), []);
    assert!(
        negotiation
            .take_answer(offer.id, &answer)
            .expect("taken")
            .is_some()
    );
    assert_eq!(negotiation.take_answer(offer.id, &answer), Ok(None));
    assert_eq!(sent(&negotiation).len(), 1);
}

#[test]
fn a_client_that_knows_no_ids_is_answered_too() {
    let mut negotiation = subscriber();
    let offer = negotiation.create_offer(&local(1), fresh_ssrc);
    let answer = answer_to(&offer.sdp, |_| {});
    assert!(
        negotiation
            .take_answer(0, &answer)
            .expect("taken")
            .is_some()
    );
    assert_eq!(negotiation.take_answer(0, &answer), Ok(None));
}

#[test]
fn a_track_the_client_refuses_does_not_hold_up_the_others() {
    for refuse in [
        (|media: &mut MediaDescription| media.port = 0) as fn(&mut MediaDescription),
        |media| media.direction = Direction::Inactive,
        |media| media.codecs.clear(),
    ] {
        let mut negotiation = subscriber();
        negotiation.subscribe(send("TR_no", MediaKind::Video, 1000));
        negotiation.subscribe(send("TR_yes", MediaKind::Video, 2000));
        let offer = negotiation.create_offer(&local(1), fresh_ssrc);
        let answer = answer_to(&offer.sdp, |media| {
            if media.mid.as_deref() == Some("1") {
                refuse(media);
            }
        });
        let answered = negotiation.take_answer(offer.id, &answer);
        assert!(answered.expect("taken").is_some());
        let failure = (sid("TR_no"), SubscriptionFailure::CodecUnsupported);
        assert_eq!(negotiation.take_failures(), [failure]);
        assert_eq!(negotiation.take_failures(), [], "it is told once");
        assert_eq!(sent(&negotiation), [("2".to_owned(), sid("TR_yes"))]);
        // It is not offered again and again.
        let mut rounds = 0;
        while negotiation.wants_offer() {
            settle(&mut negotiation);
            rounds += 1;
            assert!(rounds <= 1);
        }
        assert_eq!(sent(&negotiation), [("2".to_owned(), sid("TR_yes"))]);
        negotiation.subscribe(send("TR_more", MediaKind::Video, 3000));
        settle(&mut negotiation);
        assert_eq!(sent(&negotiation).len(), 2);
    }
}

#[test]
fn bad_answers_are_refused_and_change_nothing() {
    use NegotiationError as E;
    let mut negotiation = subscriber();
    negotiation.subscribe(send("TR_a", MediaKind::Audio, 1000));
    let offer = negotiation.create_offer(&local(1), fresh_ssrc);
    let good = answer_to(&offer.sdp, |_| {});
    let without_last = {
        let mut answer = SessionDescription::parse(&good).expect("good");
        answer.media.pop();
        answer.to_string()
    };
    let cases = [
        (
            without_last,
            Some(E::SectionsDiffer {
                answered: 1,
                offered: 2,
            }),
        ),
        (good.replace("a=mid:1", "a=mid:7"), None),
        (
            good.replace("m=audio", "m=video"),
            Some(E::KindChanged("1".to_owned())),
        ),
        (
            good.replace("a=setup:active", "a=setup:holdconn"),
            Some(E::SetupUnusable),
        ),
        (
            good.replace("a=setup:active", "a=setup:actpass"),
            Some(E::SetupUnusable),
        ),
        (
            good.replace("a=rtcp-mux\r\n", ""),
            Some(E::RtcpMuxMissing("1".to_owned())),
        ),
        (
            good.replace("a=fingerprint", "a=finger"),
            Some(E::FingerprintMissing),
        ),
        (good.replace("a=ice-pwd", "a=ice-pw"), Some(E::IceMissing)),
        (
            good.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE"),
            Some(E::NothingUsable),
        ),
    ];
    let before = format!("{negotiation:?}");
    for (answer, expected) in cases {
        assert_ne!(answer, good);
        let refused = negotiation
            .take_answer(offer.id, &answer)
            .expect_err(&answer);
        assert!(
            expected.is_none_or(|expected| expected == refused),
            "{refused:?}"
        );
        assert_eq!(format!("{negotiation:?}"), before);
    }
    // The answer may still come.
    assert!(
        negotiation
            .take_answer(offer.id, &good)
            .expect("taken")
            .is_some()
    );
    assert_eq!(sent(&negotiation).len(), 1);
    let offering = &mut super::negotiation();
    assert_eq!(offering.take_answer(1, &good), Err(E::NothingOffered));
}

#[test]
fn the_certificate_cannot_change() {
    let mut negotiation = subscriber();
    settle(&mut negotiation);
    negotiation.subscribe(send("TR_a", MediaKind::Audio, 1000));
    let offer = negotiation.create_offer(&local(1), fresh_ssrc);
    let answer = answer_to(&offer.sdp, |media| {
        for fingerprint in &mut media.transport.fingerprints {
            fingerprint.digest[0] = 0;
        }
    });
    let refused = negotiation.take_answer(offer.id, &answer);
    assert_eq!(refused, Err(NegotiationError::FingerprintChanged));
}

#[test]
fn every_codec_is_in_the_first_offer_of_a_picture_and_the_tracks_own_is_its_first() {
    for (mime_type, fmtp, first) in [
        ("video/VP8", "", "VP8"),
        ("video/AV1", "", "AV1"),
        (
            "video/H264",
            "packetization-mode=1;profile-level-id=42c01f",
            "H264",
        ),
    ] {
        let mut negotiation = subscriber();
        let mut track = send("TR_a", MediaKind::Video, 1000);
        track.codecs = vec![codec(mime_type, fmtp)];
        negotiation.subscribe(track);
        let offer = settle(&mut negotiation);
        let codecs = section(&offer.sdp, "1").codecs;
        assert_eq!(codecs[0].name, first);
        for name in ["VP8", "VP9", "H264", "AV1"] {
            assert!(codecs.iter().any(|codec| codec.name == name), "{name}");
        }
        let sent = &negotiation.send_sections()[0];
        assert_eq!(sent.codec.payload_type, codecs[0].payload_type);
        // Nothing but the track's codec is ever sent: one who takes all but that is told so.
        negotiation.unsubscribe(sid("TR_a"));
        settle(&mut negotiation);
        negotiation.subscribe(SendTrack {
            codecs: vec![codec(mime_type, fmtp)],
            ..send("TR_b", MediaKind::Video, 2000)
        });
        let offer = negotiation.create_offer(&local(1), fresh_ssrc);
        let answer = answer_to(&offer.sdp, |media| {
            media.codecs.retain(|codec| codec.name != first);
            let numbers = media.codecs.iter().map(|c| c.payload_type.to_string());
            if media.kind == MediaType::Video {
                media.formats = numbers.collect();
            }
        });
        let answered = negotiation.take_answer(offer.id, &answer);
        assert!(answered.expect("taken").is_some());
        assert_eq!(sent_tracks(&negotiation), []);
        let failure = (sid("TR_b"), SubscriptionFailure::CodecUnsupported);
        assert_eq!(negotiation.take_failures(), [failure]);
        // Later tracks of other codecs work.
        let other = if first == "VP8" {
            "video/AV1"
        } else {
            "video/VP8"
        };
        negotiation.subscribe(SendTrack {
            codecs: vec![codec(other, "")],
            ..send("TR_c", MediaKind::Video, 3000)
        });
        settle(&mut negotiation);
        settle(&mut negotiation);
        assert_eq!(sent_tracks(&negotiation), [sid("TR_c")]);
    }
}

fn sent_tracks(negotiation: &Negotiation) -> Vec<TrackSid> {
    let sections = negotiation.send_sections().into_iter();
    sections.map(|section| section.track).collect()
}

#[test]
fn an_answer_says_who_begins_dtls_and_that_stays_so_until_ice_is_restarted() {
    let mut negotiation = subscriber();
    let mut answered = |ice: &str, setup: Setup| {
        let offer = negotiation.create_offer(&local(1), fresh_ssrc);
        let answer = answer_to(&offer.sdp, |media| {
            media.transport.ice_ufrag = Some(ice.to_owned());
            media.transport.setup = Some(setup);
        });
        let answered = negotiation.take_answer(offer.id, &answer);
        answered.map(|answered| answered.expect("of now").remote.setup)
    };
    assert_eq!(answered("ice1", Setup::Passive), Ok(Setup::Passive));
    assert_eq!(answered("ice1", Setup::Active), Ok(Setup::Passive));
    assert_eq!(answered("ice2", Setup::Passive), Ok(Setup::Passive));
    assert_eq!(answered("ice3", Setup::Active), Ok(Setup::Active));
    let undecided = Err(NegotiationError::SetupUnusable);
    for setup in [Setup::ActPass, Setup::HoldConn] {
        assert_eq!(answered("ice3", setup), undecided);
    }
    assert_eq!(answered("ice3", Setup::Passive), Ok(Setup::Active));
}

#[test]
fn payload_types_mean_the_same_in_the_whole_bundle() {
    let mut negotiation = subscriber();
    let codecs = [
        ("audio/opus", ""),
        ("audio/opus", "minptime=10;useinbandfec=1;stereo=1"),
        ("audio/red", "111/111"),
        ("audio/red", "109/109"),
        ("video/VP8", ""),
        ("video/VP9", "profile-id=0"),
        ("video/VP9", "profile-id=2"),
        ("video/H264", "packetization-mode=1;profile-level-id=42e01f"),
        ("video/H264", "packetization-mode=0;profile-level-id=42001f"),
        ("video/H264", "packetization-mode=1;profile-level-id=640034"),
        ("video/AV1", "level-idx=8;profile=0;tier=0"),
    ];
    for (index, (mime_type, fmtp)) in codecs.into_iter().enumerate() {
        let kind = match mime_type.starts_with("audio") {
            true => MediaKind::Audio,
            false => MediaKind::Video,
        };
        let mut track = send(&format!("TR_{index}"), kind, 1000 + 10 * index as u32);
        track.codecs = vec![codec(mime_type, fmtp)];
        negotiation.subscribe(track);
    }
    let mut unknown = send("TR_unknown", MediaKind::Video, 9000);
    unknown.codecs = vec![codec("video/H265", "")];
    negotiation.subscribe(unknown);
    let offer = negotiation.create_offer(&local(1), fresh_ssrc);
    let answer = answer_to(&offer.sdp, |_| {});
    assert!(
        negotiation
            .take_answer(offer.id, &answer)
            .expect("taken")
            .is_some()
    );
    let failure = (sid("TR_unknown"), SubscriptionFailure::CodecUnsupported);
    assert_eq!(negotiation.take_failures(), [failure]);
    let parsed = SessionDescription::parse(&offer.sdp).expect("our offer");
    let mut meaning = std::collections::BTreeMap::new();
    for codec in parsed.media.iter().flat_map(|media| &media.codecs) {
        assert!(
            (35..=63).contains(&codec.payload_type) || (96..=127).contains(&codec.payload_type)
        );
        let what = (codec.name.clone(), codec.fmtp.clone());
        let known = meaning
            .entry(codec.payload_type)
            .or_insert_with(|| what.clone());
        assert_eq!(*known, what);
    }
    let sent = negotiation.send_sections();
    assert_eq!(sent.len(), codecs.len());
    for section in &sent {
        let index: usize = section.track.as_str()[3..].parse().expect("index");
        let plain = codecs[index].0.replace("audio/red", "audio/opus");
        assert_eq!(section.codec.mime_type, plain);
        assert_eq!(section.red.is_some(), codecs[index].1 == "111/111");
    }
    // Stereo is announced to the receiver.
    assert!(sent[1].codec.fmtp.contains("sprop-stereo=1"));
    assert!(
        !negotiation.wants_offer(),
        "the unknown codec waits for nothing"
    );
}

#[test]
fn what_does_not_fit_waits_without_offers() {
    let mut negotiation = subscriber();
    for index in 0..1200 {
        negotiation.subscribe(send(&format!("TR_{index}"), MediaKind::Audio, 1000 + index));
    }
    let mut rounds = 0;
    while rounds == 0 || negotiation.wants_offer() {
        let offer = negotiation.create_offer(&local(1), fresh_ssrc);
        let answer = answer_to(&offer.sdp, |_| {});
        assert!(offer.sdp.len() + answer.len() <= MAX_DESCRIBED);
        let answered = negotiation.take_answer(offer.id, &answer);
        assert!(answered.expect("taken").is_some());
        rounds += 1;
        assert!(rounds < 10);
    }
    let fits = MAX_USED_SECTIONS - SECTIONS_TO_PUBLISH_IN - 1;
    assert_eq!(sent(&negotiation).len(), fits);
    let failures = negotiation.take_failures();
    assert_eq!(failures.len(), 1200 - fits);
    let reason = SubscriptionFailure::TooManySections;
    assert!(failures.iter().all(|(_, why)| *why == reason));
    assert_eq!(negotiation.take_failures(), [], "each is told once");
    assert!(!negotiation.wants_offer());
    negotiation.unsubscribe(sid("TR_0"));
    assert!(negotiation.wants_offer());
    settle(&mut negotiation);
    assert!(negotiation.wants_offer(), "there is room now");
    settle(&mut negotiation);
    assert!(!negotiation.wants_offer());
}

proptest! {
    #[test]
    fn random_answers_never_panic(id in 0_u32..3, noise in ".{0,200}", cut in 0_usize..3000, line in 0_usize..200) {
        let mut negotiation = subscriber();
        negotiation.subscribe(send("TR_a", MediaKind::Audio, 1000));
        negotiation.subscribe(send("TR_b", MediaKind::Video, 2000));
        let offer = negotiation.create_offer(&local(1), fresh_ssrc);
        let good = answer_to(&offer.sdp, |_| {});
        let shortened: String = good.chars().take(cut).collect();
        let mut lines: Vec<&str> = good.split("\r\n").collect();
        let line = line % lines.len();
        lines[line] = &noise;
        for answer in [noise.clone(), shortened, lines.join("\r\n")] {
            let Ok(answer) = SessionDescription::parse(&answer) else {
                continue;
            };
            let _ = negotiation.handle_answer(id, &answer);
            let _ = negotiation.wants_offer();
            let _ = negotiation.send_sections();
        }
    }
}

/// What a client knows of our offers, when some of them and some of its answers are lost.
#[derive(Default)]
struct Listener {
    /// Mids of the sections it has, in order, and the track in each.
    sections: Vec<(String, Option<TrackSid>)>,
}

impl Listener {
    /// Clients keep to RFC 9429, section 5.10: what they have stays where it is. And they fire no event for a track
    /// that follows another one in a section without a pause.
    fn take(&mut self, offer: &super::super::Offered) {
        let parsed = SessionDescription::parse(&offer.sdp).expect("our offer");
        assert!(parsed.media.len() >= self.sections.len());
        let track = |media: &MediaDescription| media.msid.as_ref()?.track.as_deref().map(sid);
        let offered = parsed.media.iter();
        let offered: Vec<_> = offered
            .map(|media| (media.mid.clone().expect("mid"), track(media)))
            .collect();
        for ((mid, before), (offered, after)) in self.sections.iter().zip(&offered) {
            assert_eq!(mid, offered);
            assert!(before.is_none() || after.is_none() || before == after);
        }
        self.sections = offered;
    }
}

#[derive(Debug, Clone)]
enum Step {
    Subscribe(u8, bool),
    Unsubscribe(u8),
    Answered,
    /// The signal connection breaks with the offer, or with its answer: the next offer comes unasked for.
    OfferLost,
    AnswerLost,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..8, any::<bool>()).prop_map(|(track, video)| Step::Subscribe(track, video)),
        2 => (0u8..8).prop_map(Step::Unsubscribe),
        3 => Just(Step::Answered),
        1 => Just(Step::OfferLost),
        1 => Just(Step::AnswerLost),
    ]
}

proptest! {
    #[test]
    fn offers_and_answers_may_be_lost_and_all_subscriptions_are_served(steps in prop::collection::vec(step(), 1..40)) {
        let (mut negotiation, mut client) = (subscriber(), Listener::default());
        let settled = std::iter::repeat_n(Step::Answered, 3);
        for (number, step) in steps.into_iter().chain(settled).enumerate() {
            let ice = local(u32::try_from(number).expect("few"));
            match step {
                Step::Subscribe(track, video) => {
                    let kind = if video { MediaKind::Video } else { MediaKind::Audio };
                    negotiation.subscribe(send(&format!("TR_{kind:?}{track}"), kind, 100 + 2 * u32::from(track)));
                }
                Step::Unsubscribe(track) => {
                    negotiation.unsubscribe(sid(&format!("TR_Audio{track}")));
                    negotiation.unsubscribe(sid(&format!("TR_Video{track}")));
                }
                Step::OfferLost => _ = negotiation.create_offer(&ice, fresh_ssrc),
                Step::AnswerLost => client.take(&negotiation.create_offer(&ice, fresh_ssrc)),
                Step::Answered => {
                    let offer = negotiation.create_offer(&ice, fresh_ssrc);
                    client.take(&offer);
                    let answer = answer_to(&offer.sdp, |_| {});
                    let answered = negotiation.take_answer(offer.id, &answer).expect("taken");
                    prop_assert!(answered.is_some());
                    prop_assert_eq!(negotiation.take_failures(), []);
                }
            }
        }
        prop_assert!(!negotiation.wants_offer());
        let known = client.sections.iter().filter_map(|(mid, track)| Some((mid.clone(), (*track)?)));
        prop_assert_eq!(known.collect::<Vec<_>>(), sent(&negotiation));
        prop_assert_eq!(sent(&negotiation).len(), negotiation.subscriptions.len());
    }
}
