use protocol::{
    error::Error,
    livekit::{
        self, DataPacket, DisconnectReason, ParticipantPermission, SendDataRequest,
        UpdateParticipantMetadata, UpdateParticipantRequest, UpdateSubscriptionsRequest,
        data_packet, leave_request::Action, request_response::Reason,
    },
    prost::Message,
    token::{Grant, VideoGrant},
};
use sfu::{Command, DataCommand};
use signaling::{ApiCall, ApiReply, CloseCause, Config};

use crate::meeting::*;

#[test]
fn a_removed_participant_hears_why() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    assert_eq!(
        meeting.api(ApiCall::RemoveParticipant {
            identity: "bob".into(),
            revoke_before: None,
        }),
        Ok(ApiReply::Done)
    );
    assert_eq!(
        meeting.leave_of(bob),
        Some((DisconnectReason::ParticipantRemoved, Action::Disconnect))
    );
    let news = updates(&meeting.clients[&alice].heard);
    assert_eq!(
        news.last().unwrap().disconnect_reason(),
        DisconnectReason::ParticipantRemoved
    );
    let again = meeting.api(ApiCall::RemoveParticipant {
        identity: "bob".into(),
        revoke_before: None,
    });
    assert_eq!(again, Err(Error::ParticipantNotFound));
}

#[test]
fn a_revoked_token_does_not_let_its_holder_in_again_and_a_newer_one_does() {
    let mut meeting = Meeting::new();
    meeting.enter("alice");
    let token = |identity: &str, not_before| Grant {
        not_before,
        ..grant(identity)
    };
    let join = |meeting: &mut Meeting, grant| {
        let session = meeting.open(grant, join_request("v=0"));
        meeting.leave_of(session)
    };
    let remove = |meeting: &mut Meeting, identity: &str, before| {
        meeting.api(ApiCall::RemoveParticipant {
            identity: identity.into(),
            revoke_before: Some(before),
        })
    };
    assert_eq!(join(&mut meeting, token("bob", Some(1000))), None);
    assert_eq!(remove(&mut meeting, "bob", 2000), Ok(ApiReply::Done));
    let refused = Some((DisconnectReason::ParticipantRemoved, Action::Disconnect));
    for not_before in [None, Some(1000), Some(1999)] {
        assert_eq!(join(&mut meeting, token("bob", not_before)), refused);
    }
    assert_eq!(join(&mut meeting, token("carol", Some(1000))), None);
    // Somebody who is not here is kept out all the same, and what is remembered is bounded.
    let absent = remove(&mut meeting, "dave", 5000);
    assert_eq!(absent, Err(Error::ParticipantNotFound));
    for number in 0..2000 {
        let _ = remove(&mut meeting, &format!("nobody {number}"), 3000);
    }
    assert_eq!(join(&mut meeting, token("dave", Some(4999))), refused);
    assert_eq!(join(&mut meeting, token("bob", Some(2000))), None);
}

#[test]
fn who_is_moved_hears_where_to_before_it_is_told_to_connect_there() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let mut powerful = grant("bob");
    let video = powerful.video.as_mut().unwrap();
    (video.room_admin, video.room_record) = (true, true);
    (video.room_create, video.room_list) = (true, true);
    video.destination_room = "Elsewhere".into();
    let bob = meeting.open(powerful, join_request("v=0"));
    meeting.connect(bob);
    let start = meeting.heard(bob);
    let room = livekit::Room {
        name: "Elsewhere".into(),
        ..Default::default()
    };
    let call = |identity: &str| ApiCall::MoveParticipant {
        identity: identity.into(),
        destination: Box::new(room.clone()),
    };
    assert_eq!(meeting.api(call("bob")), Ok(ApiReply::Done));
    let heard = meeting.since(bob, start);
    let [
        Told::RefreshToken(token),
        Told::RoomMoved(moved),
        Told::Leave(leave),
    ] = heard
    else {
        panic!("{heard:?}")
    };
    assert_eq!(*token, moved.token);
    assert_eq!(moved.room.as_ref().unwrap().name, "Elsewhere");
    assert_eq!(leave.action(), Action::Reconnect);
    let client = &meeting.clients[&bob];
    assert_eq!(client.closed, Some(CloseCause::Room));
    // The token it got is the last one signed, and is for the other room.
    assert_eq!(moved.token, format!("token {}", client.signed.len() - 1));
    let grant = client.signed.last().unwrap();
    assert_eq!(grant.identity, "bob");
    // Its rights over the one room are none over the other.
    let expected = VideoGrant {
        room_join: true,
        room: "Elsewhere".into(),
        ..VideoGrant::default()
    };
    assert_eq!(grant.video(), expected);
    assert!(grant.video().room_join);
    // To those who stay it has left.
    let news = updates(&meeting.clients[&alice].heard);
    let last = news.last().unwrap();
    assert_eq!(last.identity, "bob");
    assert_eq!(last.disconnect_reason(), DisconnectReason::Migration);
    assert_eq!(meeting.api(call("bob")), Err(Error::ParticipantNotFound));

    meeting.cut(alice);
    assert!(matches!(
        meeting.api(call("alice")),
        Err(Error::Unavailable(_))
    ));
    assert_eq!(meeting.participants().len(), 1);
}

