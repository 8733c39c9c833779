//! A message is charged for what it causes: whatever one participant sends, the others go on, and hear no more than they can
//! read.

use std::time::Duration;

use protocol::{
    TrackSid,
    livekit::{
        AddTrackRequest, AudioTrackFeature, LeaveRequest, MuteTrackRequest,
        PublishDataTrackRequest, SignalRequest, SimulateScenario, SubscriptionPermission,
        SyncState, TrackPermission, TrickleRequest, UnpublishDataTrackRequest,
        UpdateDataSubscription, UpdateLocalAudioTrack, UpdateLocalVideoTrack,
        UpdateParticipantMetadata, UpdateParticipantRequest, UpdateSubscription,
        UpdateTrackSettings, update_data_subscription::Update,
    },
    prost::Message,
};
use sfu::{Command, SpatialLayer, SubscriptionCommand};
use signaling::{ApiCall, Config, SessionId};

use crate::meeting::*;

fn milliseconds(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn permission(everybody: bool) -> Ask {
    Ask::SubscriptionPermission(SubscriptionPermission {
        all_participants: everybody,
        ..Default::default()
    })
}

fn mute(track: TrackSid, muted: bool) -> Ask {
    let sid = track.to_string();
    Ask::Mute(MuteTrackRequest { sid, muted })
}

fn wish(tracks: &[String], subscribe: bool) -> Ask {
    Ask::Subscription(UpdateSubscription {
        track_sids: tracks.to_vec(),
        subscribe,
        ..Default::default()
    })
}

/// The most metadata there may be, and the right to change it.
fn enter_loudly(meeting: &mut Meeting, identity: &str) -> SessionId {
    let mut grant = grant(identity);
    grant.metadata = "m".repeat(512 * 1024);
    grant.video.as_mut().unwrap().can_update_own_metadata = Some(true);
    let session = meeting.open(grant, join_request("v=0"));
    meeting.connect(session);
    session
}

fn publish_many(meeting: &mut Meeting, session: SessionId, count: usize) -> Vec<TrackSid> {
    let cids: Vec<_> = (0..count).map(|i| format!("cam{i}")).collect();
    for cid in &cids {
        meeting.ask(session, Ask::AddTrack(camera(cid)));
    }
    let sdp = format!("v=0 {}", cids.join(" "));
    meeting.ask(session, Ask::Offer(offer(2, &sdp)));
    meeting.advance(NEWS);
    let published = cids.iter().map(|cid| meeting.published(session, cid));
    published.map(Option::unwrap).collect()
}

/// As encoded.
fn bytes(told: &[Told]) -> usize {
    let length = |told: &Told| {
        let message = Some(told.clone());
        protocol::livekit::SignalResponse { message }.encoded_len()
    };
    told.iter().map(length).sum()
}

#[test]
fn nine_hundred_bytes_of_permissions_disturb_nobody() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let mallory = meeting.enter("mallory");
    publish_many(&mut meeting, mallory, 30);
    assert_eq!(meeting.subscriptions(alice).len(), 30);
    let start = meeting.heard(alice);
    for round in 0..300 {
        meeting.ask(mallory, permission(round % 2 == 1));
    }
    meeting.ask(mallory, permission(false));
    meeting.advance(milliseconds(200));
    let told = meeting.since(alice, start).len();
    assert!(told <= 2 * 30, "{told} messages");
    assert_eq!(meeting.subscriptions(alice), [], "the last word counts");
    for session in [alice, bob, mallory] {
        assert_eq!(meeting.clients[&session].closed, None);
    }
    // Over time no more than ten times a second.
    let start = meeting.heard(alice);
    for round in 0..100 {
        meeting.ask(mallory, permission(round % 2 == 0));
        meeting.advance(milliseconds(10));
    }
    let told = meeting.since(alice, start).len();
    assert!(told <= 11 * 30, "{told} messages");
}

#[test]
fn a_new_track_is_not_received_before_it_is_known_who_may_receive_it() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let bob = meeting.enter("bob");
    meeting.ask(bob, permission(true));
    meeting.ask(bob, permission(false));
    meeting.ask(bob, permission(true));
    meeting.ask(bob, permission(false));
    meeting.ask(bob, Ask::AddTrack(camera("cam")));
    meeting.ask(bob, Ask::Offer(offer(2, "v=0 cam")));
    for _ in 0..50 {
        assert_eq!(meeting.subscriptions(alice), []);
        meeting.advance(milliseconds(10));
    }
}

