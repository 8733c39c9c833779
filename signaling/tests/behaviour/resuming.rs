use std::time::Duration;

use protocol::livekit::{
    DataChannelReceiveState, DisconnectReason, JoinRequest, ParticipantPermission,
    SimulateScenario, SubscriptionPermission, SyncState, TrackInfo, TrackPublishedResponse,
    UpdateParticipantRequest, UpdateSubscription, leave_request::Action, participant_info::State,
    simulate_scenario::Scenario,
};
use signaling::{ApiCall, CloseCause, Config};

use crate::meeting::*;

fn allowed() -> Config {
    Config {
        simulations: true,
        ..Config::default()
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn simulate(meeting: &mut Meeting, session: signaling::SessionId, scenario: Scenario) {
    meeting.ask(
        session,
        Ask::Simulate(SimulateScenario {
            scenario: Some(scenario),
        }),
    );
}

#[test]
fn a_resumed_client_stays_the_same_participant_and_hears_what_it_missed() {
    let mut meeting = Meeting::new();
    let (alice, bob, carol) = (
        meeting.enter("alice"),
        meeting.enter("bob"),
        meeting.enter("carol"),
    );
    let track = meeting.publish(bob, "cam");
    meeting.cut(bob);
    let start = meeting.heard(alice);
    meeting.ask(carol, Ask::Leave(Default::default()));
    let dave = meeting.enter("dave");
    let mute = ApiCall::MuteTrack {
        identity: "bob".into(),
        track_sid: track.to_string(),
        muted: true,
    };
    meeting.api(mute).unwrap();
    meeting.advance(19 * SECOND);

    let again = meeting.resume("bob", bob);
    let heard = &meeting.clients[&again].heard;
    let Told::Reconnect(response) = &heard[0] else {
        panic!("{heard:?}")
    };
    assert!(response.server_info.is_some());
    // For zero, npm livekit-client keeps the data packets of the time between to itself.
    assert_ne!(response.last_message_seq, 0);
    let news = updates(heard);
    let state = |identity: &str| {
        news.iter()
            .find(|info| info.identity == identity)
            .map(|info| info.state())
    };
    assert_eq!(state("carol"), Some(State::Disconnected));
    assert_eq!(
        (state("alice"), state("dave")),
        (Some(State::Active), Some(State::Active))
    );
    let own = news.iter().find(|info| info.identity == "bob").unwrap();
    assert_eq!(own.sid, meeting.sid(bob).to_string());
    assert!(
        heard
            .iter()
            .any(|told| matches!(told, Told::Mute(mute) if mute.muted))
    );
    assert!(
        heard
            .iter()
            .any(|told| matches!(told, Told::RefreshToken(_)))
    );
    // To the others nothing happened, and its media went on.
    assert!(
        updates(meeting.since(alice, start))
            .iter()
            .all(|info| info.state() != State::Disconnected || info.identity == "carol")
    );
    assert_eq!(meeting.subscriptions(dave), [track]);
    meeting.ask(again, Ask::Offer(offer(9, "v=0 cam")));
    assert!(
        matches!(meeting.clients[&again].heard.last(), Some(Told::Answer(answer)) if answer.id == 9)
    );
    meeting.advance(1000 * SECOND);
    assert_eq!(meeting.participants().len(), 3);
}

#[test]
fn a_resume_replaces_a_connection_that_is_not_known_to_be_dead() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let again = meeting.resume("alice", alice);
    assert_eq!(
        (meeting.clients[&alice].closed, meeting.leave_of(alice)),
        (Some(CloseCause::Room), None)
    );
    meeting.cut(alice);
    meeting.ask(again, Ask::Offer(offer(2, "v=0")));
    assert!(matches!(
        meeting.clients[&again].heard.last(),
        Some(Told::Answer(_))
    ));
}

#[test]
fn the_farewell_of_an_identity_that_is_back_is_not_repeated() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    meeting.cut(alice);
    let second = meeting.enter("bob");
    let again = meeting.resume("alice", alice);
    let news = updates(&meeting.clients[&again].heard);
    let bobs: Vec<_> = news.iter().filter(|info| info.identity == "bob").collect();
    assert_eq!(bobs.len(), 1);
    assert_eq!(bobs[0].sid, meeting.sid(second).to_string());
    assert_ne!(meeting.sid(bob), meeting.sid(second));
}

