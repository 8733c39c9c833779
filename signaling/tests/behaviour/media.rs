use std::time::Duration;

use protocol::livekit::{
    AddTrackRequest, DisconnectReason, MuteTrackRequest, SubscriptionPermission, TrackPermission,
    UpdateSubscription, UpdateTrackSettings, VideoQuality, leave_request::Action,
    request_response::Reason,
};
use sfu::{Command, Event, MediaSections, MemberCommand, SpatialLayer, Speaker, TrackCommand};

use crate::meeting::*;

#[test]
fn the_update_reaches_a_client_before_the_negotiation_for_its_track() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let start = meeting.heard(bob);
    let track = meeting.publish(alice, "cam");
    let heard = meeting.since(bob, start);
    let update = position(
        heard,
        |told| matches!(told, Told::Update(update) if update.participants[0].tracks.iter().any(|t| t.sid == track.to_string())),
    );
    let requirement = position(heard, |told| {
        matches!(told, Told::MediaSectionsRequirement(_))
    });
    assert!(update.unwrap() < requirement.unwrap(), "{heard:?}");
    meeting.ask(bob, Ask::Offer(offer(2, "v=0")));
    let Some(Told::Answer(answer)) = meeting.clients[&bob].heard.last() else {
        panic!("no answer")
    };
    assert_eq!(answer.mid_to_track_id["0"], track.to_string());
}

#[test]
fn a_track_published_before_connecting_is_announced_with_its_publisher() {
    let mut meeting = Meeting::new();
    let bob = meeting.enter("bob");
    let alice = meeting.join("alice");
    let start = meeting.heard(bob);
    meeting.publish(alice, "cam");
    assert!(meeting.subscriptions(bob).is_empty() && updates(meeting.since(bob, start)).is_empty());
    meeting.connect(alice);
    assert_eq!(meeting.subscriptions(bob).len(), 1);
    assert_eq!(updates(meeting.since(bob, start))[0].tracks.len(), 1);
    let heard = meeting.since(bob, start);
    let update = position(heard, |told| matches!(told, Told::Update(_)));
    assert!(
        update
            < position(heard, |told| matches!(
                told,
                Told::MediaSectionsRequirement(_)
            ))
    );
}

#[test]
fn tracks_in_the_join_request_are_published_before_the_offer() {
    let mut meeting = Meeting::new();
    let mut request = join_request("v=0 cam");
    request.add_track_requests = vec![camera("cam")];
    let alice = meeting.open(grant("alice"), request);
    meeting.connect(alice);
    assert!(meeting.published(alice, "cam").is_some());
    let bob = meeting.enter("bob");
    assert_eq!(meeting.subscriptions(bob).len(), 1);
}

#[test]
fn an_answer_that_lacks_sections_is_followed_by_the_requirement() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let start = meeting.heard(alice);
    let missing = MediaSections {
        audios: 1,
        videos: 2,
    };
    let peer = meeting.sid(alice);
    meeting.media(Event::Answer {
        peer,
        id: 4,
        sdp: "s".into(),
        mid_to_track: Vec::new(),
        missing,
    });
    let heard = meeting.since(alice, start);
    assert!(matches!(&heard[0], Told::Answer(answer) if answer.id == 4));
    assert!(
        matches!(&heard[1], Told::MediaSectionsRequirement(r) if (r.num_audios, r.num_videos) == (1, 2))
    );
}

#[test]
fn a_refused_offer_ends_that_participant_only() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    meeting.ask(bob, Ask::Offer(offer(3, "broken")));
    assert_eq!(
        meeting.leave_of(bob),
        Some((DisconnectReason::MediaFailure, Action::Disconnect))
    );
    let carol = meeting.open(grant("carol"), join_request("broken"));
    assert_eq!(
        meeting.leave_of(carol),
        Some((DisconnectReason::JoinFailure, Action::Disconnect))
    );
    assert_eq!(
        (meeting.participants().len(), meeting.clients[&alice].closed),
        (1, None)
    );
}