#[test]
fn what_changes_nothing_is_not_announced() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let mallory = enter_loudly(&mut meeting, "mallory");
    let track = meeting.publish(mallory, "cam");
    meeting.advance(Duration::from_secs(10));
    let start = meeting.heard(alice);
    for _ in 0..495 {
        let track_sid = track.to_string();
        let update = UpdateLocalAudioTrack {
            track_sid: track_sid.clone(),
            features: Vec::new(),
        };
        meeting.ask(mallory, Ask::UpdateAudioTrack(update));
        let update = UpdateLocalVideoTrack {
            track_sid,
            ..Default::default()
        };
        meeting.ask(mallory, Ask::UpdateVideoTrack(update));
    }
    meeting.advance(Duration::from_secs(10));
    assert_eq!(updates(meeting.since(alice, start)), []);
    // There and back again is no change either.
    meeting.ask(mallory, mute(track, true));
    meeting.advance(Duration::from_secs(10));
    let start = meeting.heard(alice);
    meeting.ask(mallory, mute(track, false));
    meeting.ask(mallory, mute(track, true));
    meeting.ask(mallory, mute(track, false));
    meeting.ask(mallory, mute(track, true));
    meeting.advance(Duration::from_secs(10));
    let told = updates(meeting.since(alice, start));
    assert!(told.len() <= 2 && told.last().unwrap().tracks[0].muted);
}

#[test]
fn a_participant_is_announced_ten_times_a_second_and_last_as_it_is() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let bob = meeting.enter("bob");
    let track = meeting.publish(bob, "cam");
    meeting.advance(NEWS);
    let start = meeting.heard(alice);
    for round in 0..101 {
        meeting.ask(bob, mute(track, round % 2 == 0));
        if round == 0 {
            assert_eq!(updates(meeting.since(alice, start)).len(), 1, "at once");
        }
        meeting.advance(milliseconds(10));
    }
    meeting.advance(NEWS);
    let told = updates(meeting.since(alice, start));
    assert!((2..=12).contains(&told.len()), "{}", told.len());
    assert!(told.last().unwrap().tracks[0].muted);
    assert!(told.is_sorted_by(|a, b| a.version < b.version));
}

#[test]
fn long_announcements_are_as_far_apart_as_they_take_to_read() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let mallory = enter_loudly(&mut meeting, "mallory");
    let track = meeting.publish(mallory, "cam");
    meeting.advance(Duration::from_secs(10));
    let start = meeting.heard(alice);
    for round in 0..990 {
        // Whenever somebody looks, it is something else than the last time.
        let features = match round % 3 {
            0 => vec![AudioTrackFeature::TfStereo.into()],
            1 => vec![AudioTrackFeature::TfNoDtx.into()],
            _ => Vec::new(),
        };
        let track_sid = track.to_string();
        let update = UpdateLocalAudioTrack {
            track_sid,
            features,
        };
        meeting.ask(mallory, Ask::UpdateAudioTrack(update));
        meeting.advance(milliseconds(10));
    }
    let told = bytes(meeting.since(alice, start));
    // 495 MB before. 128 kB a second, and what was allowed at once.
    assert!(told < 2 * 1024 * 1024, "{told} bytes");
    assert_eq!(meeting.clients[&alice].closed, None);
    assert_eq!(meeting.clients[&mallory].closed, None);
}

/// Units of one wish for so many tracks, as the budget has it: each is eight, and so on.
const WISH_TRACKS: usize = 1240;