#[test]
fn who_does_not_resume_in_time_is_gone() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let start = meeting.heard(alice);
    meeting.cut(bob);
    meeting.advance(19 * SECOND);
    assert!(updates(meeting.since(alice, start)).is_empty());
    meeting.advance(SECOND);
    let news = updates(meeting.since(alice, start));
    assert_eq!(
        (news[0].state(), news[0].disconnect_reason()),
        (State::Disconnected, DisconnectReason::SignalClose)
    );
    let late = meeting.resume("bob", bob);
    let leave = Some((DisconnectReason::StateMismatch, Action::Reconnect));
    assert_eq!(
        (meeting.leave_of(late), meeting.clients[&late].heard.len()),
        (leave, 1)
    );
    assert_eq!(meeting.clients[&late].closed, Some(CloseCause::Room));
}

#[test]
fn a_closed_tab_does_not_linger() {
    use sfu::{DisconnectReason as Gone, Event};
    let mut meeting = Meeting::new();
    for signal_first in [true, false] {
        let alice = meeting.enter("alice");
        let closed = Event::Disconnected {
            peer: meeting.sid(alice),
            reason: Gone::ClosedByPeer,
        };
        if signal_first {
            meeting.cut(alice);
            meeting.media(closed);
        } else {
            meeting.media(closed);
            meeting.cut(alice);
        }
        assert!(
            meeting.participants().is_empty(),
            "signal first: {signal_first}"
        );
    }
    // Nor does one that never connected.
    let bob = meeting.join("bob");
    meeting.cut(bob);
    assert!(meeting.participants().is_empty());
}

#[test]
fn nobody_resumes_as_somebody_else() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let mallory = meeting.resume("mallory", alice);
    assert_eq!(
        meeting.leave_of(mallory),
        Some((DisconnectReason::StateMismatch, Action::Reconnect))
    );
    assert_eq!(meeting.clients[&alice].closed, None);
    for participant_sid in ["", "PA_unknown", "nonsense"] {
        let request = JoinRequest {
            reconnect: true,
            participant_sid: participant_sid.into(),
            ..Default::default()
        };
        let stranger = meeting.open(grant("alice"), request);
        assert_eq!(
            meeting.leave_of(stranger),
            Some((DisconnectReason::StateMismatch, Action::Reconnect))
        );
    }
}

#[test]
fn sync_state_restores_wishes_and_orders_a_reconnect_where_tracks_are_unknown() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let track = meeting.publish(alice, "cam");
    let own = meeting.publish(bob, "cam-of-bob");
    meeting.cut(bob);
    let again = meeting.resume("bob", bob);
    let published = |sid: String| {
        let track = Some(TrackInfo {
            sid,
            ..Default::default()
        });
        vec![TrackPublishedResponse {
            cid: String::new(),
            track,
        }]
    };
    let unsubscribed = UpdateSubscription {
        track_sids: vec![track.to_string()],
        ..Default::default()
    };
    let state = SyncState {
        subscription: Some(unsubscribed),
        publish_tracks: published(own.to_string()),
        ..Default::default()
    };
    meeting.ask(again, Ask::SyncState(state.clone()));
    assert!(meeting.subscriptions(bob).is_empty());
    let wrong = SyncState {
        publish_tracks: published("TR_lost".into()),
        ..state
    };
    meeting.ask(again, Ask::SyncState(wrong));
    assert_eq!(
        meeting.leave_of(again),
        Some((DisconnectReason::StateMismatch, Action::Reconnect))
    );
}

