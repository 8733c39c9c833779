use std::collections::BTreeMap;

use protocol::{
    DataTrackSid,
    livekit::{
        self, DataTrackFrameEncoding, DataTrackInfo, DataTrackSchemaId, GetDataBlobRequest,
        JoinRequest, ParticipantPermission, PublishDataTrackRequest, PublishDataTrackResponse,
        StoreDataBlobRequest, SubscriptionPermission, SyncState, TrackPermission,
        UnpublishDataTrackRequest, UpdateDataSubscription, UpdateParticipantRequest,
        UpdateSubscription, data_track_frame_encoding::Value, request_response::Reason,
        update_data_subscription::Update,
    },
};
use signaling::{ApiCall, Config, SessionId};

use crate::meeting::*;

fn request(handle: u32, name: &str) -> PublishDataTrackRequest {
    PublishDataTrackRequest {
        pub_handle: handle,
        name: name.into(),
        ..Default::default()
    }
}

/// Publishes a data track; the answer, or why there is none.
fn try_publish(
    meeting: &mut Meeting,
    session: SessionId,
    request: PublishDataTrackRequest,
) -> Result<DataTrackInfo, Reason> {
    let (start, handle) = (meeting.heard(session), request.pub_handle);
    meeting.ask(session, Ask::PublishDataTrackRequest(request));
    let answer = meeting.since(session, start).first();
    match answer.expect("answered") {
        Told::PublishDataTrackResponse(response) => {
            let info = response.info.clone().unwrap();
            assert_eq!(info.pub_handle, handle);
            Ok(info)
        }
        Told::RequestResponse(response) => {
            use livekit::request_response::Request;
            // Clients find their request by it.
            let about = response.request.as_ref().unwrap();
            assert!(
                matches!(about, Request::PublishDataTrack(about) if about.pub_handle == handle)
            );
            assert!(!response.message.is_empty());
            Err(response.reason())
        }
        other => panic!("{other:?}"),
    }
}

fn publish(meeting: &mut Meeting, session: SessionId, handle: u32, name: &str) -> DataTrackSid {
    let info = try_publish(meeting, session, request(handle, name)).unwrap();
    meeting.advance(NEWS);
    info.sid.parse().unwrap()
}

fn subscribe(meeting: &mut Meeting, session: SessionId, track: DataTrackSid, subscribe: bool) {
    let update = Update {
        track_sid: track.to_string(),
        subscribe,
        options: None,
    };
    let updates = vec![update];
    meeting.ask(
        session,
        Ask::UpdateDataSubscription(UpdateDataSubscription { updates }),
    );
    meeting.advance(NEWS);
}

/// What a client knows of handles since `start`: by track.
fn handles(meeting: &Meeting, session: SessionId, start: usize) -> BTreeMap<String, u32> {
    let mut known = BTreeMap::new();
    for told in meeting.since(session, start) {
        if let Told::DataTrackSubscriberHandles(handles) = told {
            let by_track = handles.sub_handles.iter();
            known.extend(by_track.map(|(handle, track)| (track.track_sid.clone(), *handle)));
        }
    }
    known
}

/// All that a client was told of handles, message by message.
fn maps(meeting: &Meeting, session: SessionId) -> Vec<BTreeMap<u32, String>> {
    let mut maps = Vec::new();
    for told in &meeting.clients[&session].heard {
        if let Told::DataTrackSubscriberHandles(handles) = told {
            let tracks = handles.sub_handles.iter();
            maps.push(
                tracks
                    .map(|(handle, track)| (*handle, track.track_sid.clone()))
                    .collect(),
            );
        }
    }
    maps
}

/// What the shard sends it, and under which handles.
fn receives(meeting: &Meeting, session: SessionId) -> BTreeMap<DataTrackSid, u16> {
    meeting.shard.peers[&meeting.sid(session)].data.clone()
}

fn unpublished(heard: &[Told]) -> Vec<u32> {
    let ended = heard.iter().filter_map(|told| match told {
        Told::UnpublishDataTrackResponse(response) => Some(response.info.as_ref()?.pub_handle),
        _ => None,
    });
    ended.collect()
}