#[test]
fn n_of_the_budget_is_carried_out_at_once_and_one_more_waits() {
    let mut meeting = Meeting::new();
    let publisher = meeting.enter("publisher");
    let track = meeting.publish(publisher, "cam");
    let alice = meeting.enter("alice");
    // Who was there before has spent next to nothing.
    meeting.advance(Duration::from_secs(10));
    let nothing = vec!["TR_nothing".to_owned(); WISH_TRACKS];
    let track = track.to_string();
    // Five of them are a little less than all there is to spend at once.
    for _ in 0..5 {
        assert_eq!(meeting.subscriptions(alice).len(), 1);
        meeting.ask(alice, wish(&nothing, false));
    }
    // While something is left, the next is carried out, on credit if need be.
    let mut all = nothing.clone();
    all.push(track.clone());
    meeting.ask(alice, wish(&all, false));
    assert_eq!(meeting.subscriptions(alice), [], "n");
    meeting.ask(alice, wish(std::slice::from_ref(&track), true));
    assert_eq!(meeting.subscriptions(alice), [], "n + 1 waits");
    meeting.advance(milliseconds(900));
    assert_eq!(meeting.subscriptions(alice), [], "for what was spent");
    meeting.advance(milliseconds(200));
    assert_eq!(meeting.subscriptions(alice).len(), 1, "and is carried out");
    assert_eq!(meeting.clients[&alice].closed, None);
    // Whoever comes back under its name owes what it owed.
    for _ in 0..7 {
        meeting.ask(alice, wish(&nothing, true));
    }
    meeting.ask(alice, Ask::Leave(LeaveRequest::default()));
    let again = meeting.join("alice");
    assert_eq!(meeting.heard(again), 0, "not at once");
    meeting.advance(Duration::from_secs(5));
    assert_eq!(meeting.subscriptions(again).len(), 1);
}

#[test]
fn what_waits_keeps_its_order() {
    let mut meeting = Meeting::new();
    let publisher = meeting.enter("publisher");
    let track = [meeting.publish(publisher, "cam").to_string()];
    let alice = meeting.enter("alice");
    let nothing = vec!["TR_nothing".to_owned(); 4000];
    for _ in 0..4 {
        meeting.ask(alice, wish(&nothing, true));
    }
    let begun = meeting.shard.commands.len();
    for round in 0..4 {
        meeting.ask(alice, wish(&track, round % 2 == 1));
    }
    // Whether it is alive does not wait.
    let start = meeting.heard(alice);
    meeting.ask(alice, Ask::Ping(1));
    let answered = |told: &Told| matches!(told, Told::Pong(_));
    assert!(meeting.since(alice, start).iter().any(answered));
    assert_eq!(meeting.shard.commands.len(), begun);
    meeting.advance(Duration::from_secs(10));
    let done = meeting.shard.commands[begun..].iter();
    let done = done.filter_map(|command| match command {
        Command::Subscription(SubscriptionCommand::Subscribe { .. }) => Some(true),
        Command::Subscription(SubscriptionCommand::Unsubscribe { .. }) => Some(false),
        _ => None,
    });
    assert_eq!(done.collect::<Vec<_>>(), [false, true, false, true]);
}

#[test]
fn of_several_settings_of_a_track_that_wait_the_last_counts() {
    let mut meeting = Meeting::new();
    let publisher = meeting.enter("publisher");
    let tracks = publish_many(&mut meeting, publisher, 2);
    let alice = meeting.enter("alice");
    for _ in 0..3 {
        meeting.ask(alice, wish(&vec!["TR_nothing".to_owned(); 4000], true));
    }
    let set = |tracks: &[TrackSid], width| {
        Ask::TrackSetting(UpdateTrackSettings {
            track_sids: tracks.iter().map(TrackSid::to_string).collect(),
            width,
            ..Default::default()
        })
    };
    meeting.ask(alice, set(&tracks, 100));
    meeting.ask(alice, set(&tracks[..1], 200));
    meeting.ask(alice, set(&tracks, 300));
    meeting.advance(Duration::from_secs(10));
    let set = &meeting.shard.peers[&meeting.sid(alice)].subscriptions;
    assert!(set.len() == 2 && set.values().all(|setting| setting.width == 300));
}

