//! The server API calls a method of a participant.

use std::time::Duration;

use protocol::{
    ParticipantSid,
    error::Error,
    livekit::{
        DataPacket, PerformRpcRequest, RpcAck, RpcError, RpcRequest, RpcResponse,
        data_packet::Value, rpc_response,
    },
    prost::Message,
};
use sfu::{Command, DataCommand, Event};
use signaling::{ApiCall, ApiReply, SessionId};

use crate::meeting::*;

fn request() -> PerformRpcRequest {
    PerformRpcRequest {
        destination_identity: "alice".into(),
        method: "greet".into(),
        payload: "hi".into(),
        response_timeout_ms: 10_000,
        ..Default::default()
    }
}

/// A meeting in which alice is called, and the call as she gets it.
fn called() -> (Meeting, SessionId, RpcRequest) {
    let mut meeting = Meeting::new();
    let alice = meeting.enter("alice");
    meeting.call(ApiCall::PerformRpc(Box::new(request())));
    assert_eq!(meeting.answer(), None);
    let sid = meeting.sid(alice);
    let commands = &meeting.shard.commands;
    let [
        ..,
        Command::Data(DataCommand::AwaitReply { peer }),
        Command::Data(DataCommand::Send { to, payload, .. }),
    ] = commands.as_slice()
    else {
        panic!("{commands:?}")
    };
    assert_eq!((*peer, to.as_slice()), (sid, [sid].as_slice()));
    let packet = DataPacket::decode(payload.as_slice()).unwrap();
    // She answers whoever calls by identity: to herself, where the server reads along.
    assert_eq!(packet.participant_identity, "alice");
    let Some(Value::RpcRequest(request)) = packet.value else {
        panic!()
    };
    (meeting, alice, request)
}

fn reply(meeting: &mut Meeting, peer: ParticipantSid, value: Value) {
    let packet = DataPacket {
        value: Some(value),
        ..Default::default()
    };
    let payload = packet.encode_to_vec();
    meeting.media(Event::Reply { peer, payload });
}

fn ack(request: &RpcRequest) -> Value {
    Value::RpcAck(RpcAck {
        request_id: request.id.clone(),
    })
}

fn response(request: &RpcRequest, value: rpc_response::Value) -> Value {
    Value::RpcResponse(RpcResponse {
        request_id: request.id.clone(),
        value: Some(value),
    })
}

fn error_of(code: u32, message: &str) -> Option<Result<ApiReply, Error>> {
    Some(Err(Error::Rpc {
        code,
        message: message.into(),
    }))
}

#[test]
fn an_answer_reaches_the_caller() {
    let (mut meeting, alice, request) = called();
    assert_eq!(
        (request.method.as_str(), request.payload.as_str()),
        ("greet", "hi")
    );
    assert_eq!(request.response_timeout_ms, 10_000);
    let sid = meeting.sid(alice);
    reply(&mut meeting, sid, ack(&request));
    assert_eq!(meeting.answer(), None);
    let payload = rpc_response::Value::Payload("hello".into());
    reply(&mut meeting, sid, response(&request, payload.clone()));
    let answer = ApiReply::Rpc {
        payload: "hello".into(),
    };
    assert_eq!(meeting.answer(), Some(Ok(answer)));
    // Once only.
    reply(&mut meeting, sid, response(&request, payload));
    assert_eq!(meeting.answer(), None);
}

#[test]
fn an_error_reaches_the_caller_with_its_code() {
    let (mut meeting, alice, request) = called();
    let sid = meeting.sid(alice);
    let error = RpcError {
        code: 101,
        message: "not today".into(),
        data: String::new(),
    };
    let value = rpc_response::Value::Error(error);
    reply(&mut meeting, sid, response(&request, value));
    assert_eq!(meeting.answer(), error_of(101, "not today"));
}

#[test]
fn nobody_answers_for_somebody_else() {
    let (mut meeting, _, request) = called();
    let mallory = meeting.enter("mallory");
    let sid = meeting.sid(mallory);
    let payload = rpc_response::Value::Payload("it is me".into());
    reply(&mut meeting, sid, response(&request, payload));
    let payload = b"no packet".to_vec();
    meeting.media(Event::Reply { peer: sid, payload });
    assert_eq!(meeting.answer(), None);
}

#[test]
fn silence_is_told_apart_from_a_slow_answer() {
    let (mut meeting, _, _) = called();
    meeting.advance(Duration::from_secs(7));
    assert_eq!(meeting.answer(), error_of(1501, "Connection timeout"));

    let (mut meeting, alice, request) = called();
    let sid = meeting.sid(alice);
    reply(&mut meeting, sid, ack(&request));
    meeting.advance(Duration::from_secs(9));
    assert_eq!(meeting.answer(), None);
    meeting.advance(Duration::from_secs(1));
    assert_eq!(meeting.answer(), error_of(1502, "Response timeout"));
}

#[test]
fn who_leaves_answers_no_more() {
    let (mut meeting, alice, _) = called();
    meeting.ask(alice, Ask::Leave(Default::default()));
    assert_eq!(meeting.answer(), error_of(1503, "Recipient disconnected"));
    let (mut meeting, ..) = called();
    meeting.shutdown();
    assert_eq!(meeting.answer(), error_of(1503, "Recipient disconnected"));
}

#[test]
fn a_call_that_makes_no_sense_is_refused_at_once() {
    let mut meeting = Meeting::new();
    meeting.enter("alice");
    let mut refused = |change: fn(&mut PerformRpcRequest)| {
        let mut request = request();
        change(&mut request);
        meeting.call(ApiCall::PerformRpc(Box::new(request)));
        meeting.answer()
    };
    assert_eq!(
        refused(|request| request.destination_identity = "bob".into()),
        Some(Err(Error::ParticipantNotFound))
    );
    for change in [
        (|request| request.destination_identity.clear()) as fn(&mut PerformRpcRequest),
        |request| request.method.clear(),
        |request| request.method = "m".repeat(257),
    ] {
        let error = refused(change);
        assert!(
            matches!(error, Some(Err(Error::InvalidArgument(_)))),
            "{error:?}"
        );
    }
    assert_eq!(
        refused(|request| request.payload = "x".repeat(15 * 1024 + 1)),
        error_of(1402, "Request payload too large")
    );
    assert_eq!(
        refused(|request| request.payload = "x".repeat(15 * 1024)),
        None
    );
}
