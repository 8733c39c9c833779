use protocol::{
    livekit::{self, ParticipantPermission},
    token::Grant,
};
use signaling::{ApiCall, ApiReply};

use crate::meeting::*;

/// What somebody was told of the room since, about recordings.
fn told(meeting: &Meeting, session: signaling::SessionId, since: usize) -> Vec<bool> {
    let told = meeting.since(session, since);
    let updates = told.iter().filter_map(|told| match told {
        Told::RoomUpdate(update) => Some(update.room.as_ref().unwrap().active_recording),
        _ => None,
    });
    updates.collect()
}

fn recorder(identity: &str) -> Grant {
    let mut recorder = grant(identity);
    let video = recorder.video.as_mut().unwrap();
    (video.recorder, video.hidden) = (true, true);
    recorder
}

fn is_recorded(meeting: &mut Meeting) -> bool {
    let Ok(ApiReply::Room(room)) = meeting.api(ApiCall::GetRoom) else {
        panic!("no room")
    };
    room.active_recording
}

#[test]
fn everybody_is_told_while_a_recorder_is_in_the_room_though_it_is_hidden() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let start = meeting.heard(alice);
    assert!(!is_recorded(&mut meeting));
    let first = meeting.open(recorder("first"), join_request("v=0"));
    meeting.connect(first);
    assert_eq!(told(&meeting, alice, start), [true]);
    // One of this kind, without the flag.
    let mut egress = grant("second");
    egress.kind = "egress".into();
    egress.video.as_mut().unwrap().hidden = true;
    let second = meeting.open(egress, join_request("v=0"));
    meeting.connect(second);
    let bob = meeting.join("bob");
    assert!(
        meeting
            .join_response(bob)
            .room
            .as_ref()
            .unwrap()
            .active_recording
    );
    let remove = |meeting: &mut Meeting, identity: &str| {
        let identity = identity.into();
        let revoke_before = None;
        meeting.api(ApiCall::RemoveParticipant {
            identity,
            revoke_before,
        })
    };
    remove(&mut meeting, "first").unwrap();
    assert!(is_recorded(&mut meeting), "the other one still records");
    meeting.advance(NEWS);
    let start = meeting.heard(alice);
    remove(&mut meeting, "second").unwrap();
    assert_eq!(told(&meeting, alice, start), [false]);
    assert!(!is_recorded(&mut meeting));
    // What records need not be of this kind.
    let mut third = recorder("third");
    third.kind = "agent".into();
    meeting.open(third, join_request("v=0"));
    assert!(is_recorded(&mut meeting));
}

#[test]
#[allow(deprecated)] // `recorder`: it is what the server API has.
fn who_is_made_a_recorder_is_one() {
    let mut meeting = Meeting::new();
    let (alice, _) = (meeting.enter("alice"), meeting.enter("bob"));
    let start = meeting.heard(alice);
    let permission = ParticipantPermission {
        can_subscribe: true,
        recorder: true,
        ..Default::default()
    };
    let request = livekit::UpdateParticipantRequest {
        identity: "bob".into(),
        permission: Some(permission),
        ..Default::default()
    };
    meeting
        .api(ApiCall::UpdateParticipant(Box::new(request)))
        .unwrap();
    assert_eq!(told(&meeting, alice, start), [true]);
}

#[allow(deprecated)] // `recorder`: it is what the server API has.
fn make_recorder(meeting: &mut Meeting, identity: &str, recorder: bool) {
    let permission = ParticipantPermission {
        can_subscribe: true,
        recorder,
        ..Default::default()
    };
    let request = livekit::UpdateParticipantRequest {
        identity: identity.into(),
        permission: Some(permission),
        ..Default::default()
    };
    let call = ApiCall::UpdateParticipant(Box::new(request));
    meeting.api(call).unwrap();
}

#[test]
fn a_room_ends_after_who_became_a_recorder_and_not_while_one_is_a_person() {
    let minute = std::time::Duration::from_secs(60);
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    make_recorder(&mut meeting, "alice", true);
    meeting.ask(alice, Ask::Leave(Default::default()));
    meeting.advance(minute);
    assert!(meeting.closed, "nobody is there");
    // Nor does one keep it open who is there for others.
    let mut meeting = Meeting::new();
    meeting.enter("alice");
    make_recorder(&mut meeting, "alice", true);
    meeting.advance(minute);
    assert!(meeting.closed);
    // The room is about to end, and one of those who do not hold it becomes one who does.
    let mut meeting = Meeting::new();
    let first = meeting.open(recorder("first"), join_request("v=0"));
    meeting.connect(first);
    make_recorder(&mut meeting, "first", false);
    meeting.advance(10 * minute);
    assert!(!meeting.closed);
    assert_eq!(meeting.clients[&first].closed, None);
}