#[test]
fn add_track_is_answered_with_what_was_asked() {
    let mut meeting = Meeting::new();
    let alice = meeting.join("alice");
    let layer = |quality: VideoQuality, width| protocol::livekit::VideoLayer {
        quality: quality.into(),
        width,
        height: width / 2,
        ..Default::default()
    };
    let mut request = camera("cam");
    request.layers = vec![
        layer(VideoQuality::Low, 320),
        layer(VideoQuality::Medium, 640),
    ];
    request.name = "webcam".into();
    (request.width, request.height) = (640, 320);
    meeting.ask(alice, Ask::AddTrack(request.clone()));
    let Some(Told::TrackPublished(published)) = meeting.clients[&alice].heard.last() else {
        panic!()
    };
    let info = published.track.as_ref().unwrap();
    assert!(info.sid.starts_with("TR_VC") && published.cid == "cam");
    assert_eq!(
        (
            info.name.as_str(),
            info.width,
            info.height,
            info.stream.as_str()
        ),
        ("webcam", 640, 320, "camera")
    );
    let Some(Command::Track(TrackCommand::Publish { track, .. })) = meeting.shard.commands.last()
    else {
        panic!()
    };
    assert_eq!(track.cids, ["cam"]);
    assert_eq!(
        (track.layers[1].layer, track.layers[1].width),
        (SpatialLayer::Medium, 640)
    );
    // Asked twice, answered twice, published once.
    let first = meeting.published(alice, "cam");
    let commands = meeting.shard.commands.len();
    meeting.ask(alice, Ask::AddTrack(request));
    assert_eq!(
        (
            meeting.published(alice, "cam"),
            meeting.shard.commands.len()
        ),
        (first, commands)
    );
}

#[test]
fn the_name_of_a_stream_cannot_break_into_sdp() {
    let mut meeting = Meeting::new();
    let alice = meeting.join("alice");
    for (stream, expected) in [
        ("a b", "camera"),
        ("x\r\na=evil", "camera"),
        ("p|q", "camera"),
        ("mine", "mine"),
    ] {
        let request = protocol::livekit::AddTrackRequest {
            stream: stream.into(),
            ..camera(stream)
        };
        meeting.ask(alice, Ask::AddTrack(request));
        let Some(Command::Track(TrackCommand::Publish { track, .. })) =
            meeting.shard.commands.last()
        else {
            panic!()
        };
        assert_eq!(track.stream, expected);
    }
}

#[test]
fn publishing_needs_the_permission_for_the_source() {
    let mut meeting = Meeting::new();
    let mut microphone_only = grant("alice");
    microphone_only.video.as_mut().unwrap().can_publish_sources = vec!["microphone".into()];
    let alice = meeting.open(microphone_only, join_request("v=0"));
    meeting.ask(alice, Ask::AddTrack(camera("cam")));
    let Some(Told::RequestResponse(response)) = meeting.clients[&alice].heard.last() else {
        panic!()
    };
    assert_eq!(response.reason(), Reason::NotAllowed);
    let mut request = camera("mic");
    request.source = TrackSource::Microphone.into();
    request.r#type = protocol::livekit::TrackType::Audio.into();
    meeting.ask(alice, Ask::AddTrack(request));
    assert!(meeting.published(alice, "mic").is_some());

    let mut silent = grant("bob");
    silent.video.as_mut().unwrap().can_publish = Some(false);
    let bob = meeting.open(silent, join_request("v=0"));
    meeting.ask(bob, Ask::AddTrack(camera("cam")));
    assert!(matches!(
        meeting.clients[&bob].heard.last(),
        Some(Told::RequestResponse(_))
    ));
    let publishes = meeting
        .shard
        .commands
        .iter()
        .filter(|command| matches!(command, Command::Track(TrackCommand::Publish { .. })));
    assert_eq!(publishes.count(), 1);
}

