//! A companion, the same person on another device, belongs to its principal; seats and budgets are the person's.

use std::time::Duration;

use protocol::{
    error::Error,
    livekit::{
        self, DisconnectReason, LeaveRequest, ParticipantPermission, UpdateParticipantRequest,
        UpdateSubscription, leave_request::Action,
    },
    token::Grant,
};
use signaling::{ApiCall, ApiReply, Config, SessionId};

use crate::meeting::*;

/// As the endpoint makes it of the principal's token (`publish=NAME`).
fn companion_of(identity: &str, name: &str) -> Grant {
    let mut grant = grant(identity);
    grant.principal = identity.into();
    grant.identity = format!("{identity}#{name}");
    grant.video.as_mut().unwrap().can_subscribe = Some(false);
    grant
}

fn enter_beside(meeting: &mut Meeting, identity: &str, name: &str) -> SessionId {
    let session = meeting.open(companion_of(identity, name), join_request("v=0"));
    meeting.connect(session);
    session
}

fn refusal(meeting: &Meeting, session: SessionId) -> Option<DisconnectReason> {
    meeting.leave_of(session).map(|(reason, _)| reason)
}

fn remove(identity: &str, revoke_before: Option<u64>) -> ApiCall {
    ApiCall::RemoveParticipant {
        identity: identity.into(),
        revoke_before,
    }
}

#[test]
fn who_was_removed_does_not_come_back_as_a_companion_of_itself() {
    let mut meeting = Meeting::new();
    meeting.enter("alice");
    let mallory = meeting.enter("mallory");
    let device = enter_beside(&mut meeting, "mallory", "screen");
    assert_eq!(
        meeting.api(remove("mallory", Some(2000))),
        Ok(ApiReply::Done)
    );
    let removed = Some((DisconnectReason::ParticipantRemoved, Action::Disconnect));
    assert_eq!(meeting.leave_of(mallory), removed);
    assert_eq!(meeting.leave_of(device), removed, "with it");
    for name in ["screen", "back"] {
        let again = meeting.open(companion_of("mallory", name), join_request("v=0"));
        let reason = DisconnectReason::ParticipantRemoved;
        assert_eq!(refusal(&meeting, again), Some(reason), "{name}");
    }
    assert_eq!(meeting.participants().len(), 1);
    // A newer token lets both in.
    for mut grant in [grant("mallory"), companion_of("mallory", "back")] {
        grant.not_before = Some(2000);
        let session = meeting.open(grant, join_request("v=0"));
        assert_eq!(refusal(&meeting, session), None);
    }
}

#[test]
fn no_refreshed_token_outlives_a_revocation() {
    let mut meeting = Meeting::new();
    let token = |not_before| Grant {
        not_before,
        ..grant("mallory")
    };
    for not_before in [Some(1000), None] {
        let mallory = meeting.open(token(not_before), join_request("v=0"));
        meeting.connect(mallory);
        // Long after, it gets one more.
        meeting.advance(Duration::from_secs(3600));
        let refreshed = meeting.clients[&mallory].signed.last().unwrap().clone();
        let now = UNIX_START.as_secs() + 3600;
        assert_eq!(
            meeting.api(remove("mallory", Some(now))),
            Ok(ApiReply::Done)
        );
        assert!(refreshed.not_before.is_some_and(|since| since <= 1000));
        let again = meeting.open(refreshed, join_request("v=0"));
        let reason = DisconnectReason::ParticipantRemoved;
        assert_eq!(refusal(&meeting, again), Some(reason));
        meeting = Meeting::new();
    }
}

