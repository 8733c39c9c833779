use std::{collections::BTreeSet, time::Duration};

use protocol::livekit::{
    DisconnectReason, ParticipantPermission, RoomEndReason, UpdateParticipantRequest,
};
use signaling::{ApiCall, Config};

use crate::meeting::*;

/// Events by name, with identity and track.
fn told(meeting: &Meeting) -> Vec<String> {
    let events = meeting.events.iter();
    let text = |event: &protocol::livekit::WebhookEvent| {
        let person = event.participant.as_ref();
        let person = person.map(|person| format!(" {}", person.identity));
        event.event.clone() + &person.unwrap_or_default()
    };
    events.map(text).collect()
}

#[test]
fn a_meeting_is_told_from_beginning_to_end() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let track = meeting.publish(alice, "cam");
    // Ended by an offer without it.
    meeting.ask(alice, Ask::Offer(offer(3, "v=0")));
    meeting.publish(alice, "again");
    meeting.ask(alice, Ask::Leave(Default::default()));
    meeting.advance(Duration::from_secs(60));
    assert_eq!(
        told(&meeting),
        [
            "room_started",
            "participant_joined alice",
            "track_published alice",
            "track_unpublished alice",
            "track_published alice",
            "track_unpublished alice",
            "participant_left alice",
            "room_finished",
        ]
    );
    let events = &meeting.events;
    assert_eq!(events[0].room.as_ref().unwrap().name, "Room");
    assert_eq!(events[0].created_at, UNIX_START.as_secs() as i64);
    assert_eq!(events[1].room.as_ref().unwrap().num_participants, 1);
    assert_eq!(events[2].track.as_ref().unwrap().sid, track.to_string());
    let left = events[6].participant.as_ref().unwrap();
    assert_eq!(left.disconnect_reason(), DisconnectReason::ClientInitiated);
    assert_eq!(events[6].room.as_ref().unwrap().num_participants, 0);
    assert_eq!(
        events[7].room_end_reason(),
        RoomEndReason::RoomEndIdleTimeout
    );
    let ids: BTreeSet<_> = events.iter().map(|event| &event.id).collect();
    assert_eq!(ids.len(), events.len());
    assert!(events.iter().all(|event| event.id.starts_with("EV_")));
}

#[test]
fn who_never_connected_gave_up() {
    let mut meeting = Meeting::new();
    let alice = meeting.join("alice");
    meeting.publish(alice, "cam");
    meeting.cut(alice);
    assert_eq!(
        told(&meeting),
        ["room_started", "participant_connection_aborted alice"]
    );
}

#[test]
fn tracks_of_the_first_offer_are_told_once_their_publisher_is() {
    let mut meeting = Meeting::new();
    let alice = meeting.join("alice");
    meeting.publish(alice, "cam");
    assert_eq!(told(&meeting), ["room_started"]);
    meeting.connect(alice);
    // A reconnected transport is no second arrival.
    meeting.connect(alice);
    assert_eq!(
        told(&meeting)[1..],
        ["participant_joined alice", "track_published alice"]
    );
}

#[test]
fn a_resume_is_no_event() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    meeting.cut(alice);
    meeting.resume("alice", alice);
    assert_eq!(told(&meeting).len(), 2);
}

#[test]
fn a_second_arrival_ends_the_first() {
    let mut meeting = Meeting::new();
    meeting.enter("alice");
    meeting.enter("alice");
    assert_eq!(
        told(&meeting)[1..],
        [
            "participant_joined alice",
            "participant_left alice",
            "participant_joined alice",
        ]
    );
    let sid = |index: usize| &meeting.events[index].participant.as_ref().unwrap().sid;
    assert_eq!(sid(1), sid(2));
    assert_ne!(sid(2), sid(3));
}

#[test]
fn a_revoked_track_is_told() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    meeting.publish(alice, "cam");
    let request = UpdateParticipantRequest {
        identity: "alice".into(),
        permission: Some(ParticipantPermission::default()),
        ..Default::default()
    };
    meeting
        .api(ApiCall::UpdateParticipant(Box::new(request)))
        .unwrap();
    assert_eq!(told(&meeting).last().unwrap(), "track_unpublished alice");
}

#[test]
fn an_end_for_all_tells_of_each() {
    type End = fn(&mut Meeting);
    let ends: [(End, RoomEndReason); 2] = [
        (
            |meeting| assert!(meeting.api(ApiCall::DeleteRoom).is_ok()),
            RoomEndReason::RoomEndApiDelete,
        ),
        (Meeting::shutdown, RoomEndReason::RoomEndServerShutdown),
    ];
    for (end, reason) in ends {
        let mut meeting = Meeting::with(Config::default());
        let alice = meeting.enter("alice");
        meeting.publish(alice, "cam");
        end(&mut meeting);
        assert_eq!(
            told(&meeting)[3..],
            [
                "track_unpublished alice",
                "participant_left alice",
                "room_finished"
            ]
        );
        assert_eq!(meeting.events.last().unwrap().room_end_reason(), reason);
    }
}

#[test]
fn who_comes_and_gives_up_again_and_again_is_told_of_once_a_minute() {
    let mut meeting = Meeting::new();
    let mut loud = grant("mallory");
    loud.metadata = "m".repeat(500_000);
    loud.attributes = [("key".to_owned(), "v".repeat(60_000))].into();
    let aborted = |meeting: &Meeting| {
        let events = meeting.events.iter();
        let aborted = events.filter(|event| event.event == "participant_connection_aborted");
        aborted.cloned().collect::<Vec<_>>()
    };
    let mut companion = loud.clone();
    companion.principal = "mallory".into();
    companion.identity = "mallory#0".into();
    for round in 0..560 {
        let mut next = if round % 2 == 0 {
            loud.clone()
        } else {
            companion.clone()
        };
        if round % 2 == 1 {
            next.identity = format!("mallory#{round}");
        }
        let session = meeting.open(next, join_request("v=0"));
        meeting.cut(session);
        meeting.advance(Duration::from_millis(100));
    }
    let told = aborted(&meeting);
    assert_eq!(told.len(), 1);
    let told = told[0].participant.as_ref().unwrap();
    assert!(told.metadata.is_empty() && told.attributes.is_empty());
    // Somebody else is told of, and after a minute it is again.
    let session = meeting.join("bob");
    meeting.cut(session);
    assert_eq!(aborted(&meeting).len(), 2);
    meeting.advance(Duration::from_secs(5));
    let session = meeting.open(loud.clone(), join_request("v=0"));
    meeting.cut(session);
    assert_eq!(aborted(&meeting).len(), 3);
    // Of who was there, the application hears all, and the others what they need.
    let alice = meeting.enter("alice");
    let mallory = meeting.open(loud, join_request("v=0"));
    meeting.connect(mallory);
    let start = meeting.heard(alice);
    meeting.ask(mallory, Ask::Leave(Default::default()));
    let left = meeting.events.last().unwrap();
    assert_eq!(left.event, "participant_left");
    assert_eq!(left.participant.as_ref().unwrap().metadata.len(), 500_000);
    let farewell = &updates(meeting.since(alice, start))[0];
    assert!(farewell.metadata.is_empty() && farewell.attributes.is_empty());
    assert_eq!(farewell.name, "Name of mallory");
    // Nor do they hear it when they come back.
    meeting.cut(alice);
    let again = meeting.resume("alice", alice);
    let known = updates(&meeting.clients[&again].heard);
    assert!(known.iter().all(|info| info.metadata.is_empty()));
    assert!(known.iter().any(|info| info.identity == "mallory"));
}
