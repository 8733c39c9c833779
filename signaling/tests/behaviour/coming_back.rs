//! Who comes in again and again, anew or back: it spends what the person has, the others hear little of it, and honest
//! clients with bad networks wait for nothing.

use std::time::Duration;

use protocol::{
    livekit::{
        DisconnectReason, LeaveRequest, SubscriptionPermission, UpdateLocalVideoTrack,
        UpdateSubscription, leave_request::Action,
    },
    prost::Message,
    token::Grant,
};
use sfu::{Command, DescriptionCommand};
use signaling::{CloseCause, Config, SessionId};

use crate::meeting::*;

const SECOND: Duration = Duration::from_secs(1);

/// It sends something that costs all it has and more: it owes for the five seconds that there may be.
fn spend(meeting: &mut Meeting, session: SessionId) {
    let wish = UpdateSubscription {
        track_sids: vec!["TR_nothing".into(); 20_000],
        ..Default::default()
    };
    meeting.ask(session, Ask::Subscription(wish));
}

fn leave(meeting: &mut Meeting, session: SessionId) {
    meeting.ask(session, Ask::Leave(LeaveRequest::default()));
}

fn bytes(told: &[Told]) -> usize {
    let length = |told: &Told| {
        let message = Some(told.clone());
        protocol::livekit::SignalResponse { message }.encoded_len()
    };
    told.iter().map(length).sum()
}

fn offers(meeting: &Meeting) -> usize {
    let commands = meeting.shard.commands.iter();
    commands
        .filter(|command| {
            matches!(
                command,
                Command::Description(DescriptionCommand::Offer { .. })
            )
        })
        .count()
}

/// May do nothing but describe itself, at length.
fn loud(identity: &str) -> Grant {
    let mut grant = grant(identity);
    grant.metadata = "m".repeat(400 * 1024);
    let video = grant.video.as_mut().unwrap();
    (video.can_publish, video.can_subscribe) = (Some(false), Some(false));
    grant
}

#[test]
fn who_joins_again_and_again_is_heard_of_no_more_than_who_stays() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let start = meeting.heard(alice);
    let mut sessions = Vec::new();
    for _ in 0..1000 {
        sessions.push(meeting.open(loud("mallory"), join_request("")));
        meeting.advance(SECOND / 100);
    }
    let told = meeting.since(alice, start);
    // 400 MB before. As much as there is to spend at once, then 128 kB a second.
    assert!(bytes(told) < 4 * 1024 * 1024, "{}", bytes(told));
    // Of those that wait, the newest counts; the others are to come back.
    let anew = Some((DisconnectReason::StateMismatch, Action::Reconnect));
    let sent_away = |session: &&SessionId| meeting.leave_of(**session) == anew;
    assert!(sessions.iter().filter(sent_away).count() > 980);
    let last = sessions.pop().unwrap();
    meeting.advance(6 * SECOND);
    assert!(matches!(meeting.clients[&last].heard[0], Told::Join(_)));
    assert_eq!(meeting.participants().len(), 2);
    assert_eq!(meeting.clients[&alice].closed, None);
}

#[test]
fn who_resumes_again_and_again_is_answered_as_often_as_it_can_pay_for() {
    let mut meeting = Meeting::new();
    let mut described = grant("alice");
    described.metadata = "m".repeat(500_000);
    let alice = meeting.open(described, join_request("v=0"));
    meeting.connect(alice);
    let mallory = meeting.enter("mallory");
    let sessions: Vec<_> = (0..500)
        .map(|_| {
            meeting.advance(SECOND / 100);
            meeting.resume("mallory", mallory)
        })
        .collect();
    let is_answered = |session: &&SessionId| {
        matches!(
            meeting.clients[session].heard.first(),
            Some(Told::Reconnect(_))
        )
    };
    let answered = sessions.iter().filter(is_answered).count();
    assert!((20..100).contains(&answered), "{answered}");
    meeting.advance(6 * SECOND);
    let last = sessions.last().unwrap();
    assert!(matches!(
        meeting.clients[last].heard.first(),
        Some(Told::Reconnect(_))
    ));
}

#[test]
fn a_network_that_breaks_five_times_in_ten_seconds_is_answered_at_once_each_time() {
    let mut meeting = Meeting::new();
    let others: Vec<_> = (0..30)
        .map(|i| meeting.enter(&format!("other {i}")))
        .collect();
    for &other in &others {
        meeting.publish(other, "cam");
    }
    let first = meeting.enter("alice");
    let mut session = first;
    for round in 0..5 {
        meeting.advance(2 * SECOND);
        meeting.cut(session);
        session = meeting.resume("alice", first);
        assert!(matches!(
            meeting.clients[&session].heard[0],
            Told::Reconnect(_)
        ));
        let before = offers(&meeting);
        meeting.ask(session, Ask::Offer(offer(round + 2, "v=0")));
        assert_eq!(offers(&meeting), before + 1);
    }
    // And if it gives up each time and joins anew.
    for _ in 0..5 {
        meeting.advance(2 * SECOND);
        session = meeting.enter("alice");
        assert_eq!(meeting.clients[&session].closed, None);
    }
    assert_eq!(meeting.subscriptions(session).len(), 30);
}

