//! `livekit.RoomService`: the rights that its methods need, and the room's calls that carry them out.

use node::{RoomKey, Tenant};
use protocol::{
    error::Error,
    json, limits,
    livekit::{self, RoomConfiguration},
    prescan::Paths,
    token::Grant,
};
use signaling::{ApiCall, ApiReply};

use super::{
    Edge, rtc,
    twirp::{Call, Method, Reply, Right},
};
use crate::meetings::guest_of;

/// The service's name in paths.
pub(super) const NAME: &str = "livekit.RoomService";

/// The methods of the service.
pub(super) const METHODS: [Method; 14] = [
    method(
        "CreateRoom",
        Right::RoomCreate,
        &[&[5], &[14, 2], &[14, 5, 2]],
    ),
    Method {
        small: &[&[1]],
        ..method("ListRooms", Right::RoomList, &[])
    },
    method("DeleteRoom", Right::RoomCreate, &[]),
    method("ListParticipants", Right::RoomAdmin, &[]),
    method("GetParticipant", Right::RoomAdmin, &[]),
    method("RemoveParticipant", Right::RoomAdmin, &[]),
    method("MutePublishedTrack", Right::RoomAdmin, &[]),
    method("UpdateParticipant", Right::RoomAdmin, &[&[3], &[6, 2]]),
    Method {
        small: &[&[3], &[5], &[5, 1], &[5, 2]],
        ..method("UpdateSubscriptions", Right::RoomAdmin, &[])
    },
    Method {
        small: &[&[4], &[6]],
        ..method("SendData", Right::RoomAdmin, &[&[2]])
    },
    method("UpdateRoomMetadata", Right::RoomAdmin, &[&[2]]),
    method("PerformRpc", Right::RoomAdmin, &[&[4]]),
    method("ForwardParticipant", Right::RoomAdmin, &[]),
    method("MoveParticipant", Right::RoomAdmin, &[]),
];

const fn method(name: &'static str, right: Right, long: Paths) -> Method {
    Method {
        name,
        right,
        long,
        small: &[],
    }
}

/// Carries out one call.
pub(super) async fn carry_out(edge: &Edge, method: &str, call: Call) -> Result<Reply, Error> {
    match method {
        "CreateRoom" => create_room(edge, &call).await,
        "ListRooms" => list_rooms(edge, &call).await,
        "DeleteRoom" => delete_room(edge, &call).await,
        "ListParticipants" => list_participants(edge, &call).await,
        "GetParticipant" => get_participant(edge, &call).await,
        "RemoveParticipant" => remove_participant(edge, &call).await,
        "MutePublishedTrack" => mute_published_track(edge, &call).await,
        "UpdateParticipant" => update_participant(edge, &call).await,
        "UpdateSubscriptions" => update_subscriptions(edge, &call).await,
        "SendData" => send_data(edge, &call).await,
        "UpdateRoomMetadata" => update_room_metadata(edge, &call).await,
        "PerformRpc" => perform_rpc(edge, &call).await,
        "MoveParticipant" => move_participant(edge, &call).await,
        "ForwardParticipant" => forward_participant(edge, &call).await,
        other => Err(Error::BadRoute(format!("no handler for method {other:?}"))),
    }
}

async fn create_room(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request: livekit::CreateRoomRequest = call.request(|_, grant| may_create(grant))?;
    if request.name.is_empty() {
        return Err(Error::NoRoomName);
    }
    limits::check_room_name(&request.name)?;
    limits::check_metadata(&request.metadata)?;
    // A call that is not carried out must not look like success.
    if request.egress.is_some() {
        return Err(Error::Unimplemented("egress of a new room"));
    }
    signaling::check_dispatches(&request.agents)?;
    let settings = RoomConfiguration {
        empty_timeout: request.empty_timeout,
        departure_timeout: request.departure_timeout,
        max_participants: request.max_participants,
        metadata: request.metadata,
        tags: request.tags,
        agents: request.agents,
        ..RoomConfiguration::default()
    };
    signaling::Encryption::of(Some(&settings))?;
    let room = edge
        .0
        .rooms
        .create(&call.room(request.name), &settings, call.api_key())
        .await?;
    call.reply(&room, json::ROOM)
}

async fn list_rooms(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let may_list = |grant: &Grant| grant.video().room_list;
    let request: livekit::ListRoomsRequest = call.request(|_, grant| may_list(grant))?;
    let rooms = edge
        .0
        .rooms
        .list(&Tenant::of(call.api_key()), &request.names)
        .await;
    call.reply(&livekit::ListRoomsResponse { rooms }, json::ROOMS)
}