#[test]
fn to_find_out_that_nothing_changed_is_not_done_with_every_message() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let mallory = enter_loudly(&mut meeting, "mallory");
    let track = meeting.publish(mallory, "cam");
    meeting.advance(Duration::from_secs(10));
    let start = meeting.heard(alice);
    let same = UpdateLocalVideoTrack {
        track_sid: track.to_string(),
        ..Default::default()
    };
    meeting.ask(mallory, Ask::UpdateVideoTrack(same));
    // The next look at it is 100 ms later, whatever it finds.
    meeting.ask(mallory, mute(track, true));
    assert_eq!(updates(meeting.since(alice, start)), []);
    meeting.advance(NEWS);
    assert!(updates(meeting.since(alice, start))[0].tracks[0].muted);
}

#[test]
fn what_a_moderator_does_is_charged_to_nobody() {
    let mut meeting = Meeting::new();
    let publisher = meeting.enter("publisher");
    let track = meeting.publish(publisher, "cam").to_string();
    let alice = meeting.enter("alice");
    (0..20).for_each(|i| _ = meeting.enter(&i.to_string()));
    meeting.advance(Duration::from_secs(10));
    for _ in 0..5 {
        meeting.ask(
            alice,
            wish(&vec!["TR_nothing".to_owned(); WISH_TRACKS], false),
        );
    }
    let request = UpdateParticipantRequest {
        identity: "alice".into(),
        metadata: "m".repeat(500_000),
        ..Default::default()
    };
    let call = ApiCall::UpdateParticipant(Box::new(request));
    meeting.api(call).unwrap();
    meeting.ask(alice, wish(std::slice::from_ref(&track), false));
    assert_eq!(meeting.subscriptions(alice), [], "at once");
}

#[test]
fn three_hundred_tiles_at_once_wait_for_nothing() {
    let mut meeting = Meeting::new();
    let publisher = meeting.enter("publisher");
    let tracks = publish_many(&mut meeting, publisher, 100);
    let alice = meeting.enter("alice");
    for quality in [0, 1, 2] {
        for track in &tracks {
            meeting.ask(
                alice,
                Ask::TrackSetting(UpdateTrackSettings {
                    track_sids: vec![track.to_string()],
                    quality,
                    width: 320,
                    height: 180,
                    ..Default::default()
                }),
            );
        }
    }
    // The last of them too.
    let set = &meeting.shard.peers[&meeting.sid(alice)].subscriptions;
    let is_set = |it: &sfu::TrackSetting| it.width == 320 && it.max_layer == SpatialLayer::High;
    assert!(set.len() == 100 && set.values().all(is_set));
}

#[test]
fn more_than_can_be_waited_for_ends_that_session_only() {
    let mut meeting = Meeting::with(Config {
        request_burst: 100_000,
        ..Config::default()
    });
    let alice = meeting.enter("alice");
    let mallory = meeting.enter("mallory");
    let nothing = vec!["TR_nothing".to_owned(); 4000];
    for _ in 0..2 {
        meeting.ask(mallory, wish(&nothing, true));
    }
    for round in 0..1000 {
        meeting.ask(mallory, wish(&[format!("TR_{round}")], true));
    }
    assert_eq!(meeting.clients[&mallory].closed, None, "n");
    meeting.ask(mallory, wish(&["TR_one_more".into()], true));
    assert!(meeting.clients[&mallory].closed.is_some(), "n + 1");
    assert_eq!(meeting.clients[&alice].closed, None);
    assert_eq!(meeting.participants().len(), 1);
}

