//! Offers and answers: how often they are read, how long they may be, and what their senders are told.

use std::time::Duration;

use protocol::{
    livekit::{
        ClientInfo, DisconnectReason, JoinRequest, RequestResponse, SessionDescription,
        SignalTarget, SubscriptionError, SyncState, TrickleRequest,
        client_info::Sdk,
        leave_request::Action,
        request_response::{Reason, Request},
        signal_request::Message as Ask,
        signal_response::Message as Told,
    },
    signal::Encoding,
};
use sfu::{Command, DescriptionCommand, Event, SubscriptionFailure};
use signaling::SessionId;

use crate::meeting::{Meeting, grant, join_request, offer};

const SECOND: Duration = Duration::from_secs(1);

/// Ids of the offers that the shard was given, of this participant.
fn given(meeting: &Meeting, session: SessionId) -> Vec<u32> {
    let sid = meeting.sid(session);
    let commands = meeting.shard.commands.iter();
    let offers = commands.filter_map(|command| match command {
        Command::Description(DescriptionCommand::Offer { peer, id, .. }) if *peer == sid => {
            Some(*id)
        }
        _ => None,
    });
    offers.collect()
}

#[test]
fn five_offers_are_read_at_once_then_one_a_second_and_the_newest_counts() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    meeting.advance(10 * SECOND);
    let before = given(&meeting, alice).len();
    let ask = |meeting: &mut Meeting, ids: std::ops::Range<u32>| {
        ids.for_each(|id| meeting.ask(alice, Ask::Offer(offer(id, "v=0"))));
    };
    ask(&mut meeting, 100..200);
    assert_eq!(given(&meeting, alice)[before..], [100, 101, 102, 103, 104]);
    meeting.advance(SECOND - Duration::from_millis(1));
    assert_eq!(given(&meeting, alice)[before..].len(), 5);
    meeting.advance(Duration::from_millis(1));
    assert_eq!(given(&meeting, alice)[before + 5..], [199]);
    // Ten a second for a minute.
    for step in 0..600 {
        ask(&mut meeting, 1000 + step..1001 + step);
        meeting.advance(SECOND / 10);
    }
    let read = given(&meeting, alice).len() - before - 6;
    assert!((59..=61).contains(&read), "{read}");
    // The last is read even when nothing follows it, and everybody else is served at once.
    meeting.advance(SECOND);
    assert_eq!(given(&meeting, alice).last(), Some(&1599));
    let others = given(&meeting, bob).len();
    meeting.ask(bob, Ask::Offer(offer(7, "v=0")));
    assert_eq!(given(&meeting, bob)[others..], [7]);
    assert_eq!(meeting.leave_of(alice), None);
}

/// LiveKit's Go SDK drops an answer that comes before it has made the offer of its join valid, and never connects.
#[test]
fn the_offer_of_a_go_clients_join_waits_until_the_client_has_made_it_valid() {
    let join = |sdk: Sdk| {
        let mut meeting = Meeting::new();
        let client = ClientInfo {
            sdk: sdk.into(),
            ..Default::default()
        };
        let request = JoinRequest {
            client_info: Some(client),
            ..join_request("v=0")
        };
        let session = meeting.open(grant("bot"), request);
        (meeting, session)
    };
    let candidate = Ask::Trickle(TrickleRequest {
        candidate_init:
            r#"{"candidate":"candidate:1 1 udp 1 10.0.0.1 4444 typ host","sdpMid":"0"}"#.into(),
        target: SignalTarget::Publisher.into(),
        ..Default::default()
    });
    let (meeting, other) = join(Sdk::Js);
    assert_eq!(given(&meeting, other), [1]);

    let (mut meeting, bot) = join(Sdk::Go);
    meeting.advance(Duration::from_millis(5));
    assert!(given(&meeting, bot).is_empty());
    meeting.ask(bot, candidate);
    assert_eq!(given(&meeting, bot), [1]);
    meeting.advance(SECOND);
    assert_eq!(given(&meeting, bot), [1]);

    // Nothing to tell, and another offer.
    let (mut meeting, bot) = join(Sdk::Go);
    meeting.advance(Duration::from_millis(249));
    assert!(given(&meeting, bot).is_empty());
    meeting.advance(Duration::from_millis(1));
    assert_eq!(given(&meeting, bot), [1]);
    meeting.ask(bot, Ask::Offer(offer(2, "v=0")));
    assert_eq!(given(&meeting, bot), [1, 2]);

    // Its connection goes meanwhile, and with it the offer.
    let (mut meeting, bot) = join(Sdk::Go);
    let sid = meeting.sid(bot);
    meeting.cut(bot);
    meeting.advance(SECOND);
    let is_offer = |command: &Command| matches!(command, Command::Description(DescriptionCommand::Offer { peer, .. }) if *peer == sid);
    assert!(!meeting.shard.commands.iter().any(is_offer));
}