#[test]
fn others_hear_of_a_data_track_and_who_subscribes_gets_it_under_a_handle_of_its_own() {
    let mut meeting = Meeting::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| meeting.enter(name));
    let start = meeting.heard(bob);
    let first = publish(&mut meeting, alice, 7, "position");
    let second = publish(&mut meeting, alice, 8, "speed");
    let news = updates(meeting.since(bob, start));
    let names = |info: &livekit::ParticipantInfo| -> Vec<String> {
        let tracks = info.data_tracks.iter();
        tracks.map(|track| track.name.clone()).collect()
    };
    assert_eq!(names(news.last().unwrap()), ["position", "speed"]);
    assert!(receives(&meeting, bob).is_empty(), "nobody asked yet");

    subscribe(&mut meeting, bob, second, true);
    subscribe(&mut meeting, bob, first, true);
    subscribe(&mut meeting, carol, first, true);
    let known = handles(&meeting, bob, 0);
    assert_eq!(known.len(), 2);
    for (track, handle) in receives(&meeting, bob) {
        assert_eq!(known[track.as_str()], u32::from(handle));
    }
    let told = meeting.clients[&bob]
        .heard
        .iter()
        .find_map(|told| match told {
            Told::DataTrackSubscriberHandles(handles) => handles.sub_handles.values().next(),
            _ => None,
        });
    let told = told.unwrap();
    assert_eq!(told.publisher_identity, "alice");
    assert_eq!(told.publisher_sid, meeting.sid(alice).to_string());
    assert_eq!(
        receives(&meeting, carol).keys().collect::<Vec<_>>(),
        [&first]
    );
    assert!(receives(&meeting, alice).is_empty());

    // Who comes later reads of them in `join`.
    let dave = meeting.enter("dave");
    let others = &meeting.join_response(dave).other_participants;
    let alice_info = others.iter().find(|info| info.identity == "alice").unwrap();
    assert_eq!(names(alice_info), ["position", "speed"]);

    subscribe(&mut meeting, bob, first, false);
    assert_eq!(
        receives(&meeting, bob).keys().collect::<Vec<_>>(),
        [&second]
    );
}

#[test]
fn each_time_a_subscriber_is_told_all_its_handles() {
    let mut meeting = Meeting::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| meeting.enter(name));
    let [first, second] =
        [1, 2].map(|handle| publish(&mut meeting, alice, handle, &handle.to_string()));
    let third = publish(&mut meeting, carol, 1, "third");
    let known = |meeting: &Meeting| {
        let told = maps(meeting, bob).pop().unwrap();
        let receives = receives(meeting, bob).into_iter();
        let expected = receives.map(|(track, handle)| (handle.into(), track.to_string()));
        assert_eq!(told, expected.collect());
        told.len()
    };
    for (count, track) in [first, second, third].into_iter().enumerate() {
        subscribe(&mut meeting, bob, track, true);
        assert_eq!(known(&meeting), count + 1);
    }
    // And of those that end, in whatever way.
    subscribe(&mut meeting, bob, first, false);
    assert_eq!(known(&meeting), 2);
    let pub_handle = 2;
    meeting.ask(
        alice,
        Ask::UnpublishDataTrackRequest(UnpublishDataTrackRequest { pub_handle }),
    );
    assert_eq!(known(&meeting), 1);
    meeting.ask(carol, Ask::Leave(Default::default()));
    meeting.advance(NEWS);
    assert_eq!(known(&meeting), 0);
    assert!(
        maps(&meeting, alice).is_empty(),
        "who receives none hears nothing"
    );
}