#[test]
fn a_companion_is_muted_and_limited_with_its_principal() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    meeting.enter("bob");
    let device = enter_beside(&mut meeting, "bob", "screen");
    let track = meeting.publish(device, "cam");
    assert_eq!(meeting.subscriptions(alice), [track]);
    let mute = ApiCall::MuteTrack {
        identity: "bob".into(),
        track_sid: track.to_string(),
        muted: true,
    };
    let Ok(ApiReply::Track(Some(muted))) = meeting.api(mute) else {
        panic!("by its principal's name")
    };
    assert!(muted.muted);
    let change = |can_publish, can_subscribe| {
        ApiCall::UpdateParticipant(Box::new(UpdateParticipantRequest {
            identity: "bob".into(),
            permission: Some(ParticipantPermission {
                can_publish,
                can_subscribe,
                ..Default::default()
            }),
            ..Default::default()
        }))
    };
    assert!(meeting.api(change(false, true)).is_ok());
    assert_eq!(meeting.subscriptions(alice), []);
    meeting.advance(NEWS);
    let token = meeting.clients[&device].signed.last().unwrap().video();
    assert!(!token.may_publish() && !token.may_subscribe());
    meeting.advance(NEWS);
    assert!(meeting.api(change(true, true)).is_ok());
    meeting.advance(NEWS);
    let token = meeting.clients[&device].signed.last().unwrap().video();
    assert!(
        token.may_publish() && !token.may_subscribe(),
        "it receives nothing"
    );
}

#[test]
fn a_companion_moves_with_its_principal() {
    let mut meeting = Meeting::new();
    let bob = meeting.enter("bob");
    let device = enter_beside(&mut meeting, "bob", "screen");
    let gone = meeting.enter("carol");
    let away = enter_beside(&mut meeting, "carol", "screen");
    meeting.cut(away);
    for identity in ["bob", "carol"] {
        let call = ApiCall::MoveParticipant {
            identity: identity.into(),
            destination: Box::new(livekit::Room {
                name: "Elsewhere".into(),
                ..Default::default()
            }),
        };
        assert_eq!(meeting.api(call), Ok(ApiReply::Done));
    }
    for (session, identity, principal) in [
        (bob, "bob", "bob"),
        (device, "bob#screen", "bob"),
        (gone, "carol", "carol"),
    ] {
        let grant = meeting.clients[&session].signed.last().unwrap();
        assert_eq!(grant.room(), Some("Elsewhere".into()));
        assert_eq!(grant.identity, identity);
        assert_eq!(grant.principal().as_str(), principal);
    }
    assert_eq!(meeting.participants(), []);
}

#[test]
fn a_person_has_one_companion_at_a_time() {
    let mut meeting = Meeting::new();
    meeting.enter("bob");
    let first = enter_beside(&mut meeting, "bob", "screen");
    let second = meeting.open(companion_of("bob", "other"), join_request("v=0"));
    let refused = Some(DisconnectReason::JoinFailure);
    assert_eq!(refusal(&meeting, second), refused);
    assert_eq!(refusal(&meeting, first), None);
    // The same again takes its place, and another's companion is none of bob's.
    let again = enter_beside(&mut meeting, "bob", "screen");
    assert_eq!(refusal(&meeting, again), None);
    assert_eq!(
        refusal(&meeting, first),
        Some(DisconnectReason::DuplicateIdentity)
    );
    let other = enter_beside(&mut meeting, "carol", "other");
    assert_eq!(refusal(&meeting, other), None);
    meeting.ask(again, Ask::Leave(LeaveRequest::default()));
    let third = enter_beside(&mut meeting, "bob", "other");
    assert_eq!(refusal(&meeting, third), None);
}

#[test]
fn a_companion_takes_nobody_elses_identity() {
    let mut meeting = Meeting::new();
    let other = meeting.enter("bob#boss");
    let mallory = meeting.open(companion_of("bob", "boss"), join_request("v=0"));
    assert!(refusal(&meeting, mallory).is_some());
    assert_eq!(refusal(&meeting, other), None);
    // Nor resumes as it.
    let resume = livekit::JoinRequest {
        reconnect: true,
        participant_sid: meeting.sid(other).to_string(),
        ..join_request("")
    };
    let mallory = meeting.open(companion_of("bob", "boss"), resume);
    assert!(refusal(&meeting, mallory).is_some());
    assert_eq!(meeting.clients[&other].closed, None);
}