#[test]
fn an_offer_that_no_longer_fits_after_a_resume_brings_its_sender_back_anew_and_once() {
    let mut meeting = Meeting::new();
    let alice = meeting.join("alice");
    let again = meeting.resume("alice", alice);
    meeting.ask(again, Ask::Offer(offer(1, "broken")));
    assert_eq!(
        meeting.leave_of(again),
        Some((DisconnectReason::JoinFailure, Action::Reconnect))
    );
    assert!(meeting.participants().is_empty());
    // Who sends nothing else is not sent round in circles.
    let anew = meeting.open(grant("alice"), join_request("broken"));
    assert_eq!(
        meeting.leave_of(anew),
        Some((DisconnectReason::JoinFailure, Action::Disconnect))
    );
}

#[test]
fn data_that_a_client_missed_is_asked_for_once_after_a_resume() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let publisher = meeting.sid(alice);
    let state = SyncState {
        datachannel_receive_states: vec![
            DataChannelReceiveState {
                publisher_sid: publisher.to_string(),
                last_seq: 7,
            },
            DataChannelReceiveState {
                publisher_sid: "nobody".into(),
                last_seq: 1,
            },
        ],
        ..Default::default()
    };
    let replays = |meeting: &Meeting| {
        let commands = meeting.shard.commands.iter();
        let replays = commands.filter_map(|command| match command {
            sfu::Command::Data(sfu::DataCommand::Replay { peer, received }) => {
                Some((*peer, received.clone()))
            }
            _ => None,
        });
        replays.collect::<Vec<_>>()
    };
    meeting.ask(bob, Ask::SyncState(state.clone()));
    assert_eq!(replays(&meeting), [], "it was never away");
    meeting.cut(bob);
    let peer = meeting.sid(bob);
    let again = meeting.resume("bob", bob);
    for _ in 0..3 {
        meeting.ask(again, Ask::SyncState(state.clone()));
    }
    assert_eq!(replays(&meeting), [(peer, vec![(publisher, 7)])]);
}

#[test]
fn simulated_failures_do_what_they_say() {
    let mut meeting = Meeting::with(allowed());
    let alice = meeting.enter("alice");
    simulate(
        &mut meeting,
        alice,
        Scenario::LeaveRequestFullReconnect(true),
    );
    assert_eq!(meeting.leave_of(alice).unwrap().1, Action::Reconnect);

    let alice = meeting.enter("alice");
    simulate(&mut meeting, alice, Scenario::ServerLeave(true));
    assert_eq!(
        meeting.leave_of(alice),
        Some((DisconnectReason::ServerShutdown, Action::Disconnect))
    );

    let alice = meeting.enter("alice");
    simulate(&mut meeting, alice, Scenario::NodeFailure(true));
    assert_eq!(
        (meeting.leave_of(alice), meeting.clients[&alice].closed),
        (None, Some(CloseCause::Room))
    );
    let lost = meeting.resume("alice", alice);
    assert_eq!(
        meeting.leave_of(lost),
        Some((DisconnectReason::StateMismatch, Action::Reconnect))
    );
}

#[test]
fn a_simulated_cut_comes_at_the_next_resume_only() {
    for (scenario, messages) in [
        (Scenario::DisconnectSignalOnResume(true), true),
        (Scenario::DisconnectSignalOnResumeNoMessages(true), false),
    ] {
        let mut meeting = Meeting::with(allowed());
        let alice = meeting.enter("alice");
        simulate(&mut meeting, alice, scenario);
        meeting.cut(alice);
        let first = meeting.resume("alice", alice);
        assert_eq!(meeting.clients[&first].closed, Some(CloseCause::Room));
        assert_eq!(!meeting.clients[&first].heard.is_empty(), messages);
        let second = meeting.resume("alice", alice);
        assert_eq!(meeting.clients[&second].closed, None);
        assert!(matches!(
            meeting.clients[&second].heard[0],
            Told::Reconnect(_)
        ));
    }
}

#[test]
fn simulated_speech_begins_and_ends() {
    let mut meeting = Meeting::with(allowed());
    let alice = meeting.enter("alice");
    let start = meeting.heard(alice);
    simulate(&mut meeting, alice, Scenario::SpeakerUpdate(3));
    meeting.advance(3 * SECOND);
    let active: Vec<_> = meeting
        .since(alice, start)
        .iter()
        .filter_map(|told| match told {
            Told::SpeakersChanged(changed) => Some(changed.speakers[0].active),
            _ => None,
        })
        .collect();
    assert_eq!(active, [true, false]);
}