#[test]
fn whatever_a_publisher_does_its_subscribers_hear_of_handles_ten_times_a_second() {
    let mut meeting = Meeting::new();
    let mallory = meeting.enter("mallory");
    let wish = || {
        let mut wish = join_request("v=0");
        let settings = wish.connection_settings.as_mut().unwrap();
        settings.auto_subscribe_data_track = Some(true);
        wish
    };
    let others = ["alice", "bob"].map(|identity| {
        let session = meeting.open(grant(identity), wish());
        meeting.connect(session);
        session
    });
    publish(&mut meeting, mallory, 1, "lasting");
    meeting.advance(10 * NEWS);
    let start = others.map(|session| meeting.heard(session));
    for round in 0..100 {
        let name = round.to_string();
        meeting.ask(mallory, Ask::PublishDataTrackRequest(request(7, &name)));
        meeting.advance(NEWS / 10);
        let end = UnpublishDataTrackRequest { pub_handle: 7 };
        meeting.ask(mallory, Ask::UnpublishDataTrackRequest(end));
    }
    meeting.advance(NEWS);
    for (session, start) in others.into_iter().zip(start) {
        let told = meeting.since(session, start).iter();
        let told: Vec<_> = told
            .filter(|told| matches!(told, Told::DataTrackSubscriberHandles(_)))
            .collect();
        assert!((2..=12).contains(&told.len()), "{}", told.len());
        let Some(Told::DataTrackSubscriberHandles(last)) = told.last() else {
            panic!()
        };
        assert_eq!(last.sub_handles.len(), 1, "the last state is told");
    }
}

#[test]
fn handles_are_charged_to_the_publisher_by_their_length_and_receivers() {
    let mut meeting = Meeting::new();
    let publisher = meeting.enter("publisher");
    for handle in 1..=100 {
        let name = handle.to_string();
        meeting.ask(
            publisher,
            Ask::PublishDataTrackRequest(request(handle, &name)),
        );
    }
    meeting.advance(NEWS);
    let mut wish = join_request("v=0");
    let settings = wish.connection_settings.as_mut().unwrap();
    settings.auto_subscribe_data_track = Some(true);
    for i in 0..60 {
        meeting.open(grant(&i.to_string()), wish.clone());
    }
    let mallory = meeting.enter("mallory");
    publish(&mut meeting, mallory, 2, "first");
    meeting.advance(100 * NEWS);
    // This leaves less than it costs to tell the sixty of a hundred tracks.
    for _ in 0..5 {
        let nothing = UpdateSubscription {
            track_sids: vec!["TR_nothing".into(); 1240],
            ..Default::default()
        };
        meeting.ask(mallory, Ask::Subscription(nothing));
    }
    let end = UnpublishDataTrackRequest { pub_handle: 2 };
    meeting.ask(mallory, Ask::UnpublishDataTrackRequest(end));
    let start = meeting.heard(mallory);
    meeting.ask(mallory, Ask::PublishDataTrackRequest(request(2, "next")));
    assert_eq!(meeting.since(mallory, start), [], "it waits");
    meeting.advance(10 * NEWS);
    assert_eq!(meeting.since(mallory, start).len(), 1);
}

#[test]
fn who_asks_again_is_told_the_same_handle_again() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let [first, second] =
        [1, 2].map(|handle| publish(&mut meeting, alice, handle, &handle.to_string()));
    subscribe(&mut meeting, bob, first, true);
    let before = handles(&meeting, bob, 0);
    let start = meeting.heard(bob);
    subscribe(&mut meeting, bob, first, true);
    assert_eq!(handles(&meeting, bob, start), before);
    subscribe(&mut meeting, bob, first, false);
    subscribe(&mut meeting, bob, second, true);
    subscribe(&mut meeting, bob, first, true);
    let after = handles(&meeting, bob, 0);
    assert_eq!(after[first.as_str()], before[first.as_str()]);
    assert_ne!(after[first.as_str()], after[second.as_str()]);
}