#[test]
fn who_may_not_subscribe_receives_nothing() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let track = meeting.publish(alice, "cam");
    let mut deaf = grant("deaf");
    deaf.video.as_mut().unwrap().can_subscribe = Some(false);
    let deaf = meeting.open(deaf, join_request("v=0"));
    let wish = UpdateSubscription {
        track_sids: vec![track.to_string()],
        subscribe: true,
        ..Default::default()
    };
    meeting.ask(deaf, Ask::Subscription(wish));
    assert!(meeting.subscriptions(deaf).is_empty());
}

#[test]
fn data_permissions_reach_the_shard() {
    let mut meeting = Meeting::new();
    let mut agent = grant("agent");
    agent.kind = "agent".into();
    let video = agent.video.as_mut().unwrap();
    (video.can_publish_data, video.hidden) = (Some(false), true);
    meeting.open(agent, join_request("v=0"));
    let Some(Command::Member(MemberCommand::Add { permissions, .. })) =
        meeting.shard.commands.first()
    else {
        panic!()
    };
    assert_eq!(
        *permissions,
        sfu::PeerPermissions {
            can_publish_data: false,
            hidden: true,
            agent: true,
            hears_all: true,
        }
    );
}

#[test]
fn the_engine_knows_whose_companion_somebody_is() {
    for (identity, of, principal) in [("alice#screen", "alice", "alice"), ("bob#1", "", "bob#1")] {
        let mut meeting = Meeting::new();
        let mut grant = grant(identity);
        grant.principal = of.into();
        meeting.open(grant, join_request("v=0"));
        let Some(Command::Member(MemberCommand::Add {
            principal: known, ..
        })) = meeting.shard.commands.first()
        else {
            panic!()
        };
        assert_eq!(known.as_str(), principal);
    }
}

#[test]
fn agents_and_recorders_hear_every_voice_and_nobody_else_does() {
    for (kind, recorder, hears_all) in [
        ("agent", false, true),
        ("egress", false, true),
        ("", true, true),
        ("sip", true, true),
        ("", false, false),
        ("standard", false, false),
        ("sip", false, false),
        ("ingress", false, false),
    ] {
        let mut meeting = Meeting::new();
        let mut grant = grant("somebody");
        grant.kind = kind.into();
        grant.video.as_mut().unwrap().recorder = recorder;
        meeting.open(grant, join_request("v=0"));
        let Some(Command::Member(MemberCommand::Add { permissions, .. })) =
            meeting.shard.commands.first()
        else {
            panic!()
        };
        assert_eq!(permissions.hears_all, hears_all, "{kind} {recorder}");
    }
}

#[test]
fn subscriptions_follow_wishes_and_settings() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let track = meeting.publish(alice, "cam");
    let mut request = join_request("v=0");
    request.connection_settings.as_mut().unwrap().auto_subscribe = false;
    let bob = meeting.open(grant("bob"), request);
    assert!(meeting.subscriptions(bob).is_empty());
    let wish = |subscribe| UpdateSubscription {
        track_sids: vec!["nonsense".into(), "TR_unknown".into(), track.to_string()],
        subscribe,
        ..Default::default()
    };
    let setting = UpdateTrackSettings {
        track_sids: vec![track.to_string()],
        quality: VideoQuality::Medium.into(),
        width: 320,
        height: 180,
        ..Default::default()
    };
    meeting.ask(bob, Ask::TrackSetting(setting.clone()));
    meeting.ask(bob, Ask::Subscription(wish(true)));
    let stored = |meeting: &Meeting| meeting.shard.peers[&meeting.sid(bob)].subscriptions[&track];
    assert_eq!(
        (stored(&meeting).max_layer, stored(&meeting).width),
        (SpatialLayer::Medium, 320)
    );
    meeting.ask(
        bob,
        Ask::TrackSetting(UpdateTrackSettings {
            quality: VideoQuality::Off.into(),
            ..setting
        }),
    );
    assert!(stored(&meeting).disabled);
    meeting.ask(bob, Ask::Subscription(wish(false)));
    assert!(meeting.subscriptions(bob).is_empty());
}

