//! The older protocol: publishing on one PeerConnection, receiving on another, which the server offers.

use std::time::Duration;

use protocol::{
    livekit::{DisconnectReason, SessionDescription, leave_request::Action},
    token::{Grant, VideoGrant},
};
use sfu::{Command, DescriptionCommand, MemberCommand, SubscriptionCommand};

use crate::meeting::*;

const SECOND: Duration = Duration::from_secs(1);

/// A meeting in which everybody speaks the older protocol.
fn meeting() -> Meeting {
    let mut meeting = Meeting::new();
    meeting.two_connections = true;
    meeting
}

fn enter(meeting: &mut Meeting, identity: &str) -> signaling::SessionId {
    let session = meeting.open(grant(identity), join_request(""));
    answer(meeting, session);
    meeting.connect(session);
    session
}

fn offers(meeting: &Meeting, session: signaling::SessionId) -> Vec<SessionDescription> {
    let offers = meeting.clients[&session].heard.iter();
    let offers = offers.filter_map(|told| match told {
        Told::Offer(offer) => Some(offer.clone()),
        _ => None,
    });
    offers.collect()
}

/// Answers the last offer.
fn answer(meeting: &mut Meeting, session: signaling::SessionId) {
    let id = offers(meeting, session).last().expect("an offer").id;
    answer_with(meeting, session, id, "v=0");
}

fn answer_with(meeting: &mut Meeting, session: signaling::SessionId, id: u32, sdp: &str) {
    let answer = SessionDescription {
        r#type: "answer".into(),
        sdp: sdp.into(),
        id,
        ..Default::default()
    };
    meeting.ask(session, Ask::Answer(answer));
}

#[test]
fn existing_tracks_are_in_the_first_offer() {
    let mut meeting = meeting();
    let alice = enter(&mut meeting, "alice");
    let track = meeting.publish(alice, "camera-of-alice");
    let bob = meeting.open(grant("bob"), join_request(""));
    let join = meeting.join_response(bob);
    assert!(join.subscriber_primary && join.fast_publish);
    let sid = meeting.sid(bob);
    let about_bob = meeting
        .shard
        .commands
        .iter()
        .filter_map(|command| match command {
            Command::Member(MemberCommand::Add { peer, .. }) if *peer == sid => Some("add"),
            Command::Member(MemberCommand::AddSecondConnection { peer, primary })
                if *peer == sid && *primary =>
            {
                Some("second")
            }
            Command::Subscription(SubscriptionCommand::Subscribe { peer, .. }) if *peer == sid => {
                Some("subscribe")
            }
            Command::Description(DescriptionCommand::OfferSubscriber { peer, .. })
                if *peer == sid =>
            {
                Some("offer")
            }
            _ => None,
        });
    assert_eq!(
        about_bob.collect::<Vec<_>>(),
        ["add", "second", "subscribe", "offer"]
    );
    let offers = offers(&meeting, bob);
    assert_eq!((offers.len(), offers[0].r#type.as_str()), (1, "offer"));
    assert_eq!(offers[0].mid_to_track_id["0"], track.to_string());
    // The join is out before.
    assert!(matches!(meeting.clients[&bob].heard[0], Told::Join(_)));
}

#[test]
fn a_client_on_one_connection_hears_nothing_of_a_second() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let join = meeting.join_response(alice);
    assert!(!join.subscriber_primary && !join.fast_publish);
    // Its answer to nothing is ignored.
    answer_with(&mut meeting, alice, 1, "broken");
    assert_eq!(meeting.leave_of(alice), None);
    assert_eq!(offers(&meeting, alice), []);
}

#[test]
fn who_may_not_subscribe_is_connected_by_the_first_connection() {
    let mut meeting = meeting();
    let video = VideoGrant {
        can_subscribe: Some(false),
        ..grant("sender").video.unwrap_or_default()
    };
    let grant = Grant {
        video: Some(video),
        ..grant("sender")
    };
    let sender = meeting.open(grant, join_request(""));
    assert!(!meeting.join_response(sender).subscriber_primary);
    let subscriber = &meeting.shard.peers[&meeting.sid(sender)].subscriber;
    assert!(!subscriber.as_ref().expect("two").primary);
}

#[test]
fn a_track_that_comes_later_is_offered_and_publishing_answered() {
    let mut meeting = meeting();
    let (alice, bob) = (enter(&mut meeting, "alice"), enter(&mut meeting, "bob"));
    let track = meeting.publish(alice, "cam");
    assert!(matches!(
        meeting.clients[&alice].heard.last(),
        Some(Told::Answer(_))
    ));
    let offers = offers(&meeting, bob);
    assert_eq!(offers.len(), 2);
    assert_eq!(offers[1].mid_to_track_id["0"], track.to_string());
    assert!(offers[1].id > offers[0].id);
    let asked = |told: &Told| matches!(told, Told::MediaSectionsRequirement(_));
    assert!(!meeting.clients[&bob].heard.iter().any(asked));
}

#[test]
fn a_resume_brings_an_offer_that_restarts_ice() {
    let mut meeting = meeting();
    let (alice, bob) = (enter(&mut meeting, "alice"), enter(&mut meeting, "bob"));
    meeting.cut(bob);
    // Its offer is lost with the connection.
    let track = meeting.publish(alice, "cam");
    let again = meeting.resume("bob", bob);
    let heard = &meeting.clients[&again].heard;
    assert!(matches!(heard[0], Told::Reconnect(_)));
    let offers = offers(&meeting, again);
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0].mid_to_track_id["0"], track.to_string());
    let restarts = meeting.shard.commands.iter().filter(
        |command| matches!(command, Command::Description(DescriptionCommand::OfferSubscriber { restart_ice, .. }) if *restart_ice),
    );
    assert_eq!(restarts.count(), 1);
    answer(&mut meeting, again);
    assert!(
        !meeting.shard.peers[&meeting.sid(bob)]
            .subscriber
            .as_ref()
            .expect("two")
            .waits
    );
    meeting.advance(1000 * SECOND);
    assert_eq!(meeting.participants().len(), 2);
}