#[test]
fn a_data_track_that_cannot_be_is_refused_with_the_reason() {
    let mut meeting = Meeting::with(Config {
        max_tracks: 3,
        ..Config::default()
    });
    let mut mute = grant("mute");
    mute.video.as_mut().unwrap().can_publish_data = Some(false);
    let (alice, mute) = (
        meeting.enter("alice"),
        meeting.open(mute, join_request("v=0")),
    );
    let mut try_it = |session, request| try_publish(&mut meeting, session, request).map(|_| ());
    assert_eq!(try_it(mute, request(1, "a")), Err(Reason::NotAllowed));
    assert_eq!(try_it(alice, request(1, "a")), Ok(()));
    assert_eq!(try_it(alice, request(0, "b")), Err(Reason::InvalidHandle));
    assert_eq!(
        try_it(alice, request(65_536, "b")),
        Err(Reason::InvalidHandle)
    );
    assert_eq!(try_it(alice, request(1, "b")), Err(Reason::DuplicateHandle));
    assert_eq!(try_it(alice, request(2, "a")), Err(Reason::DuplicateName));
    assert_eq!(try_it(alice, request(2, "")), Err(Reason::InvalidName));
    assert_eq!(
        try_it(alice, request(2, &"é".repeat(257))),
        Err(Reason::InvalidName)
    );
    assert_eq!(try_it(alice, request(65_535, &"é".repeat(256))), Ok(()));
    let with_schema = |name: &str| PublishDataTrackRequest {
        schema: Some(DataTrackSchemaId {
            name: name.into(),
            encoding: None,
        }),
        ..request(2, "b")
    };
    assert_eq!(try_it(alice, with_schema("")), Err(Reason::InvalidRequest));
    let encoded = |value| PublishDataTrackRequest {
        frame_encoding: Some(DataTrackFrameEncoding { value: Some(value) }),
        ..request(2, "b")
    };
    let long = encoded(Value::Custom("x".repeat(33)));
    assert_eq!(try_it(alice, long), Err(Reason::InvalidRequest));
    assert_eq!(try_it(alice, encoded(Value::WellKnown(99))), Ok(()));
    assert_eq!(try_it(alice, request(4, "d")), Err(Reason::LimitExceeded));
}

#[test]
fn a_data_track_ends_for_everybody_and_makes_room_for_another() {
    let mut meeting = Meeting::with(Config {
        max_tracks: 1,
        ..Config::default()
    });
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let track = publish(&mut meeting, alice, 1, "a");
    subscribe(&mut meeting, bob, track, true);
    let end =
        |handle| Ask::UnpublishDataTrackRequest(UnpublishDataTrackRequest { pub_handle: handle });
    let start = meeting.heard(alice);
    meeting.ask(alice, end(2));
    assert!(matches!(
        meeting.clients[&alice].heard.last(),
        Some(Told::RequestResponse(response)) if response.reason() == Reason::InvalidHandle
    ));
    meeting.ask(alice, end(1));
    assert_eq!(unpublished(meeting.since(alice, start)), [1]);
    assert!(
        updates(&meeting.clients[&bob].heard)
            .last()
            .unwrap()
            .data_tracks
            .is_empty()
    );
    assert!(receives(&meeting, bob).is_empty());
    // A wish for what is gone leads to nothing.
    subscribe(&mut meeting, bob, track, true);
    assert!(receives(&meeting, bob).is_empty());
    publish(&mut meeting, alice, 1, "a");
}

#[test]
fn who_leaves_takes_its_data_tracks_along() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let track = publish(&mut meeting, alice, 1, "a");
    subscribe(&mut meeting, bob, track, true);
    meeting.ask(alice, Ask::Leave(Default::default()));
    let farewell = updates(&meeting.clients[&bob].heard).pop().unwrap();
    assert!(farewell.data_tracks.is_empty());
    assert!(meeting.shard.data_tracks.is_empty() && receives(&meeting, bob).is_empty());
    let again = meeting.enter("alice");
    let track = publish(&mut meeting, again, 1, "a");
    subscribe(&mut meeting, bob, track, true);
    assert_eq!(receives(&meeting, bob).len(), 1);
}

