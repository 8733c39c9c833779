use std::time::Duration;

use protocol::{
    livekit::{
        ClientInfo, DisconnectReason, JoinRequest, leave_request::Action, participant_info::State,
        server_info::Edition,
    },
    signal::Frame,
    turn::TurnServers,
};
use sfu::{Command, DescriptionCommand, Event, MemberCommand, SubscriptionCommand};
use signaling::{ApiCall, ApiReply, COMPATIBLE_VERSION, CloseCause, Config};

use crate::meeting::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn join_is_the_first_message_and_says_what_clients_need() {
    let mut meeting = Meeting::new();
    let alice = meeting.join("alice");
    let join = meeting.join_response(alice);
    let info = join.server_info.as_ref().unwrap();
    assert_eq!(
        (info.version.as_str(), info.protocol, info.edition()),
        (COMPATIBLE_VERSION, 17, Edition::Standard)
    );
    assert_eq!(
        (
            join.ping_interval,
            join.ping_timeout,
            join.subscriber_primary
        ),
        (3, 8, false)
    );
    let codecs: Vec<_> = join
        .enabled_publish_codecs
        .iter()
        .map(|codec| codec.mime.as_str())
        .collect();
    assert_eq!(
        codecs,
        [
            "audio/opus",
            "audio/red",
            "video/VP8",
            "video/H264",
            "video/VP9",
            "video/AV1"
        ]
    );
    assert!(join.ice_servers.is_empty() && !join.sif_trailer.is_empty());
    let room = join.room.as_ref().unwrap();
    assert_eq!((room.name.as_str(), room.num_participants), ("Room", 1));
    assert_eq!(room.creation_time, UNIX_START.as_secs() as i64);
    let participant = join.participant.as_ref().unwrap();
    assert!(participant.sid.starts_with("PA_") && participant.name == "Name of alice");
    assert_eq!(participant.joined_at, UNIX_START.as_secs() as i64);
    let permission = participant.permission.as_ref().unwrap();
    assert!(permission.can_publish && permission.can_subscribe && !permission.can_update_metadata);
}

#[test]
fn a_client_without_an_offer_joins_and_offers_later() {
    let mut meeting = Meeting::new();
    let firefox = meeting.open(grant("firefox"), join_request(""));
    assert!(meeting.shard.commands.iter().all(|command| !matches!(
        command,
        Command::Description(DescriptionCommand::Offer { .. })
    )));
    meeting.ask(firefox, Ask::Offer(offer(5, "v=0")));
    let heard = &meeting.clients[&firefox].heard;
    assert!(heard.iter().any(
        |told| matches!(told, Told::Answer(answer) if answer.id == 5 && answer.r#type == "answer")
    ));
}

#[test]
fn existing_tracks_are_in_the_first_answer() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let track = meeting.publish(alice, "camera-of-alice");
    let bob = meeting.join("bob");
    let sid = meeting.sid(bob);
    let about_bob: Vec<_> = meeting
        .shard
        .commands
        .iter()
        .filter_map(|command| match command {
            Command::Member(MemberCommand::Add { peer, .. }) if *peer == sid => Some("add"),
            Command::Subscription(SubscriptionCommand::Subscribe { peer, .. }) if *peer == sid => {
                Some("subscribe")
            }
            Command::Description(DescriptionCommand::Offer { peer, .. }) if *peer == sid => {
                Some("offer")
            }
            _ => None,
        })
        .collect();
    assert_eq!(about_bob, ["add", "subscribe", "offer"]);
    let others = &meeting.join_response(bob).other_participants;
    assert_eq!(others[0].tracks[0].sid, track.to_string());
    let Some(Told::Answer(answer)) = meeting.clients[&bob]
        .heard
        .iter()
        .find(|told| matches!(told, Told::Answer(_)))
    else {
        panic!("no answer")
    };
    assert_eq!(answer.mid_to_track_id["0"], track.to_string());
}

#[test]
fn others_hear_of_a_participant_when_its_media_connects() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let start = meeting.heard(alice);
    let bob = meeting.join("bob");
    assert!(updates(meeting.since(alice, start)).is_empty());
    assert!(meeting.join_response(alice).other_participants.is_empty());
    meeting.connect(bob);
    let updates = updates(meeting.since(alice, start));
    assert_eq!(updates.len(), 1);
    assert_eq!(
        (updates[0].identity.as_str(), updates[0].state()),
        ("bob", State::Active)
    );
    let quality = |told: &Told| matches!(told, Told::ConnectionQuality(_));
    assert!(meeting.since(alice, start).iter().any(quality));
}