#[test]
fn who_does_not_answer_is_told_to_reconnect() {
    let mut meeting = meeting();
    let (alice, bob) = (enter(&mut meeting, "alice"), enter(&mut meeting, "bob"));
    meeting.publish(alice, "cam");
    let id = offers(&meeting, bob).last().expect("an offer").id;
    // To an offer that was answered long ago.
    answer_with(&mut meeting, bob, id - 1, "v=0");
    meeting.advance(14 * SECOND);
    assert_eq!(meeting.leave_of(bob), None);
    meeting.advance(2 * SECOND);
    assert_eq!(
        meeting.leave_of(bob),
        Some((DisconnectReason::ConnectionTimeout, Action::Reconnect))
    );
    assert_eq!(meeting.leave_of(alice), None);
}

#[test]
fn a_broken_answer_ends_its_sender_only() {
    let mut meeting = meeting();
    let (alice, bob) = (enter(&mut meeting, "alice"), enter(&mut meeting, "bob"));
    meeting.publish(alice, "cam");
    let id = offers(&meeting, bob).last().expect("an offer").id;
    let not_one = SessionDescription {
        r#type: "offer".into(),
        sdp: "broken".into(),
        id,
        ..Default::default()
    };
    meeting.ask(bob, Ask::Answer(not_one));
    assert_eq!(meeting.leave_of(bob), None);
    answer_with(&mut meeting, bob, id, "broken");
    assert_eq!(
        meeting.leave_of(bob),
        Some((DisconnectReason::MediaFailure, Action::Disconnect))
    );
    assert_eq!(meeting.leave_of(alice), None);
    assert_eq!(meeting.participants().len(), 1);
}