/// One of each kind, as much in it as causes most.
fn worst(kind: Ask, track: TrackSid, round: usize) -> Ask {
    let (sid, even) = (track.to_string(), round.is_multiple_of(2));
    match kind {
        Ask::Offer(_) => Ask::Offer(offer(round as u32 + 3, "v=0 cam")),
        Ask::Answer(mut answer) => {
            answer.r#type = "answer".into();
            Ask::Answer(answer)
        }
        Ask::Trickle(_) => Ask::Trickle(TrickleRequest {
            candidate_init: r#"{"candidate":"candidate:1 1 udp 1 127.0.0.1 9 typ host"}"#.into(),
            ..Default::default()
        }),
        Ask::AddTrack(_) => Ask::AddTrack(AddTrackRequest {
            name: "n".repeat(256),
            ..camera(&format!("more {round}"))
        }),
        Ask::Mute(_) => mute(track, even),
        Ask::UpdateAudioTrack(_) => Ask::UpdateAudioTrack(UpdateLocalAudioTrack {
            track_sid: sid,
            features: vec![i32::from(even)],
        }),
        Ask::UpdateVideoTrack(_) => Ask::UpdateVideoTrack(UpdateLocalVideoTrack {
            track_sid: sid,
            width: round as u32,
            height: 1,
        }),
        Ask::Subscription(_) => wish(&vec![sid; 1000], even),
        Ask::TrackSetting(_) => Ask::TrackSetting(UpdateTrackSettings {
            track_sids: vec![sid; 1000],
            width: round as u32,
            ..Default::default()
        }),
        Ask::SubscriptionPermission(_) => Ask::SubscriptionPermission(SubscriptionPermission {
            all_participants: even,
            track_permissions: (0..100)
                .map(|i| TrackPermission {
                    participant_identity: i.to_string(),
                    ..Default::default()
                })
                .collect(),
        }),
        Ask::UpdateMetadata(_) => Ask::UpdateMetadata(UpdateParticipantMetadata {
            metadata: format!("{round} {}", "m".repeat(500_000)),
            ..Default::default()
        }),
        Ask::SyncState(_) => Ask::SyncState(SyncState {
            subscription: Some(UpdateSubscription {
                track_sids: vec![sid; 1000],
                subscribe: even,
                ..Default::default()
            }),
            ..Default::default()
        }),
        Ask::Simulate(_) => Ask::Simulate(SimulateScenario {
            scenario: Some(protocol::livekit::simulate_scenario::Scenario::SpeakerUpdate(1)),
        }),
        Ask::PublishDataTrackRequest(_) => Ask::PublishDataTrackRequest(PublishDataTrackRequest {
            pub_handle: 1 + round as u32,
            name: round.to_string(),
            ..Default::default()
        }),
        Ask::UnpublishDataTrackRequest(_) => {
            Ask::UnpublishDataTrackRequest(UnpublishDataTrackRequest {
                pub_handle: 1 + round as u32,
            })
        }
        Ask::UpdateDataSubscription(_) => Ask::UpdateDataSubscription(UpdateDataSubscription {
            updates: vec![Update::default(); 1000],
        }),
        other => other,
    }
}

/// A client that keeps to the limit of its messages and sends nothing but one kind of them, for ten seconds.
#[test]
fn no_kind_of_message_costs_another_participant_its_connection() {
    // Each kind there is has a number of its own.
    let kinds = (1..200u32).flat_map(|number| {
        [(0, 1), (2, 0)]
            .into_iter()
            .filter_map(move |(wire, value)| {
                let mut frame = Vec::new();
                protocol::prost::encoding::encode_varint((number << 3 | wire).into(), &mut frame);
                frame.push(value);
                SignalRequest::decode(frame.as_slice()).ok()?.message
            })
    });
    let kinds: Vec<_> = kinds.collect();
    assert!(kinds.len() >= 22, "{}", kinds.len());
    for kind in kinds {
        let mut meeting = Meeting::new();
        let alice = meeting.enter("alice");
        let bob = meeting.enter("bob");
        let voice = meeting.publish(bob, "cam");
        let mallory = enter_loudly(&mut meeting, "mallory");
        let own = meeting.publish(mallory, "cam");
        meeting.advance(Duration::from_secs(10));
        let subscribes = matches!(
            kind,
            Ask::Subscription(_) | Ask::TrackSetting(_) | Ask::SyncState(_)
        );
        let track = if subscribes { voice } else { own };
        let name = format!("{kind:?}");
        let start = [alice, bob].map(|session| meeting.heard(session));
        for round in 0..1900 {
            if meeting.clients[&mallory].closed.is_some() {
                break;
            }
            meeting.ask(mallory, worst(kind.clone(), track, round));
            if round >= 900 {
                meeting.advance(milliseconds(10));
            }
        }
        for (session, start) in [alice, bob].into_iter().zip(start) {
            let told = meeting.since(session, start);
            assert!(told.len() < 1000, "{name:.40}: {} messages", told.len());
            assert!(bytes(told) < 3 * 1024 * 1024, "{name:.40}: {}", bytes(told));
            assert_eq!(meeting.clients[&session].closed, None, "{name:.40}");
        }
    }
}