async fn delete_room(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request: livekit::DeleteRoomRequest = call.request(|_, grant| may_create(grant))?;
    let room = call.room(request.room);
    // The meeting is ended first, so that nobody comes in between. It need not be going on.
    let by_link = edge.0.meetings.end(&room.name, rtc::unix_seconds()).await;
    // Those who are in the room are sent away even if the end could not be written.
    let deleted = edge.0.rooms.call(&room, ApiCall::DeleteRoom).await;
    match (by_link?, deleted) {
        (true, Err(Error::RoomNotFound)) => {}
        (_, deleted) => drop(deleted?),
    }
    call.reply(&livekit::DeleteRoomResponse::default(), json::EMPTY)
}

async fn list_participants(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request: livekit::ListParticipantsRequest =
        call.request(|request: &livekit::ListParticipantsRequest, grant| {
            may_moderate(grant, &request.room)
        })?;
    let room = call.room(request.room);
    let participants = match edge.0.rooms.call(&room, ApiCall::ListParticipants).await {
        Ok(ApiReply::Participants(participants)) => participants,
        // A room that does not exist has no participants.
        Ok(_) | Err(Error::RoomNotFound) => Vec::new(),
        Err(error) => return Err(error),
    };
    let response = livekit::ListParticipantsResponse { participants };
    call.reply(&response, json::PARTICIPANTS)
}

async fn get_participant(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request = about_participant(call)?;
    let identity = request.identity.into();
    let question = ApiCall::GetParticipant { identity };
    participant_reply(call, ask(edge, call.room(request.room), question).await?)
}

async fn remove_participant(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request = about_participant(call)?;
    let revoke_before = u64::try_from(request.revoke_token_ts).ok();
    // The guest is removed from the meeting first, so that it is not back before the call is over.
    let room = call.room(request.room.as_str());
    let by_link = edge.0.meetings.remove(&room.name, &request.identity).await;
    if by_link != Ok(false) {
        remove_other_windows(edge, &room, &request.identity).await;
    }
    let question = ApiCall::RemoveParticipant {
        identity: request.identity.into(),
        revoke_before: revoke_before.filter(|before| *before > 0),
    };
    let removed = ask(edge, call.room(request.room), question).await;
    by_link?;
    removed?;
    call.reply(&livekit::RemoveParticipantResponse::default(), json::EMPTY)
}

/// Removes everything that the guest's browser has open in the room.
async fn remove_other_windows(edge: &Edge, room: &RoomKey, identity: &str) {
    let (Some(guest), Ok(ApiReply::Participants(people))) = (
        guest_of(identity),
        edge.0.rooms.call(room, ApiCall::ListParticipants).await,
    ) else {
        return;
    };
    for person in people {
        if person.identity != identity && guest_of(&person.identity) == Some(guest) {
            let question = ApiCall::RemoveParticipant {
                identity: person.identity.into(),
                revoke_before: None,
            };
            // The participant may have left by itself.
            let _ = edge.0.rooms.call(room, question).await;
        }
    }
}

fn about_participant(call: &Call) -> Result<livekit::RoomParticipantIdentity, Error> {
    call.request(|request: &livekit::RoomParticipantIdentity, grant| {
        may_moderate(grant, &request.room)
    })
}

async fn mute_published_track(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request = call.request(|request: &livekit::MuteRoomTrackRequest, grant| {
        may_moderate(grant, &request.room)
    })?;
    let question = ApiCall::MuteTrack {
        identity: request.identity.into(),
        track_sid: request.track_sid,
        muted: request.muted,
    };
    let track = match ask(edge, call.room(request.room), question).await? {
        ApiReply::Track(track) => track.map(|track| *track),
        _ => None,
    };
    let response = livekit::MuteRoomTrackResponse { track };
    call.reply(&response, json::MUTED_TRACK)
}

async fn update_participant(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request = call.request(|request: &livekit::UpdateParticipantRequest, grant| {
        may_moderate(grant, &request.room)
    })?;
    // Checked before the room is asked.
    limits::check_identity(&request.identity)?;
    limits::check_name(&request.name)?;
    limits::check_metadata(&request.metadata)?;
    limits::check_attributes(&request.attributes)?;
    let room = call.room(request.room.as_str());
    let question = ApiCall::UpdateParticipant(Box::new(request));
    participant_reply(call, ask(edge, room, question).await?)
}

async fn update_subscriptions(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request = call.request(|request: &livekit::UpdateSubscriptionsRequest, grant| {
        may_moderate(grant, &request.room)
    })?;
    let room = call.room(request.room.as_str());
    let question = ApiCall::UpdateSubscriptions(Box::new(request));
    ask(edge, room, question).await?;
    call.reply(
        &livekit::UpdateSubscriptionsResponse::default(),
        json::EMPTY,
    )
}