#[test]
fn an_adaptive_client_starts_with_the_smallest_layer() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let track = meeting.publish(alice, "cam");
    let mut request = join_request("v=0");
    request
        .connection_settings
        .as_mut()
        .unwrap()
        .adaptive_stream = true;
    let bob = meeting.open(grant("bob"), request);
    let carol = meeting.join("carol");
    let layer =
        |session| meeting.shard.peers[&meeting.sid(session)].subscriptions[&track].max_layer;
    assert_eq!(
        (layer(bob), layer(carol)),
        (SpatialLayer::Low, SpatialLayer::High)
    );
}

#[test]
fn a_publisher_chooses_who_receives_its_tracks() {
    let mut meeting = Meeting::new();
    let (alice, bob, carol) = (
        meeting.enter("alice"),
        meeting.enter("bob"),
        meeting.enter("carol"),
    );
    let track = meeting.publish(alice, "cam");
    let permission = TrackPermission {
        participant_identity: "bob".into(),
        track_sids: vec![track.to_string()],
        ..Default::default()
    };
    let start = meeting.heard(carol);
    let only_bob = SubscriptionPermission {
        all_participants: false,
        track_permissions: vec![permission],
    };
    meeting.ask(alice, Ask::SubscriptionPermission(only_bob));
    assert_eq!(
        (
            meeting.subscriptions(bob).len(),
            meeting.subscriptions(carol).len()
        ),
        (1, 0)
    );
    let told = |heard: &[Told]| {
        heard.iter().find_map(|told| match told {
            Told::SubscriptionPermissionUpdate(update) => Some(update.allowed),
            _ => None,
        })
    };
    assert_eq!(told(meeting.since(carol, start)), Some(false));
    // Who joins later is refused too.
    let dave = meeting.enter("dave");
    assert!(meeting.subscriptions(dave).is_empty());
    let start = meeting.heard(carol);
    let everybody = SubscriptionPermission {
        all_participants: true,
        track_permissions: Vec::new(),
    };
    meeting.ask(alice, Ask::SubscriptionPermission(everybody));
    assert_eq!(told(meeting.since(carol, start)), Some(true));
    assert_eq!(
        (
            meeting.subscriptions(carol).len(),
            meeting.subscriptions(dave).len()
        ),
        (1, 1)
    );
}

#[test]
fn a_mute_reaches_the_shard_and_the_others() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let track = meeting.publish(alice, "cam");
    let start = meeting.heard(bob);
    let mute = |sid: String| Ask::Mute(MuteTrackRequest { sid, muted: true });
    meeting.ask(alice, mute(track.to_string()));
    meeting.ask(alice, mute(track.to_string()));
    let updates = updates(meeting.since(bob, start));
    assert_eq!(updates.len(), 1);
    assert!(updates[0].tracks[0].muted);
    assert!(matches!(
        meeting.shard.commands.last(),
        Some(Command::Track(TrackCommand::SetMuted { muted: true, .. }))
    ));
    // Somebody else's track is not Bob's to unmute.
    let commands = meeting.shard.commands.len();
    meeting.ask(
        bob,
        Ask::Mute(MuteTrackRequest {
            sid: track.to_string(),
            muted: false,
        }),
    );
    assert_eq!(meeting.shard.commands.len(), commands);
}

#[test]
fn a_track_that_leaves_the_offer_is_unpublished() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let track = meeting.publish(alice, "cam");
    let start = meeting.heard(bob);
    meeting.ask(alice, Ask::Offer(offer(3, "v=0")));
    assert!(
        matches!(meeting.shard.commands.last(), Some(Command::Track(TrackCommand::Unpublish { track: gone, .. })) if *gone == track)
    );
    assert!(updates(meeting.since(bob, start))[0].tracks.is_empty());
    // The same source again is another track.
    assert_ne!(meeting.publish(alice, "cam"), track);
    assert_eq!(meeting.subscriptions(bob).len(), 1);
}

