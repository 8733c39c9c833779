use std::time::Duration;

use protocol::{
    livekit::{
        AddTrackRequest, ClientInfo, DisconnectReason, SignalRequest, SimulcastCodec, SyncState,
        TrackPublishedResponse, TrackType, UpdateLocalAudioTrack, UpdateParticipantMetadata,
        UpdateParticipantRequest, UpdateSubscription, VideoLayer, leave_request::Action,
        request_response::Reason,
    },
    prost::Message as _,
    signal::{Encoding, Frame, MAX_FRAME_BYTES},
};
use signaling::{ApiCall, CloseCause, Config, Response, SessionId};

use crate::meeting::*;

fn last_reason(meeting: &Meeting, session: SessionId) -> Option<Reason> {
    match meeting.clients[&session].heard.last() {
        Some(Told::RequestResponse(response)) => Some(response.reason()),
        _ => None,
    }
}

#[test]
fn a_full_room_refuses_one_more_but_not_an_agent_or_the_same_identity() {
    let mut meeting = Meeting::with(Config {
        max_participants: 2,
        ..Config::default()
    });
    meeting.enter("alice");
    let bob = meeting.enter("bob");
    let carol = meeting.join("carol");
    assert_eq!(
        meeting.leave_of(carol),
        Some((DisconnectReason::JoinFailure, Action::Disconnect))
    );
    assert_eq!(
        (
            meeting.clients[&carol].closed,
            meeting.clients[&carol].heard.len()
        ),
        (Some(CloseCause::Room), 1)
    );
    let mut agent = grant("agent");
    agent.kind = "agent".into();
    let agent = meeting.open(agent, join_request("v=0"));
    assert_eq!(meeting.clients[&agent].closed, None);
    // Nor a recorder, whatever kind it says it is; and neither is counted.
    for (kind, recorder, agent) in [
        ("egress", false, false),
        ("", true, false),
        ("sip", true, false),
        ("sip", false, true),
    ] {
        let mut dependent = grant(&format!("{kind} {recorder} {agent}"));
        dependent.kind = kind.into();
        let video = dependent.video.as_mut().unwrap();
        (video.recorder, video.agent) = (recorder, agent);
        let dependent = meeting.open(dependent, join_request("v=0"));
        assert_eq!(meeting.clients[&dependent].closed, None);
        let room = meeting.join_response(dependent).room.as_ref().unwrap();
        assert_eq!(room.num_participants, 2);
    }
    let again = meeting.enter("bob");
    assert_eq!(meeting.clients[&again].closed, None);
    assert_eq!(
        meeting.leave_of(bob),
        Some((DisconnectReason::DuplicateIdentity, Action::Disconnect))
    );
}