#[test]
fn who_owes_waits_at_the_door_and_the_room_waits_for_it() {
    let mut meeting = Meeting::with(Config {
        departure_timeout: 1,
        ..Config::default()
    });
    let alice = meeting.enter("alice");
    spend(&mut meeting, alice);
    leave(&mut meeting, alice);
    let older = meeting.join("alice");
    let newer = meeting.join("alice");
    assert_eq!(
        (meeting.leave_of(older), meeting.clients[&older].closed),
        (
            Some((DisconnectReason::StateMismatch, Action::Reconnect)),
            Some(CloseCause::Room)
        )
    );
    meeting.advance(4 * SECOND);
    assert_eq!(meeting.heard(newer), 0);
    // Somebody else does not wait.
    meeting.enter("bob");
    meeting.advance(SECOND);
    assert!(!meeting.closed);
    assert!(matches!(meeting.clients[&newer].heard[0], Told::Join(_)));
    assert_eq!(meeting.participants().len(), 2);
}

#[test]
fn who_gives_up_at_the_door_does_not_come_in_and_who_waits_hears_of_the_end() {
    let mut meeting = Meeting::new();
    let [alice, bob] = ["alice", "bob"].map(|identity| {
        let session = meeting.enter(identity);
        spend(&mut meeting, session);
        leave(&mut meeting, session);
        meeting.join(identity)
    });
    meeting.cut(alice);
    meeting.shutdown();
    assert_eq!(meeting.heard(alice), 0);
    let told = Some((DisconnectReason::ServerShutdown, Action::Reconnect));
    assert_eq!(meeting.leave_of(bob), told);
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    spend(&mut meeting, alice);
    leave(&mut meeting, alice);
    let again = meeting.join("alice");
    meeting.cut(again);
    meeting.advance(6 * SECOND);
    assert_eq!(meeting.heard(again), 0);
    assert!(meeting.participants().is_empty());
}

#[test]
fn descriptions_are_the_persons_and_coming_in_brings_some() {
    let mut meeting = Meeting::new();
    let ten_more = |meeting: &mut Meeting, session| {
        let before = offers(meeting);
        for id in 0..10 {
            meeting.ask(session, Ask::Offer(offer(100 + id, "v=0")));
        }
        offers(meeting) - before
    };
    let mut session = meeting.enter("mallory");
    let first = session;
    assert_eq!(
        ten_more(&mut meeting, session),
        4,
        "n, with the one that came with the join"
    );
    for _ in 0..3 {
        session = meeting.resume("mallory", first);
        assert_eq!(ten_more(&mut meeting, session), 2, "ICE is restarted");
    }
    let before = offers(&meeting);
    meeting.advance(SECOND);
    assert_eq!(offers(&meeting), before + 1);
    // Anew is anew: what that costs is charged at the door.
    let session = meeting.join("mallory");
    assert_eq!(ten_more(&mut meeting, session), 4);
}

#[test]
fn messages_are_counted_over_all_connections_of_a_person() {
    let mut meeting = Meeting::new();
    let request = || Ask::UpdateVideoTrack(UpdateLocalVideoTrack::default());
    let burst = meeting.config.request_burst;
    let mut session = meeting.enter("mallory");
    for sent in 0..burst {
        if sent.is_multiple_of(100) {
            leave(&mut meeting, session);
            session = meeting.join("mallory");
        }
        meeting.ask(session, request());
    }
    assert_eq!(meeting.leave_of(session), None, "n");
    meeting.ask(session, request());
    assert_eq!(
        meeting.leave_of(session),
        Some((DisconnectReason::StateMismatch, Action::Disconnect)),
        "n + 1"
    );
}

#[test]
fn an_offer_that_waits_for_what_is_owed_ends_with_its_connection() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    spend(&mut meeting, alice);
    meeting.ask(alice, Ask::Offer(offer(50, "v=0")));
    meeting.ask(
        alice,
        Ask::SubscriptionPermission(SubscriptionPermission::default()),
    );
    let before = offers(&meeting);
    meeting.cut(alice);
    meeting.advance(6 * SECOND);
    assert_eq!(offers(&meeting), before);
    let again = meeting.resume("alice", alice);
    meeting.ask(again, Ask::Offer(offer(51, "v=0")));
    assert_eq!(offers(&meeting), before + 1);
    // A connection that is replaced is gone too.
    spend(&mut meeting, again);
    meeting.advance(SECOND);
    meeting.ask(again, Ask::Offer(offer(52, "v=0")));
    meeting.resume("alice", alice);
    meeting.advance(10 * SECOND);
    assert!(!meeting.shard.commands.iter().any(|command| matches!(
        command,
        Command::Description(DescriptionCommand::Offer { id: 50 | 52, .. })
    )));
}