#[test]
fn who_wants_all_data_tracks_gets_them_without_asking() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let first = publish(&mut meeting, alice, 1, "a");
    let mut wish = join_request("v=0");
    let settings = wish.connection_settings.as_mut().unwrap();
    settings.auto_subscribe_data_track = Some(true);
    let bob = meeting.open(grant("bob"), wish);
    meeting.connect(bob);
    let second = publish(&mut meeting, alice, 2, "b");
    assert_eq!(receives(&meeting, bob).len(), 2);
    assert_eq!(handles(&meeting, bob, 0).len(), 2);
    subscribe(&mut meeting, bob, first, false);
    assert_eq!(
        receives(&meeting, bob).keys().collect::<Vec<_>>(),
        [&second]
    );
    // What is published before its participant is seen begins when it is.
    let carol = meeting.join("carol");
    publish(&mut meeting, carol, 1, "c");
    assert_eq!(receives(&meeting, bob).len(), 1);
    meeting.connect(carol);
    assert_eq!(receives(&meeting, bob).len(), 2);
}

#[test]
fn data_subscriptions_are_limited() {
    let mut meeting = Meeting::with(Config {
        max_subscriptions: 2,
        ..Config::default()
    });
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    for handle in 1..=3 {
        let track = publish(&mut meeting, alice, handle, &handle.to_string());
        subscribe(&mut meeting, bob, track, true);
    }
    assert_eq!(
        (
            receives(&meeting, bob).len(),
            handles(&meeting, bob, 0).len()
        ),
        (2, 2)
    );
    let heard = meeting.clients[&bob].heard.iter();
    let refused = heard.filter(|told| matches!(told, Told::SubscriptionResponse(_)));
    assert_eq!(refused.count(), 1);
}

fn permit(meeting: &mut Meeting, identity: &str, permission: ParticipantPermission) {
    let request = UpdateParticipantRequest {
        identity: identity.into(),
        permission: Some(permission),
        ..Default::default()
    };
    meeting
        .api(ApiCall::UpdateParticipant(Box::new(request)))
        .unwrap();
    meeting.advance(NEWS);
}

#[test]
fn permissions_that_change_end_and_begin_what_they_are_about() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let track = publish(&mut meeting, alice, 1, "a");
    subscribe(&mut meeting, bob, track, true);
    let everything = ParticipantPermission {
        can_subscribe: true,
        can_publish: true,
        can_publish_data: true,
        ..Default::default()
    };
    let nothing = ParticipantPermission {
        can_subscribe: false,
        ..everything.clone()
    };
    permit(&mut meeting, "bob", nothing);
    assert!(receives(&meeting, bob).is_empty());
    permit(&mut meeting, "bob", everything.clone());
    assert_eq!(receives(&meeting, bob).len(), 1);
    let hidden = ParticipantPermission {
        hidden: true,
        ..everything.clone()
    };
    permit(&mut meeting, "alice", hidden);
    assert!(receives(&meeting, bob).is_empty(), "nobody is there");
    permit(&mut meeting, "alice", everything.clone());
    assert_eq!(receives(&meeting, bob).len(), 1);
    let start = meeting.heard(alice);
    let silent = ParticipantPermission {
        can_publish_data: false,
        ..everything
    };
    permit(&mut meeting, "alice", silent);
    assert_eq!(unpublished(meeting.since(alice, start)), [1]);
    assert!(meeting.shard.data_tracks.is_empty() && receives(&meeting, bob).is_empty());
}

#[test]
fn a_publisher_says_who_may_have_its_data_tracks() {
    let mut meeting = Meeting::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| meeting.enter(name));
    let [first, second] =
        [1, 2].map(|handle| publish(&mut meeting, alice, handle, &handle.to_string()));
    for session in [bob, carol] {
        subscribe(&mut meeting, session, first, true);
        subscribe(&mut meeting, session, second, true);
    }
    let allow = |identity: &str, track_sids: Vec<String>| TrackPermission {
        participant_identity: identity.into(),
        all_tracks: track_sids.is_empty(),
        track_sids,
        ..Default::default()
    };
    let permission = SubscriptionPermission {
        all_participants: false,
        track_permissions: vec![allow("bob", vec![second.to_string()])],
    };
    meeting.ask(alice, Ask::SubscriptionPermission(permission));
    assert_eq!(
        receives(&meeting, bob).keys().collect::<Vec<_>>(),
        [&second]
    );
    assert!(receives(&meeting, carol).is_empty());
    meeting.advance(NEWS);
    let permission = SubscriptionPermission {
        all_participants: false,
        track_permissions: vec![allow("carol", Vec::new())],
    };
    meeting.ask(alice, Ask::SubscriptionPermission(permission));
    assert_eq!(
        (
            receives(&meeting, bob).len(),
            receives(&meeting, carol).len()
        ),
        (0, 2)
    );
}