#[test]
fn malformed_frames_end_that_session_only() {
    // Two bytes each, hundreds in memory.
    let state = SyncState {
        publish_tracks: vec![TrackPublishedResponse::default(); 4096],
        ..Default::default()
    };
    let message = Some(Ask::SyncState(state));
    let fields = SignalRequest { message }.encode_to_vec();
    let bad = [
        (Frame::Binary(fields.into()), CloseCause::TooLong),
        (Frame::Binary(vec![0xff; 10].into()), CloseCause::Malformed),
        (Frame::Text("{".into()), CloseCause::Malformed),
        (Frame::Text(r#"{"offer":5}"#.into()), CloseCause::Malformed),
        (
            Frame::Binary(vec![0; MAX_FRAME_BYTES + 1].into()),
            CloseCause::TooLong,
        ),
    ];
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    for (frame, cause) in bad {
        let mallory = meeting.enter("mallory");
        let start = meeting.heard(alice);
        meeting.frame(mallory, frame);
        assert_eq!(meeting.clients[&mallory].closed, Some(cause));
        assert_eq!(
            meeting.leave_of(mallory),
            Some((DisconnectReason::StateMismatch, Action::Disconnect))
        );
        assert_eq!(
            updates(meeting.since(alice, start)).len(),
            1,
            "the others see it leave"
        );
        assert_eq!(
            (meeting.participants().len(), meeting.clients[&alice].closed),
            (1, None)
        );
        meeting.frame(mallory, Frame::Binary(vec![0xff].into()));
    }
}

#[test]
fn messages_are_limited_in_the_long_run_and_at_once() {
    let config = Config {
        requests_per_second: 10,
        request_burst: 20,
        ..Config::default()
    };
    let mut meeting = Meeting::with(config);
    let alice = meeting.enter("alice");
    for _ in 0..20 {
        meeting.ask(alice, Ask::Ping(1));
    }
    for _ in 0..50 {
        meeting.advance(Duration::from_millis(100));
        meeting.ask(alice, Ask::Ping(1));
    }
    assert_eq!(meeting.clients[&alice].closed, None);
    meeting.ask(alice, Ask::Ping(1));
    assert_eq!(meeting.clients[&alice].closed, Some(CloseCause::TooMany));
}

#[test]
fn tracks_are_limited() {
    let mut meeting = Meeting::with(Config {
        max_tracks: 2,
        ..Config::default()
    });
    let alice = meeting.enter("alice");
    for cid in ["a", "b", "c"] {
        meeting.ask(alice, Ask::AddTrack(camera(cid)));
    }
    assert!(meeting.published(alice, "b").is_some());
    assert_eq!(last_reason(&meeting, alice), Some(Reason::LimitExceeded));
    // A track that ended makes room for another.
    meeting.ask(alice, Ask::Offer(offer(2, "v=0 a b")));
    meeting.ask(alice, Ask::Offer(offer(3, "v=0 a")));
    meeting.ask(alice, Ask::AddTrack(camera("d")));
    assert!(meeting.published(alice, "d").is_some());
}

#[test]
fn odd_tracks_are_refused() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let mut refused = |change: &dyn Fn(&mut protocol::livekit::AddTrackRequest)| {
        let mut request = camera("cam");
        change(&mut request);
        meeting.ask(alice, Ask::AddTrack(request));
        last_reason(&meeting, alice)
    };
    assert_eq!(
        refused(&|request| request.cid = "x".repeat(257)),
        Some(Reason::InvalidRequest)
    );
    assert_eq!(
        refused(&|request| request.cid = String::new()),
        Some(Reason::InvalidRequest)
    );
    assert_eq!(
        refused(&|request| request.name = "x".repeat(257)),
        Some(Reason::InvalidRequest)
    );
    assert_eq!(
        refused(&|request| request.layers = vec![Default::default(); 17]),
        Some(Reason::InvalidRequest)
    );
    assert_eq!(
        refused(&|request| request.r#type = 2),
        Some(Reason::UnsupportedType)
    );
    assert_eq!(
        refused(&|request| request.r#type = 99),
        Some(Reason::UnsupportedType)
    );
    assert_eq!(
        refused(&|request| request.sid = "TR_x".into()),
        Some(Reason::NotFound)
    );
    assert_eq!(refused(&|request| request.cid = "x".repeat(256)), None);
}

#[test]
fn enum_values_from_nowhere_do_not_silence_json_clients() {
    let mut meeting = Meeting::new();
    let reader = meeting.enter("reader");
    meeting.ask_as(reader, Ask::Ping(1), Encoding::Json);
    let odd_layer = VideoLayer {
        quality: 99,
        ..Default::default()
    };
    let mut request = AddTrackRequest {
        source: 99,
        encryption: 99,
        backup_codec_policy: 99,
        audio_features: vec![99, 1],
        packet_trailer_features: vec![99],
        layers: vec![odd_layer.clone()],
        ..camera("cam")
    };
    let mut join = join_request("v=0 cam");
    let capabilities = vec![99, 1];
    join.client_info = Some(ClientInfo {
        capabilities,
        ..Default::default()
    });
    let mallory = meeting.open(grant("mallory"), join);
    meeting.ask(mallory, Ask::AddTrack(request.clone()));
    request.cid = "other".into();
    let codec = SimulcastCodec {
        codec: "vp8".into(),
        layers: vec![odd_layer],
        video_layer_mode: 99,
        ..Default::default()
    };
    request.simulcast_codecs = vec![codec];
    meeting.ask(mallory, Ask::AddTrack(request));
    meeting.ask(mallory, Ask::Offer(offer(2, "v=0 cam other")));
    let start = meeting.heard(reader);
    meeting.connect(mallory);
    let track = meeting.published(mallory, "cam").unwrap();
    let features = UpdateLocalAudioTrack {
        track_sid: track.to_string(),
        features: vec![99],
    };
    meeting.ask(mallory, Ask::UpdateAudioTrack(features));
    let news = updates(meeting.since(reader, start));
    assert_eq!((news.len(), news[0].tracks.len()), (2, 2));
    assert_eq!(
        (
            news[0].capabilities.as_slice(),
            news[0].tracks[0].audio_features.as_slice()
        ),
        ([1].as_slice(), [1].as_slice())
    );
}

#[test]
fn names_metadata_and_attributes_are_limited_at_n_and_n_plus_one() {
    let mut meeting = Meeting::new();
    let mut own = grant("alice");
    own.video.as_mut().unwrap().can_update_own_metadata = Some(true);
    let alice = meeting.open(own, join_request("v=0"));
    let update = |name: usize, metadata: usize, attribute: usize| UpdateParticipantMetadata {
        name: "n".repeat(name),
        metadata: "m".repeat(metadata),
        attributes: [("k".to_owned(), "v".repeat(attribute))].into(),
        ..Default::default()
    };
    let mut reason = |request| {
        meeting.take_heard(alice);
        meeting.ask(alice, Ask::UpdateMetadata(request));
        let response = meeting.clients[&alice]
            .heard
            .iter()
            .find_map(|told| match told {
                Told::RequestResponse(response) => Some(response.reason()),
                _ => None,
            });
        response.unwrap()
    };
    assert_eq!(reason(update(256, 524_288, 65_535)), Reason::Ok);
    assert_eq!(reason(update(257, 0, 0)), Reason::LimitExceeded);
    assert_eq!(reason(update(0, 524_289, 0)), Reason::LimitExceeded);
    assert_eq!(reason(update(0, 0, 65_536)), Reason::LimitExceeded);
    let request = UpdateParticipantRequest {
        identity: "alice".into(),
        name: "n".repeat(257),
        ..Default::default()
    };
    let error = meeting
        .api(ApiCall::UpdateParticipant(Box::new(request)))
        .unwrap_err();
    assert_eq!(error.row().status, 400);
    assert!(error.to_string().contains("256"));
    let metadata = "m".repeat(524_289);
    assert!(
        meeting
            .api(ApiCall::UpdateRoomMetadata { metadata })
            .is_err()
    );
}

#[test]
fn a_refreshed_token_stays_small_enough_for_a_url() {
    let mut meeting = Meeting::new();
    let mut own = grant("alice");
    own.metadata = "m".repeat(16 * 1024);
    let alice = meeting.open(own.clone(), join_request("v=0"));
    assert_eq!(meeting.clients[&alice].signed[0].metadata.len(), 16 * 1024);
    own.metadata.push('m');
    let alice = meeting.open(own, join_request("v=0"));
    assert_eq!(meeting.clients[&alice].signed[0].metadata.len(), 0);
}

#[test]
fn n_tracks_are_received_and_one_more_waits_until_another_is_given_up() {
    let mut meeting = Meeting::with(Config {
        max_subscriptions: 3,
        ..Config::default()
    });
    let bob = meeting.enter("bob");
    let publishers = ["one", "two", "three", "four"].map(|identity| meeting.enter(identity));
    let mut tracks: Vec<_> = publishers[..3]
        .iter()
        .map(|publisher| meeting.publish(*publisher, "cam"))
        .collect();
    assert_eq!(meeting.subscriptions(bob).len(), 3);
    let start = meeting.heard(bob);
    tracks.push(meeting.publish(publishers[3], "cam"));
    assert_eq!(meeting.subscriptions(bob).len(), 3);
    let refused: Vec<_> = meeting
        .since(bob, start)
        .iter()
        .filter_map(|told| match told {
            Told::SubscriptionResponse(response) => Some(response.track_sid.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [tracks[3].to_string()], "told once");
    // Whoever joins a room of thousands is told of thousands at once: none of these fills its mailbox.
    let mut told = meeting.since(bob, start).iter();
    let told = told.find(|told| matches!(told, Told::SubscriptionResponse(_)));
    assert!(Response::from(told.unwrap().clone()).subject().is_some());
    let other = meeting.enter("carol");
    assert_eq!(
        meeting.subscriptions(other).len(),
        3,
        "each has its own limit"
    );
    let give_up = |meeting: &mut Meeting, track: protocol::TrackSid, subscribe: bool| {
        let update = UpdateSubscription {
            track_sids: vec![track.to_string()],
            subscribe,
            ..Default::default()
        };
        meeting.ask(bob, Ask::Subscription(update));
        meeting.subscriptions(bob)
    };
    let now = give_up(&mut meeting, tracks[1], false);
    assert!(now.contains(&tracks[3]) && !now.contains(&tracks[1]) && now.len() == 3);
    let now = give_up(&mut meeting, tracks[1], true);
    assert!(!now.contains(&tracks[1]) && now.len() == 3);
    // Who publishes no more makes room, too.
    let peer = meeting.sid(publishers[0]);
    meeting.media(sfu::Event::TrackUnbound {
        peer,
        track: tracks[0],
    });
    let now = meeting.subscriptions(bob);
    assert!(now.contains(&tracks[1]) && !now.contains(&tracks[0]) && now.len() == 3);
}

#[test]
fn with_named_sources_a_microphone_is_a_sound_and_nothing_in_particular_is_nothing() {
    use TrackSource::{Camera, Microphone, ScreenShare, ScreenShareAudio, Unknown};
    let (audio, video) = (TrackType::Audio, TrackType::Video);
    let all = [Camera, Microphone, ScreenShare, ScreenShareAudio, Unknown];
    let names = ["camera", "microphone", "screen_share", "screen_share_audio"];
    let mut meeting = Meeting::new();
    let mut taken = |sources: &[&str]| {
        let mut grant = grant("mallory");
        let video_grant = grant.video.as_mut().unwrap();
        video_grant.can_publish_sources = sources.iter().map(|name| (*name).to_owned()).collect();
        let session = meeting.open(grant, join_request("v=0"));
        let mut taken = Vec::new();
        for source in all {
            for kind in [audio, video] {
                let cid = format!("{source:?} {kind:?}");
                let request = AddTrackRequest {
                    r#type: kind.into(),
                    source: source.into(),
                    ..camera(&cid)
                };
                meeting.ask(session, Ask::AddTrack(request));
                if meeting.published(session, &cid).is_some() {
                    taken.push((source, kind));
                }
            }
        }
        taken
    };
    assert_eq!(taken(&["microphone"]), [(Microphone, audio)]);
    assert_eq!(taken(&["unknown"]), []);
    assert_eq!(
        taken(&names),
        [
            (Camera, video),
            (Microphone, audio),
            (ScreenShare, video),
            (ScreenShareAudio, audio)
        ]
    );
    assert_eq!(taken(&[]).len(), 10, "without a list all may be published");
}