#[test]
fn an_offer_that_waits_is_forgotten_with_its_connection() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    (10..20).for_each(|id| meeting.ask(alice, Ask::Offer(offer(id, "v=0"))));
    let before = given(&meeting, alice);
    meeting.cut(alice);
    let back = meeting.resume("alice", alice);
    meeting.advance(5 * SECOND);
    assert_eq!(given(&meeting, alice), before);
    meeting.ask(back, Ask::Offer(offer(30, "v=0")));
    assert_eq!(given(&meeting, alice).last(), Some(&30));
}

#[test]
fn an_offer_that_cannot_be_read_ends_its_sender_only_even_when_it_waited() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    (10..20).for_each(|id| meeting.ask(alice, Ask::Offer(offer(id, "v=0"))));
    meeting.ask(alice, Ask::Offer(offer(20, "broken")));
    assert_eq!(meeting.leave_of(alice), None);
    meeting.advance(SECOND);
    assert_eq!(
        meeting.leave_of(alice),
        Some((DisconnectReason::MediaFailure, Action::Disconnect))
    );
    assert_eq!(meeting.leave_of(bob), None);
}

#[test]
fn an_offer_of_a_megabyte_and_a_resume_with_two_such_descriptions_are_taken() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let section = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\n";
    let padding = "a=fmtp:96 x=1\r\n".repeat(190);
    let long = format!("v=0\r\n{}", [section, &padding].concat().repeat(320));
    assert!(long.len() > 900_000, "{}", long.len());
    let description = |kind: &str| SessionDescription {
        r#type: kind.into(),
        sdp: long.clone(),
        id: 9,
        ..Default::default()
    };
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        meeting.ask_as(alice, Ask::Offer(description("offer")), encoding);
    }
    assert_eq!(given(&meeting, alice)[1..], [9, 9]);
    meeting.cut(alice);
    let back = meeting.resume("alice", alice);
    let state = SyncState {
        offer: Some(description("offer")),
        answer: Some(description("answer")),
        ..Default::default()
    };
    meeting.ask(back, Ask::SyncState(state));
    assert_eq!(meeting.leave_of(back), None);
    assert_eq!(meeting.participants().len(), 1);
}

#[test]
fn who_has_no_codec_for_a_track_is_told_and_so_is_whose_description_is_full() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let track = meeting.publish(alice, "cam");
    for (failure, expected) in [
        (
            SubscriptionFailure::CodecUnsupported,
            SubscriptionError::SeCodecUnsupported,
        ),
        (
            SubscriptionFailure::TooManySections,
            SubscriptionError::SeUnknown,
        ),
    ] {
        let (peer, start) = (meeting.sid(bob), meeting.heard(bob));
        let others = meeting.heard(alice);
        meeting.media(Event::SubscriptionFailed {
            peer,
            track,
            failure,
        });
        let heard = meeting.since(bob, start);
        assert!(
            matches!(heard, [Told::SubscriptionResponse(response)]
                if response.track_sid == track.to_string() && response.err() == expected),
            "{heard:?}"
        );
        assert_eq!(meeting.heard(alice), others);
    }
}

#[test]
fn a_publisher_whose_codecs_nobody_knows_is_told_why_and_that_the_track_ended() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let track = meeting.publish(alice, "cam");
    let (peer, start) = (meeting.sid(alice), meeting.heard(alice));
    meeting.media(Event::TrackRefused { peer, track });
    let heard = meeting.since(alice, start);
    let why = heard.iter().find_map(|told| match told {
        Told::RequestResponse(response) => Some(response),
        _ => None,
    });
    let Some(RequestResponse {
        reason,
        request: Some(Request::AddTrack(request)),
        ..
    }) = why
    else {
        panic!("{heard:?}")
    };
    assert_eq!(*reason, i32::from(Reason::UnsupportedType));
    assert_eq!(request.cid, "cam");
    let ended = |told: &Told| matches!(told, Told::TrackUnpublished(ended) if ended.track_sid == track.to_string());
    assert!(heard.iter().any(ended), "{heard:?}");
    assert_eq!(meeting.subscriptions(bob), []);
    // It may try again, with a codec that is known.
    let again = meeting.publish(alice, "cam");
    assert!(again != track);
}