#[test]
fn who_comes_back_is_not_told_that_it_is_lost() {
    use protocol::livekit::ConnectionQuality;

    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    for one in [alice, bob] {
        let quality = sfu::Quality::Lost;
        let peer = meeting.sid(one);
        meeting.media(sfu::Event::QualityChanged { peer, quality });
    }
    let (own, other) = (meeting.sid(bob), meeting.sid(alice));
    meeting.cut(bob);
    let again = meeting.resume("bob", bob);
    let told = |meeting: &Meeting| {
        let heard = meeting.clients[&again].heard.iter();
        let updates = heard.filter_map(|told| match told {
            Told::ConnectionQuality(update) => Some(update.updates.clone()),
            _ => None,
        });
        let info = updates
            .flatten()
            .map(|info| (info.participant_sid.clone(), info.quality()));
        info.collect::<Vec<_>>()
    };
    let lost = |sid: protocol::ParticipantSid| (sid.to_string(), ConnectionQuality::Lost);
    assert_eq!(told(&meeting), [lost(other)]);
    // Unless it still is.
    for quality in [sfu::Quality::Poor, sfu::Quality::Lost] {
        meeting.media(sfu::Event::QualityChanged { peer: own, quality });
    }
    assert_eq!(told(&meeting).last(), Some(&lost(own)));
}

#[test]
fn of_what_changes_again_and_again_who_comes_back_hears_the_newest() {
    const TRACKS: usize = 10;
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let cids: Vec<_> = (0..TRACKS).map(|i| format!("cam{i}")).collect();
    for cid in &cids {
        meeting.ask(bob, Ask::AddTrack(camera(cid)));
    }
    let sdp = format!("v=0 {}", cids.join(" "));
    meeting.ask(bob, Ask::Offer(offer(2, &sdp)));
    meeting.advance(NEWS);
    assert_eq!(meeting.subscriptions(alice).len(), TRACKS);
    meeting.cut(alice);
    // More than is kept, and at the end as it was in the beginning.
    for round in 0..30 {
        let permission = SubscriptionPermission {
            all_participants: round % 2 == 1,
            ..Default::default()
        };
        meeting.ask(bob, Ask::SubscriptionPermission(permission));
        meeting.advance(NEWS);
    }
    let again = meeting.resume("alice", alice);
    let heard = meeting.clients[&again].heard.iter();
    let allowed = heard.filter_map(|told| match told {
        Told::SubscriptionPermissionUpdate(update) => Some(update.allowed),
        _ => None,
    });
    assert_eq!(allowed.collect::<Vec<_>>(), [true; TRACKS]);
}

#[test]
fn who_was_hidden_meanwhile_is_gone_for_who_comes_back() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let hide = |meeting: &mut Meeting, hidden| {
        let permission = ParticipantPermission {
            can_subscribe: true,
            hidden,
            ..Default::default()
        };
        let request = UpdateParticipantRequest {
            identity: "bob".into(),
            permission: Some(permission),
            ..Default::default()
        };
        let call = ApiCall::UpdateParticipant(Box::new(request));
        meeting.api(call).unwrap();
    };
    let states = |meeting: &Meeting, session, identity: &str| -> Vec<_> {
        let news = updates(&meeting.clients[&session].heard).into_iter();
        news.filter(|info| info.identity == identity)
            .map(|info| info.state())
            .collect()
    };
    meeting.cut(alice);
    hide(&mut meeting, true);
    let again = meeting.resume("alice", alice);
    assert_eq!(states(&meeting, again, "bob"), [State::Disconnected]);
    // To itself it is there.
    meeting.cut(bob);
    let bob_again = meeting.resume("bob", bob);
    assert_eq!(states(&meeting, bob_again, "bob"), [State::Active]);
    // And back before somebody else is.
    meeting.cut(again);
    hide(&mut meeting, false);
    let again = meeting.resume("alice", alice);
    assert_eq!(states(&meeting, again, "bob"), [State::Active]);
}