async fn send_data(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request = call
        .request(|request: &livekit::SendDataRequest, grant| may_moderate(grant, &request.room))?;
    let room = call.room(request.room.as_str());
    let question = ApiCall::SendData(Box::new(request));
    edge.0.rooms.call(&room, question).await?;
    call.reply(&livekit::SendDataResponse::default(), json::EMPTY)
}

async fn update_room_metadata(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request = call.request(|request: &livekit::UpdateRoomMetadataRequest, grant| {
        may_moderate(grant, &request.room)
    })?;
    limits::check_metadata(&request.metadata)?;
    let question = ApiCall::UpdateRoomMetadata {
        metadata: request.metadata,
    };
    let room = call.room(request.room);
    match edge.0.rooms.call(&room, question).await? {
        ApiReply::Room(room) => call.reply(&*room, json::ROOM),
        _ => Err(Error::Internal),
    }
}

async fn perform_rpc(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request = call.request(|request: &livekit::PerformRpcRequest, grant| {
        may_moderate(grant, &request.room)
    })?;
    let room = call.room(request.room.as_str());
    let question = ApiCall::PerformRpc(Box::new(request));
    match ask(edge, room, question).await? {
        ApiReply::Rpc { payload } => {
            call.reply(&livekit::PerformRpcResponse { payload }, json::RPC_RESPONSE)
        }
        _ => Err(Error::Internal),
    }
}

async fn move_participant(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request = call.request(|request: &livekit::MoveParticipantRequest, grant| {
        may_send(grant, &request.room, &request.destination_room)
    })?;
    check_destination(
        edge,
        call,
        &request.room,
        &request.identity,
        &request.destination_room,
    )
    .await?;
    let destination = call.room(request.destination_room);
    let settings = RoomConfiguration::default();
    let destination = edge
        .0
        .rooms
        .create(&destination, &settings, call.api_key())
        .await?;
    let full = destination.max_participants;
    if full != 0 && destination.num_participants >= full {
        return Err(Error::RoomFull);
    }
    let question = ApiCall::MoveParticipant {
        identity: request.identity.into(),
        destination: Box::new(destination),
    };
    ask(edge, call.room(request.room), question).await?;
    call.reply(&livekit::MoveParticipantResponse::default(), json::EMPTY)
}

async fn forward_participant(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request = call.request(|request: &livekit::ForwardParticipantRequest, grant| {
        may_send(grant, &request.room, &request.destination_room)
    })?;
    check_destination(
        edge,
        call,
        &request.room,
        &request.identity,
        &request.destination_room,
    )
    .await?;
    let destination = call.room(request.destination_room);
    let settings = RoomConfiguration::default();
    let destination = edge
        .0
        .rooms
        .create(&destination, &settings, call.api_key())
        .await?;
    let question = ApiCall::ForwardParticipant {
        identity: request.identity.into(),
        destination: destination.sid.parse().map_err(|_| Error::Internal)?,
    };
    ask(edge, call.room(request.room), question).await?;
    call.reply(&livekit::ForwardParticipantResponse::default(), json::EMPTY)
}

/// Checks a destination: it must be another room, and no room is opened for a participant who is not there.
async fn check_destination(
    edge: &Edge,
    call: &Call,
    room: &str,
    identity: &str,
    destination: &str,
) -> Result<(), Error> {
    if room == destination {
        return Err(Error::InvalidArgument(
            "destination room must be another room",
        ));
    }
    limits::check_room_name(destination)?;
    limits::check_identity(identity)?;
    let identity = identity.into();
    ask(edge, call.room(room), ApiCall::GetParticipant { identity }).await?;
    Ok(())
}

/// Asks a room about a participant. Where there is no room, the participant is not in it.
async fn ask(edge: &Edge, room: RoomKey, question: ApiCall) -> Result<ApiReply, Error> {
    match edge.0.rooms.call(&room, question).await {
        Err(Error::RoomNotFound) => Err(Error::ParticipantNotFound),
        answer => answer,
    }
}

fn participant_reply(call: &Call, answer: ApiReply) -> Result<Reply, Error> {
    match answer {
        ApiReply::Participant(participant) => call.reply(&*participant, json::PARTICIPANT),
        _ => Err(Error::Internal),
    }
}

fn may_create(grant: &Grant) -> bool {
    grant.video().room_create
}

/// Whether the grant is a moderator's of this room.
pub(super) fn may_moderate(grant: &Grant, room: &str) -> bool {
    let video = grant.video();
    video.room_admin && !room.is_empty() && video.room == room
}

/// Whether the grant has the right to send a participant to another room, which needs a right for both.
fn may_send(grant: &Grant, room: &str, destination: &str) -> bool {
    let allowed = grant.video().destination_room;
    may_moderate(grant, room) && !destination.is_empty() && allowed == destination
}