#[test]
fn versions_only_grow() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    for cid in ["a", "b", "c"] {
        let track = meeting.publish(alice, cid).to_string();
        meeting.ask(
            alice,
            Ask::Mute(MuteTrackRequest {
                sid: track,
                muted: true,
            }),
        );
        meeting.advance(NEWS);
    }
    meeting.ask(alice, Ask::Leave(Default::default()));
    let versions: Vec<_> = updates(&meeting.clients[&bob].heard)
        .iter()
        .map(|info| info.version)
        .collect();
    assert!(
        versions.len() > 6 && versions.is_sorted_by(|a, b| a < b),
        "{versions:?}"
    );
}

#[test]
fn speakers_are_told_by_difference_to_those_who_hear_them() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let mut request = join_request("v=0");
    request.connection_settings.as_mut().unwrap().auto_subscribe = false;
    let deaf = meeting.open(grant("deaf"), request);
    meeting.publish(alice, "mic");
    let room = meeting.room.sid();
    let peer = meeting.sid(alice);
    let start: Vec<_> = [alice, bob, deaf]
        .map(|session| meeting.heard(session))
        .into();
    let speak = |meeting: &mut Meeting, level| {
        let speakers = if level > 0.0 {
            vec![Speaker { peer, level }]
        } else {
            Vec::new()
        };
        meeting.media(Event::SpeakersChanged { room, speakers });
    };
    speak(&mut meeting, 0.5);
    speak(&mut meeting, 0.5);
    speak(&mut meeting, 0.0);
    let heard = |session, start| -> Vec<_> {
        let speakers = meeting
            .since(session, start)
            .iter()
            .filter_map(|told| match told {
                Told::SpeakersChanged(changed) => Some(&changed.speakers),
                _ => None,
            });
        speakers
            .flatten()
            .map(|speaker| (speaker.level, speaker.active))
            .collect()
    };
    assert_eq!(heard(bob, start[1]), [(0.5, true), (0.0, false)]);
    assert_eq!(heard(alice, start[0]), [(0.5, true), (0.0, false)]);
    assert_eq!(heard(deaf, start[2]), []);
}

#[test]
fn a_publisher_hears_of_its_first_subscriber_once() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let track = meeting.publish(alice, "cam");
    let start = meeting.heard(alice);
    let (peer, subscriber) = (meeting.sid(alice), meeting.sid(bob));
    meeting.media(Event::TrackSubscribed {
        peer,
        track,
        subscriber,
    });
    meeting.media(Event::TrackSubscribed {
        peer,
        track,
        subscriber,
    });
    let heard = meeting.since(alice, start);
    assert!(
        matches!(heard, [Told::TrackSubscribed(told)] if told.track_sid == track.to_string()),
        "{heard:?}"
    );
}

#[test]
fn a_transport_that_does_not_come_back_means_a_full_reconnect() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let peer = meeting.sid(bob);
    let lost = Event::Disconnected {
        peer,
        reason: sfu::DisconnectReason::ConsentLost,
    };
    meeting.media(lost.clone());
    meeting.advance(Duration::from_secs(14));
    meeting.connect(bob);
    meeting.advance(Duration::from_secs(60));
    assert_eq!(
        meeting.participants().len(),
        2,
        "an ICE restart brought it back"
    );
    meeting.media(lost);
    meeting.advance(Duration::from_secs(15));
    assert_eq!(
        meeting.leave_of(bob),
        Some((DisconnectReason::ConnectionTimeout, Action::Reconnect))
    );
    assert_eq!(meeting.clients[&alice].closed, None);
    let peer = meeting.sid(alice);
    meeting.media(Event::Disconnected {
        peer,
        reason: sfu::DisconnectReason::Internal,
    });
    assert_eq!(
        meeting.leave_of(alice),
        Some((DisconnectReason::MediaFailure, Action::Reconnect))
    );
}