#[test]
fn what_a_client_can_is_mirrored_to_the_others() {
    let mut meeting = Meeting::new();
    let mut request = join_request("v=0");
    let client = ClientInfo {
        client_protocol: 2,
        capabilities: vec![1, 2],
        ..Default::default()
    };
    request.client_info = Some(client);
    let alice = meeting.open(grant("alice"), request);
    meeting.connect(alice);
    let bob = meeting.join("bob");
    let other = &meeting.join_response(bob).other_participants[0];
    assert_eq!(
        (other.client_protocol, other.capabilities.as_slice()),
        (2, [1, 2].as_slice())
    );
}

#[test]
fn the_number_of_participants_is_told_without_the_hidden_ones() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let mut hidden = grant("hidden");
    hidden.video.as_mut().unwrap().hidden = true;
    let start = meeting.heard(alice);
    let observer = meeting.open(hidden, join_request("v=0"));
    meeting.connect(observer);
    assert_eq!(meeting.since(alice, start), []);
    assert_eq!(meeting.join_response(observer).other_participants.len(), 1);
    assert_eq!(meeting.participants().len(), 2);
    let bob = meeting.enter("bob");
    assert_eq!(meeting.join_response(bob).other_participants.len(), 1);
    let count = meeting
        .since(alice, start)
        .iter()
        .find_map(|told| match told {
            Told::RoomUpdate(update) => Some(update.room.as_ref().unwrap().num_participants),
            _ => None,
        });
    assert_eq!(count, Some(2));
}

#[test]
fn a_connection_that_a_newer_one_has_overtaken_does_not_replace_it() {
    let mut meeting = Meeting::new();
    meeting.next_session = 5;
    let newer = meeting.enter("alice");
    meeting.next_session = 4;
    let older = meeting.join("alice");
    let leave = (DisconnectReason::DuplicateIdentity, Action::Disconnect);
    assert_eq!(meeting.leave_of(older), Some(leave));
    assert_eq!(meeting.leave_of(newer), None);
    assert_eq!(meeting.participants().len(), 1);
}

#[test]
fn a_second_connection_with_the_identity_replaces_the_first() {
    let mut meeting = Meeting::new();
    let watcher = meeting.enter("watcher");
    let first = meeting.enter("alice");
    let start = meeting.heard(watcher);
    let second = meeting.enter("alice");
    assert_eq!(
        meeting.leave_of(first),
        Some((DisconnectReason::DuplicateIdentity, Action::Disconnect))
    );
    assert_eq!(meeting.clients[&first].closed, Some(CloseCause::Room));
    let updates: Vec<_> = updates(meeting.since(watcher, start))
        .into_iter()
        .map(|p| (p.sid.clone(), p.state()))
        .collect();
    let (old, new) = (
        meeting.sid(first).to_string(),
        meeting.sid(second).to_string(),
    );
    assert_eq!(updates, [(old, State::Disconnected), (new, State::Active)]);
    assert_eq!(meeting.participants().len(), 2);
    // The old connection's end, heard late, changes nothing.
    meeting.cut(first);
    assert_eq!(meeting.participants().len(), 2);
}

#[test]
fn a_participant_that_never_connects_is_removed_after_a_minute() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let bob = meeting.join("bob");
    meeting.advance(59 * SECOND);
    assert_eq!(meeting.participants().len(), 2);
    meeting.advance(SECOND);
    assert_eq!(
        meeting.leave_of(bob),
        Some((DisconnectReason::JoinFailure, Action::Disconnect))
    );
    assert_eq!(
        (meeting.participants().len(), meeting.clients[&alice].closed),
        (1, None)
    );
}

#[test]
fn leave_is_told_to_the_others_with_its_reason() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let start = meeting.heard(alice);
    meeting.ask(bob, Ask::Leave(Default::default()));
    let updates = updates(meeting.since(alice, start));
    assert_eq!(
        (updates[0].state(), updates[0].disconnect_reason()),
        (State::Disconnected, DisconnectReason::ClientInitiated)
    );
    assert_eq!(meeting.clients[&bob].closed, Some(CloseCause::Room));
    assert_eq!(meeting.shard.peers.len(), 1);
}

