//! The server API calls a method of a participant (`RoomService.PerformRpc`) and waits for its answer.
//!
//! To the participant it looks like a call from itself: clients answer the caller by identity, and a packet addressed
//! to nobody but its sender is for the server ([`sfu::Event::Reply`]).

use std::time::{Duration, Instant};

use protocol::{
    ParticipantSid,
    error::Error,
    limits::MAX_NAME,
    livekit::{DataPacket, PerformRpcRequest, RpcRequest, data_packet::Value, rpc_response},
    prost::Message as _,
};
use rand::Rng;

use crate::{
    api::{ApiReply, RoomOutput},
    room::Room,
    rpc::Call,
};

/// The longest request, bytes. Clients' own limit.
const MAX_PAYLOAD: usize = 15 * 1024;

/// The most calls that wait for answers in one room.
const MAX_CALLS: usize = 1000;

/// The time in which a participant must acknowledge a call: after it, the participant does not hear us. Clients' own
/// limit.
const ACK_TIMEOUT: Duration = Duration::from_secs(7);

/// The time for an answer where the caller names none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest time for an answer that a caller may name: its HTTP connection stays open for as long.
const MAX_TIMEOUT: Duration = Duration::from_secs(120);

/// The longest text of an answered error that is passed on, characters.
const MAX_MESSAGE: usize = 256;

// Codes of LiveKit's RPC.
const UNREACHABLE: u32 = 1501;
const RESPONSE_TIMEOUT: u32 = 1502;
const RECIPIENT_DISCONNECTED: u32 = 1503;
const APPLICATION_ERROR: u32 = 1500;
const REQUEST_TOO_LARGE: u32 = 1402;

impl Room {
    /// Calls a participant's method. Answered by [`RoomOutput::ApiReply`], as soon as the participant has answered.
    pub(crate) fn perform_rpc(&mut self, id: u64, request: PerformRpcRequest, now: Instant) {
        if let Err(error) = self.try_perform_rpc(id, request, now) {
            self.reply(id, Err(error));
        }
    }

    fn try_perform_rpc(
        &mut self,
        id: u64,
        request: PerformRpcRequest,
        now: Instant,
    ) -> Result<(), Error> {
        if self.closed {
            return Err(Error::RoomNotFound);
        }
        if request.destination_identity.is_empty() {
            return Err(Error::InvalidArgument("destination identity is required"));
        }
        if request.method.is_empty() || request.method.len() > MAX_NAME {
            return Err(Error::InvalidArgument("method must have 1 to 256 bytes"));
        }
        if request.payload.len() > MAX_PAYLOAD {
            return Err(failed(REQUEST_TOO_LARGE, "Request payload too large"));
        }
        let identity = request.destination_identity.as_str().into();
        let callee = self.find_own(&identity)?;
        if self.calls.len() >= MAX_CALLS {
            return Err(Error::Overloaded("too many calls"));
        }
        let timeout = match request.response_timeout_ms {
            0 => DEFAULT_TIMEOUT,
            milliseconds => Duration::from_millis(milliseconds.into()).min(MAX_TIMEOUT),
        };
        let request_id = format!("{:032x}", self.rng.random::<u128>());
        let packet = DataPacket {
            participant_identity: request.destination_identity.clone(),
            participant_sid: callee.to_string(),
            destination_identities: vec![request.destination_identity],
            value: Some(Value::RpcRequest(RpcRequest {
                id: request_id.clone(),
                method: request.method,
                payload: request.payload,
                response_timeout_ms: timeout.as_millis() as u32,
                version: 1,
                ..RpcRequest::default()
            })),
            ..DataPacket::default()
        };
        let call = Call {
            id,
            acknowledge_by: Some(now + ACK_TIMEOUT),
            respond_by: now + timeout,
        };
        let key = (callee, request_id);
        self.calls_due.set(key.clone(), call.due());
        self.calls.insert(key, call);
        self.command(sfu::DataCommand::AwaitReply { peer: callee });
        self.command(sfu::DataCommand::Send {
            room: self.sid,
            to: vec![callee],
            channel: sfu::DataChannel::Reliable,
            payload: packet.encode_to_vec(),
        });
        Ok(())
    }

    /// Takes a packet that a participant sent to itself while we wait for its answer.
    pub(crate) fn rpc_reply(&mut self, peer: ParticipantSid, packet: &[u8]) {
        let Ok(packet) = DataPacket::decode(packet) else {
            return;
        };
        match packet.value {
            Some(Value::RpcAck(ack)) => {
                let key = (peer, ack.request_id);
                if let Some(call) = self.calls.get_mut(&key) {
                    call.acknowledge_by = None;
                    self.calls_due.set(key, call.due());
                }
            }
            Some(Value::RpcResponse(response)) => {
                self.end_call(&(peer, response.request_id), outcome(response.value));
            }
            _ => {}
        }
    }

    /// Answers the calls that have waited long enough.
    pub(crate) fn expire_calls(&mut self, now: Instant) {
        for key in self.calls_due.due(now) {
            let acknowledge_by = self.calls.get(&key).and_then(|call| call.acknowledge_by);
            let error = match acknowledge_by {
                Some(by) if by <= now => failed(UNREACHABLE, "Connection timeout"),
                _ => failed(RESPONSE_TIMEOUT, "Response timeout"),
            };
            self.end_call(&key, Err(error));
        }
    }

    /// Answers the calls of a participant that is gone.
    pub(crate) fn abandon_calls(&mut self, callee: ParticipantSid) {
        let calls = self.calls.range((callee, String::new())..);
        let of_callee = calls.take_while(|((other, _), _)| *other == callee);
        let abandoned: Vec<_> = of_callee.map(|(key, _)| key.clone()).collect();
        for key in abandoned {
            let error = failed(RECIPIENT_DISCONNECTED, "Recipient disconnected");
            self.end_call(&key, Err(error));
        }
    }

    fn end_call(&mut self, key: &(ParticipantSid, String), reply: Result<ApiReply, Error>) {
        self.calls_due.cancel(key);
        if let Some(call) = self.calls.remove(key) {
            self.reply(call.id, reply);
        }
    }

    pub(crate) fn reply(&mut self, id: u64, reply: Result<ApiReply, Error>) {
        self.outputs.push_back(RoomOutput::ApiReply { id, reply });
    }
}

fn outcome(value: Option<rpc_response::Value>) -> Result<ApiReply, Error> {
    match value {
        Some(rpc_response::Value::Payload(payload)) => Ok(ApiReply::Rpc { payload }),
        Some(rpc_response::Value::Error(error)) => {
            let message: String = error.message.chars().take(MAX_MESSAGE).collect();
            Err(failed(error.code, &message))
        }
        // Compressed answers are for callers that offer to read them.
        Some(rpc_response::Value::CompressedPayload(_)) | None => {
            Err(failed(APPLICATION_ERROR, "unreadable answer"))
        }
    }
}

fn failed(code: u32, message: &str) -> Error {
    Error::Rpc {
        code,
        message: message.to_owned(),
    }
}