#[test]
fn a_publisher_hears_which_layers_are_wanted_and_again_when_it_resumes() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let mut request = camera("cam");
    request.simulcast_codecs = vec![protocol::livekit::SimulcastCodec {
        codec: "vp9".into(),
        cid: "cam".into(),
        ..Default::default()
    }];
    meeting.ask(alice, Ask::AddTrack(request));
    let track = meeting.published(alice, "cam").unwrap();
    let peer = meeting.sid(alice);
    let enabled = |told: &Told| match told {
        Told::SubscribedQualityUpdate(update) if update.track_sid == track.to_string() => {
            let codec = &update.subscribed_codecs[0];
            assert_eq!(
                (update.subscribed_codecs.len(), codec.codec.as_str()),
                (1, "vp9")
            );
            let enabled = codec.qualities.iter().filter(|quality| quality.enabled);
            Some(enabled.map(|quality| quality.quality()).collect::<Vec<_>>())
        }
        _ => None,
    };
    for (wanted, expected) in [
        (
            Some(SpatialLayer::Medium),
            vec![VideoQuality::Low, VideoQuality::Medium],
        ),
        (None, vec![]),
    ] {
        meeting.media(Event::WantedLayersChanged {
            peer,
            track,
            wanted,
        });
        let told = meeting.clients[&alice].heard.last().and_then(enabled);
        assert_eq!(told, Some(expected));
    }
    meeting.cut(alice);
    let again = meeting.resume("alice", alice);
    let told: Vec<_> = meeting.clients[&again]
        .heard
        .iter()
        .filter_map(enabled)
        .collect();
    assert_eq!(told, [vec![]]);
}

#[test]
fn whom_no_media_reaches_connects_anew_at_most_once_a_minute() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let peer = meeting.sid(bob);
    meeting.media(Event::Unreachable { peer });
    assert_eq!(
        meeting.leave_of(bob),
        Some((DisconnectReason::MediaFailure, Action::Reconnect))
    );
    assert_eq!(meeting.clients[&alice].closed, None);
    let bob = meeting.enter("bob");
    let peer = meeting.sid(bob);
    meeting.advance(Duration::from_secs(50));
    meeting.media(Event::Unreachable { peer });
    assert_eq!(meeting.leave_of(bob), None);
    meeting.advance(Duration::from_secs(20));
    meeting.media(Event::Unreachable { peer });
    assert!(meeting.leave_of(bob).is_some());
}

#[test]
fn a_connection_that_gets_worse_is_told_to_its_participant_and_to_those_who_receive_it() {
    use protocol::livekit::ConnectionQuality;
    let mut meeting = Meeting::new();
    let (alice, bob, carol) = (
        meeting.enter("alice"),
        meeting.enter("bob"),
        meeting.enter("carol"),
    );
    let track = meeting.publish(alice, "cam");
    let unsubscribe = UpdateSubscription {
        track_sids: vec![track.to_string()],
        subscribe: false,
        ..Default::default()
    };
    meeting.ask(carol, Ask::Subscription(unsubscribe));
    let everybody = [alice, bob, carol];
    let starts = everybody.map(|one| meeting.heard(one));
    let peer = meeting.sid(alice);
    let quality = sfu::Quality::Poor;
    meeting.media(Event::QualityChanged { peer, quality });
    let told = |meeting: &Meeting, one, start| {
        let quality = |told: &Told| match told {
            Told::ConnectionQuality(update) => Some(update.updates.clone()),
            _ => None,
        };
        let updates = meeting.since(one, start).iter().filter_map(quality);
        let qualities = updates.flatten().map(|info| info.quality());
        qualities.collect::<Vec<_>>()
    };
    let heard = [0, 1, 2].map(|i| told(&meeting, everybody[i], starts[i]));
    let poor = vec![ConnectionQuality::Poor];
    assert_eq!(heard, [poor.clone(), poor, vec![]]);
    let dave = meeting.enter("dave");
    let mut known = told(&meeting, dave, 0);
    known.sort();
    assert_eq!(
        known
            .iter()
            .filter(|q| **q == ConnectionQuality::Poor)
            .count(),
        1
    );
    assert_eq!(known.len(), 4);
}