#[test]
fn a_room_nobody_joins_closes_after_its_empty_timeout() {
    let mut meeting = Meeting::new();
    meeting.advance(299 * SECOND);
    assert!(!meeting.closed);
    meeting.advance(SECOND);
    assert!(meeting.closed && meeting.shard.room_closed);
    // A join that crossed with the end goes to a new room.
    meeting.open(grant("late"), join_request("v=0"));
    assert_eq!(meeting.redirected.len(), 1);
    assert!(meeting.api(ApiCall::GetRoom).is_err());
}

#[test]
fn a_room_everybody_left_closes_after_its_departure_timeout() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    meeting.advance(1000 * SECOND);
    assert!(!meeting.closed);
    meeting.ask(alice, Ask::Leave(Default::default()));
    meeting.advance(19 * SECOND);
    let bob = meeting.enter("bob");
    meeting.advance(60 * SECOND);
    assert!(!meeting.closed);
    meeting.ask(bob, Ask::Leave(Default::default()));
    meeting.advance(20 * SECOND);
    assert!(meeting.closed);
}

#[test]
fn a_shutdown_tells_everybody_to_reconnect() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.join("bob"));
    meeting.shutdown();
    for session in [alice, bob] {
        assert_eq!(
            meeting.leave_of(session),
            Some((DisconnectReason::ServerShutdown, Action::Reconnect))
        );
        assert_eq!(meeting.clients[&session].closed, Some(CloseCause::Room));
    }
    assert!(meeting.closed && meeting.shard.peers.is_empty());
}

#[test]
fn the_settings_of_the_token_open_the_room() {
    use std::{sync::Arc, time::Instant};
    let settings = protocol::livekit::RoomConfiguration {
        empty_timeout: 7,
        metadata: "m".into(),
        ..Default::default()
    };
    let config = Arc::new(Config::default());
    let now = Instant::now();
    let mut room = signaling::Room::new(
        "R".into(),
        Some(&settings),
        config,
        [1; 32],
        UNIX_START,
        now,
    );
    assert_eq!(room.poll_timeout(), Some(now + 7 * SECOND));
    room.handle(
        signaling::RoomInput::Api {
            id: 1,
            call: ApiCall::GetRoom,
        },
        now,
    );
    let mut outputs = std::iter::from_fn(|| room.poll_output());
    let Some(info) = outputs.find_map(|output| match output {
        signaling::RoomOutput::ApiReply {
            reply: Ok(ApiReply::Room(info)),
            ..
        } => Some(info),
        _ => None,
    }) else {
        panic!("no reply")
    };
    assert_eq!(
        (
            info.empty_timeout,
            info.departure_timeout,
            info.metadata.as_str()
        ),
        (7, 20, "m")
    );
}

#[test]
fn a_fresh_token_follows_join_every_five_minutes_and_every_change() {
    let mut meeting = Meeting::new();
    let mut own = grant("alice");
    own.video.as_mut().unwrap().can_update_own_metadata = Some(true);
    let alice = meeting.open(own, join_request("v=0"));
    assert!(
        matches!(&meeting.clients[&alice].heard[1], Told::RefreshToken(token) if token == "token 0")
    );
    meeting.connect(alice);
    meeting.advance(300 * SECOND);
    assert_eq!(meeting.clients[&alice].signed.len(), 2);
    let update = protocol::livekit::UpdateParticipantMetadata {
        name: "Alicia".into(),
        request_id: 3,
        ..Default::default()
    };
    meeting.ask(alice, Ask::UpdateMetadata(update));
    assert_eq!(
        meeting.clients[&alice].signed.last().unwrap().name,
        "Alicia"
    );
}

#[test]
fn pings_are_answered_and_silence_after_them_is_death() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    // A client that never pings lives by the pings of its socket.
    meeting.advance(100 * SECOND);
    assert_eq!(meeting.clients[&alice].closed, None);
    let start = meeting.heard(alice);
    let ping = protocol::livekit::Ping {
        timestamp: 77,
        rtt: 0,
    };
    meeting.ask(alice, Ask::PingReq(ping));
    meeting.ask(alice, Ask::Ping(5));
    let unix = (UNIX_START + NEWS + 100 * SECOND).as_millis() as i64;
    let pong = protocol::livekit::Pong {
        last_ping_timestamp: 77,
        timestamp: unix,
    };
    assert_eq!(
        meeting.since(alice, start),
        [Told::PongResp(pong), Told::Pong(unix)]
    );
    meeting.advance(14 * SECOND);
    assert_eq!(meeting.clients[&alice].closed, None);
    meeting.advance(SECOND);
    assert_eq!(
        meeting.clients[&alice].closed,
        Some(CloseCause::PingTimeout)
    );
    assert_eq!(meeting.participants().len(), 1, "it may resume");
}