#[test]
fn a_deleted_room_ends_for_everybody() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    assert_eq!(meeting.api(ApiCall::DeleteRoom), Ok(ApiReply::Done));
    for session in [alice, bob] {
        assert_eq!(
            meeting.leave_of(session),
            Some((DisconnectReason::RoomDeleted, Action::Disconnect))
        );
        assert_eq!(meeting.clients[&session].closed, Some(CloseCause::Room));
    }
    assert!(meeting.closed && meeting.shard.peers.is_empty() && meeting.shard.room_closed);
}

#[test]
fn a_moderators_mute_is_told_before_the_update() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let track = meeting.publish(alice, "cam");
    let start = meeting.heard(alice);
    let mute = |muted, sid: &str| ApiCall::MuteTrack {
        identity: "alice".into(),
        track_sid: sid.into(),
        muted,
    };
    let Ok(ApiReply::Track(Some(info))) = meeting.api(mute(true, track.as_str())) else {
        panic!()
    };
    assert!(info.muted);
    let heard = meeting.since(alice, start);
    assert!(
        matches!(heard, [Told::Mute(_), Told::Update(_)]),
        "{heard:?}"
    );
    assert_eq!(
        meeting.api(mute(false, track.as_str())),
        Err(Error::RemoteUnmute)
    );
    assert_eq!(
        meeting.api(mute(true, "TR_unknown")),
        Ok(ApiReply::Track(None))
    );

    let mut lenient = Meeting::with(Config {
        enable_remote_unmute: true,
        ..Config::default()
    });
    let alice = lenient.enter("alice");
    let track = lenient.publish(alice, "cam");
    lenient.api(mute(true, track.as_str())).unwrap();
    let Ok(ApiReply::Track(Some(info))) = lenient.api(mute(false, track.as_str())) else {
        panic!()
    };
    assert!(!info.muted);
}

#[test]
fn a_revoked_permission_ends_what_it_allowed() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let track = meeting.publish(alice, "cam");
    meeting.publish(bob, "cam-of-bob");
    let start = meeting.heard(alice);
    let permission = ParticipantPermission {
        can_subscribe: false,
        can_publish: false,
        ..Default::default()
    };
    let request = UpdateParticipantRequest {
        identity: "alice".into(),
        permission: Some(permission),
        name: "Alicia".into(),
        ..Default::default()
    };
    let Ok(ApiReply::Participant(info)) =
        meeting.api(ApiCall::UpdateParticipant(Box::new(request)))
    else {
        panic!()
    };
    assert_eq!((info.name.as_str(), info.tracks.len()), ("Alicia", 0));
    let heard = meeting.since(alice, start);
    assert!(heard.iter().any(
        |told| matches!(told, Told::TrackUnpublished(gone) if gone.track_sid == track.to_string())
    ));
    assert!(
        heard
            .iter()
            .any(|told| matches!(told, Told::RefreshToken(_)))
    );
    assert!(meeting.subscriptions(alice).is_empty() && meeting.subscriptions(bob).is_empty());
    let last = &meeting.clients[&alice]
        .signed
        .last()
        .unwrap()
        .video()
        .can_publish;
    assert_eq!(*last, Some(false));
    meeting.ask(alice, Ask::AddTrack(camera("again")));
    assert_eq!(meeting.published(alice, "again"), None);
}

#[test]
fn own_metadata_needs_the_permission() {
    let mut meeting = Meeting::new();
    let mut own = grant("alice");
    own.video.as_mut().unwrap().can_update_own_metadata = Some(true);
    own.attributes.insert("hand".into(), "up".into());
    let alice = meeting.open(own, join_request("v=0"));
    meeting.connect(alice);
    let bob = meeting.enter("bob");
    let update = UpdateParticipantMetadata {
        metadata: "new".into(),
        attributes: [
            ("hand".to_owned(), String::new()),
            ("color".to_owned(), "red".to_owned()),
        ]
        .into(),
        request_id: 42,
        ..Default::default()
    };
    meeting.ask(alice, Ask::UpdateMetadata(update.clone()));
    let reason = |heard: &[Told]| {
        heard.iter().find_map(|told| match told {
            Told::RequestResponse(response) => Some((response.request_id, response.reason())),
            _ => None,
        })
    };
    assert_eq!(
        reason(&meeting.clients[&alice].heard),
        Some((42, Reason::Ok))
    );
    let news = updates(&meeting.clients[&bob].heard);
    let info = news.last().unwrap();
    assert_eq!(
        (info.name.as_str(), info.metadata.as_str()),
        ("Name of alice", "new")
    );
    assert_eq!(
        info.attributes,
        [("color".to_owned(), "red".to_owned())].into()
    );
    meeting.ask(bob, Ask::UpdateMetadata(update));
    assert_eq!(
        reason(&meeting.clients[&bob].heard),
        Some((42, Reason::NotAllowed))
    );
}

