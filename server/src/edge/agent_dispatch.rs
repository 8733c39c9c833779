//! `livekit.AgentDispatchService`: the agents that are wanted in a room.

use protocol::{
    error::Error,
    json, limits,
    livekit::{self, AgentDispatch, RoomAgentDispatch, RoomConfiguration},
    prescan::Paths,
};

use super::{
    Edge,
    room_service::may_moderate,
    twirp::{Call, Method, Reply, Right},
};
use crate::agents::DispatchCall;

/// The service's name in paths.
pub(super) const NAME: &str = "livekit.AgentDispatchService";

/// The methods of the service.
pub(super) const METHODS: [Method; 3] = [
    method("CreateDispatch", &[&[3], &[6, 2]]),
    method("DeleteDispatch", &[]),
    method("ListDispatch", &[]),
];

const fn method(name: &'static str, long: Paths) -> Method {
    Method {
        name,
        right: Right::RoomAdmin,
        long,
        small: &[],
    }
}

/// Carries out one call.
pub(super) async fn carry_out(edge: &Edge, method: &str, call: Call) -> Result<Reply, Error> {
    match method {
        "CreateDispatch" => create(edge, &call).await,
        "DeleteDispatch" => delete(edge, &call).await,
        "ListDispatch" => list(edge, &call).await,
        other => Err(Error::BadRoute(format!("no handler for method {other:?}"))),
    }
}

/// Creates a dispatch. Where there is no such room it is opened, as livekit-server does: unless rooms are to be created
/// first.
async fn create(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request = call.request(|request: &livekit::CreateAgentDispatchRequest, grant| {
        may_moderate(grant, &request.room)
    })?;
    limits::check_room_name(&request.room)?;
    let wish = RoomAgentDispatch {
        agent_name: request.agent_name,
        metadata: request.metadata,
        restart_policy: request.restart_policy,
        deployment: request.deployment,
        attributes: request.attributes,
    };
    signaling::check_dispatches(std::slice::from_ref(&wish))?;
    let room = call.room(request.room);
    let settings = RoomConfiguration::default();
    let rooms = &edge.0.rooms;
    rooms.admits(&room, call.api_key())?;
    rooms.create(&room, &settings, call.api_key()).await?;
    one(edge, call, DispatchCall::Create(room.name, wish)).await
}

async fn delete(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request = call.request(|request: &livekit::DeleteAgentDispatchRequest, grant| {
        may_moderate(grant, &request.room)
    })?;
    let question = DispatchCall::Delete(request.room.into(), request.dispatch_id);
    one(edge, call, question).await
}

async fn list(edge: &Edge, call: &Call) -> Result<Reply, Error> {
    let request = call.request(|request: &livekit::ListAgentDispatchRequest, grant| {
        may_moderate(grant, &request.room)
    })?;
    let question = DispatchCall::List(request.room.into(), request.dispatch_id);
    let agent_dispatches = edge.0.agents.call(question).await?;
    let response = livekit::ListAgentDispatchResponse { agent_dispatches };
    call.reply(&response, json::AGENT_DISPATCHES)
}

async fn one(edge: &Edge, call: &Call, question: DispatchCall) -> Result<Reply, Error> {
    let dispatch = edge.0.agents.call(question).await?.pop();
    let dispatch: AgentDispatch = dispatch.ok_or(Error::Internal)?;
    call.reply(&dispatch, json::AGENT_DISPATCH)
}