#[test]
fn a_person_takes_one_seat_whatever_it_brings_along() {
    let mut meeting = Meeting::with(Config {
        max_participants: 2,
        ..Config::default()
    });
    meeting.enter("mallory");
    let device = enter_beside(&mut meeting, "mallory", "screen");
    assert_eq!(refusal(&meeting, device), None);
    let boss = meeting.enter("boss");
    assert_eq!(refusal(&meeting, boss), None, "n");
    let carol = meeting.join("carol");
    assert_eq!(
        refusal(&meeting, carol),
        Some(DisconnectReason::JoinFailure),
        "n + 1"
    );
    let device = enter_beside(&mut meeting, "boss", "screen");
    assert_eq!(refusal(&meeting, device), None);
}

#[test]
fn who_has_not_come_within_ten_seconds_gives_its_seat_to_one_who_does() {
    let mut meeting = Meeting::with(Config {
        max_participants: 2,
        ..Config::default()
    });
    meeting.enter("alice");
    let ghost = meeting.join("ghost");
    meeting.advance(Duration::from_millis(9_900));
    let boss = meeting.join("boss");
    assert_eq!(refusal(&meeting, boss), Some(DisconnectReason::JoinFailure));
    assert_eq!(refusal(&meeting, ghost), None);
    meeting.advance(Duration::from_millis(100));
    let boss = meeting.enter("boss");
    assert_eq!(refusal(&meeting, boss), None);
    assert_eq!(
        refusal(&meeting, ghost),
        Some(DisconnectReason::JoinFailure)
    );
    // Who is there keeps its seat for good.
    meeting.advance(Duration::from_secs(30));
    let late = meeting.join("late");
    assert_eq!(refusal(&meeting, late), Some(DisconnectReason::JoinFailure));
    assert_eq!(meeting.participants().len(), 2);
}

#[test]
fn whose_going_leaves_no_seat_makes_way_for_nobody() {
    let mut meeting = Meeting::with(Config {
        max_participants: 2,
        ..Config::default()
    });
    meeting.enter("alice");
    meeting.enter("bob");
    // Neither is connected for long: an agent that starts, and a device of somebody who is here.
    let mut agent = grant("agent");
    agent.kind = "agent".into();
    let agent = meeting.open(agent, join_request("v=0"));
    let device = meeting.open(companion_of("bob", "screen"), join_request("v=0"));
    meeting.advance(Duration::from_secs(11));
    for name in ["mallory", "mallet", "mallory"] {
        let late = meeting.join(name);
        assert_eq!(refusal(&meeting, late), Some(DisconnectReason::JoinFailure));
    }
    assert_eq!(refusal(&meeting, agent), None);
    assert_eq!(refusal(&meeting, device), None);
    assert_eq!(meeting.participants().len(), 4);
}

#[test]
fn a_companion_spends_what_its_principal_has() {
    let mut meeting = Meeting::new();
    let publisher = meeting.enter("publisher");
    let track = meeting.publish(publisher, "cam");
    let alice = meeting.enter("alice");
    let device = enter_beside(&mut meeting, "alice", "screen");
    let wish = |tracks: Vec<String>| {
        Ask::Subscription(UpdateSubscription {
            track_sids: tracks,
            subscribe: false,
            ..Default::default()
        })
    };
    for _ in 0..3 {
        meeting.ask(device, wish(vec!["TR_nothing".into(); 4000]));
    }
    meeting.ask(alice, wish(vec![track.to_string()]));
    assert_eq!(meeting.subscriptions(alice), [track], "spent");
    meeting.advance(Duration::from_secs(6));
    assert_eq!(meeting.subscriptions(alice), []);
}

#[test]
fn nobody_is_removed_who_is_not_there() {
    let mut meeting = Meeting::new();
    meeting.enter("bob#screen");
    let removed = meeting.api(remove("bob", None));
    assert_eq!(removed, Err(Error::ParticipantNotFound));
}