#[test]
fn after_a_resume_data_tracks_go_on_and_what_was_missed_is_told() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let track = publish(&mut meeting, alice, 1, "a");
    subscribe(&mut meeting, bob, track, true);
    let before = handles(&meeting, bob, 0);
    meeting.cut(bob);
    meeting.cut(alice);
    assert_eq!(receives(&meeting, bob).len(), 1, "it still flows");
    let bob_again = meeting.resume("bob", bob);
    assert_eq!(handles(&meeting, bob_again, 0), before);
    let heard = &meeting.clients[&bob_again].heard;
    let update = position(heard, |told| matches!(told, Told::Update(_)));
    let handles = position(heard, |told| {
        matches!(told, Told::DataTrackSubscriberHandles(_))
    });
    assert!(update < handles, "the tracks come first");

    // What it believes to publish and does not is ended, the rest is left alone.
    let alice_again = meeting.resume("alice", alice);
    let published = |handle| PublishDataTrackResponse {
        info: Some(DataTrackInfo {
            pub_handle: handle,
            sid: "DTR_x".into(),
            ..Default::default()
        }),
    };
    let state = SyncState {
        publish_data_tracks: vec![published(1), published(2)],
        ..Default::default()
    };
    meeting.ask(alice_again, Ask::SyncState(state));
    assert_eq!(unpublished(&meeting.clients[&alice_again].heard), [2]);
    assert_eq!(receives(&meeting, bob).len(), 1);

    // A subscription may come with it.
    let update = Update {
        track_sid: track.to_string(),
        subscribe: false,
        options: None,
    };
    let state = SyncState {
        data_subscription: Some(UpdateDataSubscription {
            updates: vec![update],
        }),
        ..Default::default()
    };
    meeting.ask(bob_again, Ask::SyncState(state));
    assert!(receives(&meeting, bob).is_empty());
}

#[test]
fn a_data_track_that_ended_while_its_publisher_was_away_is_ended_when_it_is_back() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    publish(&mut meeting, alice, 1, "a");
    meeting.cut(alice);
    let permission = ParticipantPermission {
        can_subscribe: true,
        can_publish: true,
        ..Default::default()
    };
    permit(&mut meeting, "alice", permission);
    let again = meeting.resume("alice", alice);
    assert_eq!(unpublished(&meeting.clients[&again].heard), [1]);
}

#[test]
fn an_older_client_says_in_its_query_that_it_wants_all_data_tracks() {
    let query = [("auto_subscribe_data_track".to_owned(), "1".to_owned())];
    let request: JoinRequest = protocol::join_query::join_request_of_query(&query).unwrap();
    let settings = request.connection_settings.unwrap();
    assert_eq!(settings.auto_subscribe_data_track, Some(true));
}

#[test]
fn data_blobs_are_refused_in_the_words_of_a_server_that_has_them_off() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let asked = [
        Ask::StoreDataBlobRequest(StoreDataBlobRequest {
            request_id: 7,
            ..Default::default()
        }),
        Ask::GetDataBlobRequest(GetDataBlobRequest {
            request_id: 8,
            ..Default::default()
        }),
    ];
    for (ask, id) in asked.into_iter().zip([7, 8]) {
        meeting.ask(alice, ask);
        let Some(Told::RequestResponse(refused)) = meeting.clients[&alice].heard.last() else {
            panic!("no answer")
        };
        assert_eq!(
            (refused.request_id, refused.reason()),
            (id, Reason::NotAllowed)
        );
        assert_eq!(refused.message, "data blob not enabled");
    }
}