#[test]
fn a_client_that_writes_json_is_answered_in_json() {
    let mut meeting = Meeting::new();
    let alice = meeting.join("alice");
    meeting.ask_as(alice, Ask::Ping(1), protocol::signal::Encoding::Json);
    assert!(matches!(
        meeting.clients[&alice].heard.last(),
        Some(Told::Pong(_))
    ));
    meeting.frame(alice, Frame::Text(r#"{"fromTheFuture":{}}"#.into()));
    assert_eq!(meeting.clients[&alice].closed, None);
}

#[test]
fn who_may_neither_publish_nor_receive_is_there_once_joined_and_others_once_connected() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let start = meeting.heard(alice);
    let mut idle = grant("idle");
    let video = idle.video.as_mut().unwrap();
    (video.can_publish, video.can_subscribe) = (Some(false), Some(false));
    let session = meeting.open(idle, join_request(""));
    let seen = updates(meeting.since(alice, start));
    assert_eq!((seen.len(), seen[0].identity.as_str()), (1, "idle"));
    assert_eq!(seen[0].state(), State::Active);
    // It stays without ever connecting.
    meeting.advance(Duration::from_secs(300));
    assert_eq!(meeting.clients[&session].closed, None);
    for (publish, subscribe) in [(true, false), (false, true)] {
        let start = meeting.heard(alice);
        let mut other = grant(&format!("publishes {publish}"));
        let video = other.video.as_mut().unwrap();
        video.can_update_own_metadata = Some(true);
        (video.can_publish, video.can_subscribe) = (Some(publish), Some(subscribe));
        let other = meeting.open(other, join_request("v=0"));
        let update = protocol::livekit::UpdateParticipantMetadata {
            name: "Here".into(),
            ..Default::default()
        };
        meeting.ask(other, Ask::UpdateMetadata(update));
        meeting.advance(NEWS);
        assert_eq!(updates(meeting.since(alice, start)), []);
        meeting.connect(other);
        assert_eq!(updates(meeting.since(alice, start))[0].name, "Here");
    }
}

#[test]
fn a_join_announces_as_many_tracks_as_there_may_be_and_not_one_more() {
    let config = Config::default();
    assert_eq!(config.max_tracks, 128);
    let mut meeting = Meeting::new();
    let request = |n: usize| JoinRequest {
        add_track_requests: (0..n).map(|i| camera(&i.to_string())).collect(),
        ..join_request("v=0")
    };
    let alice = meeting.open(grant("alice"), request(config.max_tracks));
    let published = |told: &&Told| matches!(told, Told::TrackPublished(_));
    let told = meeting.clients[&alice].heard.iter().filter(published);
    assert_eq!(told.count(), config.max_tracks);
    let mallory = meeting.open(grant("mallory"), request(config.max_tracks + 1));
    assert_eq!(
        meeting.leave_of(mallory),
        Some((DisconnectReason::JoinFailure, Action::Disconnect))
    );
}

#[test]
fn however_often_somebody_joins_its_relays_are_counted_together() {
    let urls = vec!["turn:192.0.2.1:3478".to_owned()];
    let config = Config {
        turn: Some(TurnServers::new(urls, &[1; 32], 100)),
        ..Config::default()
    };
    let mut meeting = Meeting::with(config);
    let mut whose = |identity: &str, principal: &str| {
        let mut grant = grant(identity);
        grant.principal = principal.into();
        let session = meeting.open(grant, join_request("v=0"));
        let name = &meeting.join_response(session).ice_servers[0].username;
        name.split_once(':').unwrap().1.to_owned()
    };
    let first = whose("alice", "");
    assert_eq!(whose("alice", ""), first, "anew");
    assert_eq!(whose("alice#screen", "alice"), first, "from another device");
    assert_ne!(whose("bob", ""), first);
}

#[test]
fn who_is_hidden_is_no_publisher_to_the_others() {
    let mut meeting = Meeting::new();
    let mut hidden = grant("hidden");
    hidden.video.as_mut().unwrap().hidden = true;
    let hidden = meeting.open(hidden, join_request("v=0"));
    meeting.connect(hidden);
    meeting.publish(hidden, "cam");
    let bob = meeting.enter("bob");
    meeting.publish(bob, "cam");
    let alice = meeting.enter("alice");
    let room = meeting.join_response(alice).room.clone().unwrap();
    assert_eq!((room.num_participants, room.num_publishers), (2, 1));
}

#[test]
fn a_count_that_was_right_for_a_moment_is_corrected() {
    let mut meeting = Meeting::new();
    meeting.enter("alice");
    // What all are told is 2; the next time not before 100 ms have passed.
    let bob = meeting.join("bob");
    let carol = meeting.join("carol");
    let room = meeting.join_response(carol).room.as_ref().unwrap();
    assert_eq!(room.num_participants, 3);
    meeting.ask(bob, Ask::Leave(Default::default()));
    meeting.advance(NEWS);
    let mut counts = meeting.clients[&carol].heard.iter().filter_map(|told| {
        let Told::RoomUpdate(update) = told else {
            return None;
        };
        Some(update.room.as_ref()?.num_participants)
    });
    assert_eq!(counts.next_back(), Some(2));
}

#[test]
fn in_a_crowd_many_who_come_at_once_are_one_message_and_everybody_knows_everybody() {
    let mut meeting = Meeting::new();
    let mut all: Vec<_> = (0..40)
        .map(|person| {
            meeting.advance(Duration::from_millis(100));
            meeting.enter(&format!("person {person}"))
        })
        .collect();
    let witness = all[0];
    meeting.advance(SECOND);
    let late: Vec<_> = (40..60)
        .map(|person| meeting.join(&format!("person {person}")))
        .collect();
    let before = meeting.heard(witness);
    for session in &late {
        let peer = meeting.sid(*session);
        meeting.media(Event::Connected { peer });
    }
    meeting.advance(Duration::from_millis(60));
    let heard = meeting.since(witness, before);
    let sizes: Vec<_> = heard
        .iter()
        .filter_map(|told| match told {
            Told::Update(update) => Some(update.participants.len()),
            _ => None,
        })
        .collect();
    assert_eq!(sizes, [1, 19], "the first one at once, the others together");
    // How well they are connected comes when they are known.
    let known = position(
        heard,
        |told| matches!(told, Told::Update(update) if update.participants.len() == 19),
    );
    let quality = position(
        heard,
        |told| matches!(told, Told::ConnectionQuality(update) if update.updates.len() == 19),
    );
    assert!(known.unwrap() < quality.unwrap());
    all.extend(late);
    for session in &all {
        let own = meeting.sid(*session).to_string();
        let in_join = meeting.join_response(*session).other_participants.clone();
        let told = updates(meeting.since(*session, 0));
        let mut known: Vec<_> = in_join
            .iter()
            .chain(&told)
            .map(|info| info.sid.clone())
            .collect();
        known.sort();
        known.dedup();
        assert_eq!(known.len(), 59);
        assert!(!known.contains(&own), "nobody is told of itself");
    }
}

#[test]
fn in_a_crowd_those_who_leave_at_once_are_one_message_and_who_comes_meanwhile_hears_of_none() {
    let mut meeting = Meeting::new();
    let all: Vec<_> = (0..60)
        .map(|person| meeting.enter(&format!("person {person}")))
        .collect();
    meeting.advance(SECOND);
    let before = meeting.heard(all[0]);
    let left = |told: &[Told]| -> Vec<usize> {
        let gone = told.iter().map(|told| match told {
            Told::Update(update) => update
                .participants
                .iter()
                .filter(|info| info.state() == State::Disconnected)
                .count(),
            _ => 0,
        });
        gone.filter(|gone| *gone > 0).collect()
    };
    for session in &all[1..11] {
        meeting.ask(*session, Ask::Leave(Default::default()));
    }
    meeting.advance(Duration::from_millis(60));
    assert_eq!(left(meeting.since(all[0], before)), [1, 9]);
    // One of them is back before the others have heard that it left.
    let before = meeting.heard(all[0]);
    for session in &all[11..21] {
        meeting.ask(*session, Ask::Leave(Default::default()));
    }
    let back = meeting.enter("person 11");
    meeting.advance(SECOND);
    assert_eq!(left(meeting.since(back, 0)), [0; 0]);
    let heard = updates(meeting.since(all[0], before));
    let of_back = heard.iter().filter(|info| info.identity == "person 11");
    let states: Vec<_> = of_back.map(|info| info.state()).collect();
    assert_eq!(states, [State::Disconnected, State::Active]);
}