#[test]
fn who_announced_several_codecs_for_a_sound_hears_whether_they_are_needed() {
    use protocol::livekit::{SimulcastCodec, SubscribedAudioCodecUpdate, TrackType};

    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let named = |codec: &str| SimulcastCodec {
        codec: codec.into(),
        cid: "mic".into(),
        ..Default::default()
    };
    let sound = |codecs: &[&str]| AddTrackRequest {
        cid: "mic".into(),
        r#type: TrackType::Audio.into(),
        simulcast_codecs: codecs.iter().map(|codec| named(codec)).collect(),
        ..Default::default()
    };
    let updates = |heard: &[Told]| -> Vec<SubscribedAudioCodecUpdate> {
        let updates = heard.iter().filter_map(|told| match told {
            Told::SubscribedAudioCodecUpdate(update) => Some(update.clone()),
            _ => None,
        });
        updates.collect()
    };
    let enabled = |update: &SubscribedAudioCodecUpdate| -> Vec<(String, bool)> {
        let codecs = update.subscribed_audio_codecs.iter();
        codecs
            .map(|codec| (codec.codec.clone(), codec.enabled))
            .collect()
    };
    let told = |opus| vec![("opus".to_owned(), opus), ("pcma".to_owned(), false)];

    meeting.ask(alice, Ask::AddTrack(sound(&["opus", "pcma"])));
    let track = meeting.published(alice, "mic").unwrap();
    meeting.ask(alice, Ask::Offer(offer(2, "v=0 mic")));
    let heard = updates(&meeting.take_heard(alice));
    assert_eq!(heard.iter().map(enabled).collect::<Vec<_>>(), [told(false)]);
    assert_eq!(heard[0].track_sid, track.to_string());

    let bob = meeting.enter("bob");
    let carol = meeting.enter("carol");
    let heard = updates(&meeting.take_heard(alice));
    assert_eq!(heard.iter().map(enabled).collect::<Vec<_>>(), [told(true)]);
    meeting.ask(carol, Ask::Leave(Default::default()));
    assert!(
        updates(&meeting.take_heard(alice)).is_empty(),
        "bob still listens"
    );
    let wish = |subscribe| {
        Ask::Subscription(UpdateSubscription {
            track_sids: vec![track.to_string()],
            subscribe,
            ..Default::default()
        })
    };
    meeting.ask(bob, wish(false));
    meeting.ask(bob, wish(true));
    meeting.ask(bob, Ask::Leave(Default::default()));
    let heard = updates(&meeting.take_heard(alice));
    let expected = [told(false), told(true), told(false)];
    assert_eq!(heard.iter().map(enabled).collect::<Vec<_>>(), expected);
}

#[test]
fn who_announced_one_codec_for_a_sound_hears_nothing_about_it() {
    use protocol::livekit::TrackType;

    let mut meeting = Meeting::new();
    let (alice, _bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let sound = AddTrackRequest {
        cid: "mic".into(),
        r#type: TrackType::Audio.into(),
        ..Default::default()
    };
    meeting.ask(alice, Ask::AddTrack(sound));
    meeting.ask(alice, Ask::Offer(offer(2, "v=0 mic")));
    let about_codecs = |told: &Told| matches!(told, Told::SubscribedAudioCodecUpdate(_));
    assert!(!meeting.clients[&alice].heard.iter().any(about_codecs));
}