#[test]
fn the_join_request_changes_metadata_only_with_the_permission() {
    let mut meeting = Meeting::new();
    for allowed in [false, true] {
        let mut own = grant("alice");
        own.video.as_mut().unwrap().can_update_own_metadata = Some(allowed);
        let request = livekit::JoinRequest {
            metadata: "mine".into(),
            ..join_request("v=0")
        };
        let alice = meeting.open(own, request);
        let metadata = &meeting
            .join_response(alice)
            .participant
            .as_ref()
            .unwrap()
            .metadata;
        assert_eq!(metadata == "mine", allowed);
    }
}

#[test]
fn room_metadata_is_told_to_everybody() {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    let Ok(ApiReply::Room(room)) = meeting.api(ApiCall::UpdateRoomMetadata {
        metadata: "topic".into(),
    }) else {
        panic!()
    };
    assert_eq!(room.metadata, "topic");
    let Some(Told::RoomUpdate(update)) = meeting.clients[&alice].heard.last() else {
        panic!()
    };
    assert_eq!(update.room.as_ref().unwrap().metadata, "topic");
}

#[test]
fn a_moderator_changes_subscriptions() {
    let mut meeting = Meeting::new();
    let (alice, bob) = (meeting.enter("alice"), meeting.enter("bob"));
    let track = meeting.publish(alice, "cam");
    let request = UpdateSubscriptionsRequest {
        identity: "bob".into(),
        track_sids: vec![track.to_string(), "TR_unknown".into()],
        ..Default::default()
    };
    assert_eq!(
        meeting.api(ApiCall::UpdateSubscriptions(Box::new(request))),
        Ok(ApiReply::Done)
    );
    assert!(meeting.subscriptions(bob).is_empty());
}

#[test]
fn data_from_the_server_reaches_whom_it_is_for_and_never_everybody_by_mistake() {
    let mut meeting = Meeting::new();
    let bob = meeting.enter("bob");
    let request = |identities: &[&str]| {
        let destination_identities = identities
            .iter()
            .map(|&identity| identity.to_owned())
            .collect();
        let topic = Some("t".to_owned());
        Box::new(SendDataRequest {
            data: b"hello".to_vec(),
            destination_identities,
            topic,
            ..Default::default()
        })
    };
    meeting
        .api(ApiCall::SendData(request(&["bob", "nobody"])))
        .unwrap();
    let Some(Command::Data(DataCommand::Send {
        to,
        payload,
        channel,
        ..
    })) = meeting.shard.commands.last()
    else {
        panic!()
    };
    assert_eq!(
        (to.as_slice(), *channel),
        ([meeting.sid(bob)].as_slice(), sfu::DataChannel::Reliable)
    );
    let packet = DataPacket::decode(payload.as_slice()).unwrap();
    let Some(data_packet::Value::User(user)) = packet.value else {
        panic!()
    };
    assert_eq!(
        (user.payload.as_slice(), user.topic.as_deref()),
        (b"hello".as_slice(), Some("t"))
    );
    let commands = meeting.shard.commands.len();
    assert_eq!(
        meeting.api(ApiCall::SendData(request(&["nobody"]))),
        Err(Error::ParticipantNotFound)
    );
    assert_eq!(meeting.shard.commands.len(), commands);
    meeting.api(ApiCall::SendData(request(&[]))).unwrap();
    assert!(
        matches!(meeting.shard.commands.last(), Some(Command::Data(DataCommand::Send { to, .. })) if to.is_empty())
    );
}

#[test]
fn data_that_nobody_takes_is_refused() {
    let mut meeting = Meeting::new();
    meeting.enter("bob");
    let mut send = |len: u32| {
        let data = vec![7; len as usize];
        let request = SendDataRequest {
            data,
            ..Default::default()
        };
        meeting.api(ApiCall::SendData(Box::new(request)))
    };
    assert!(send(sfu::MAX_MESSAGE_SIZE - 100).is_ok());
    let refused = send(sfu::MAX_MESSAGE_SIZE);
    assert!(matches!(refused, Err(Error::InvalidArgument(_))));
}
