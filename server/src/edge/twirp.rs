//! The server API's wire: Twirp (<https://twitchtv.github.io/twirp/docs/spec_v7.html>), protobuf or JSON over POST.
//! Each service's file lists its calls; statuses and texts are those of livekit-server.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{Query, Request},
    http::{HeaderMap, HeaderValue, Method as HttpMethod, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use node::RoomKey;
use protocol::{
    RoomName,
    api::{self, Format},
    error::{Error, TwirpCode},
    json::{self, Shape},
    prescan::Paths,
    prost::Message,
    token::{Grant, SipGrant, VideoGrant},
};
use serde::de::DeserializeOwned;

use super::{Edge, absent_services, agent_dispatch, body, path, room_service, rtc};
use crate::metrics::ApiCall;

/// The longest request of a caller who may manage rooms, bytes. LiveKit's limit.
const MAX_BODY: usize = 10 * 1024 * 1024;

/// The longest request of any other caller, bytes.
const MAX_SMALL_BODY: usize = 64 * 1024;

/// The time in which a body that is allowed, and may be long, must have come.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A method of a service, as it is known before a byte of a request is read.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) name: &'static str,
    /// The right that the token must have, for whatever room. A caller without it learns nothing else.
    pub(super) right: Right,
    /// Fields of the request that may hold long texts.
    pub(super) long: Paths,
    /// Fields of the request of which there may be many, each of them small.
    pub(super) small: Paths,
}

/// A flag of a token that the server API asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    RoomCreate,
    RoomList,
    RoomAdmin,
    RoomRecord,
    IngressAdmin,
    SipAdmin,
    SipCall,
}

impl Right {
    fn is_in(self, grant: &Grant) -> bool {
        let video = grant.video.as_ref();
        let video = |flag: fn(&VideoGrant) -> bool| video.is_some_and(flag);
        let sip = |flag: fn(&SipGrant) -> bool| grant.sip.as_ref().is_some_and(flag);
        match self {
            Self::RoomCreate => video(|video| video.room_create),
            Self::RoomList => video(|video| video.room_list),
            Self::RoomAdmin => video(|video| video.room_admin),
            Self::RoomRecord => video(|video| video.room_record),
            Self::IngressAdmin => video(|video| video.ingress_admin),
            Self::SipAdmin => sip(|sip| sip.admin),
            Self::SipCall => sip(|sip| sip.call),
        }
    }
}

/// The longest request of this caller, bytes: one who manages rooms may send much.
fn max_body(grant: &Grant) -> usize {
    let manages = [Right::RoomAdmin, Right::RoomCreate, Right::RoomList];
    match manages.iter().any(|right| right.is_in(grant)) {
        true => MAX_BODY,
        false => MAX_SMALL_BODY,
    }
}

/// The methods of a service; `None` where there is no such service.
fn methods(service: &str) -> Option<&'static [Method]> {
    match service {
        room_service::NAME => Some(&room_service::METHODS),
        agent_dispatch::NAME => Some(&agent_dispatch::METHODS),
        other => absent_services::methods(other),
    }
}

/// A call that its token allows, ready to be carried out.
pub(super) struct Call {
    grant: Grant,
    format: Format,
    body: Bytes,
    long: Paths,
    small: Paths,
}

/// The answer to a call.
pub(super) struct Reply {
    content_type: &'static str,
    body: Vec<u8>,
}

/// Answers any request to `path`, which is one of [`path::Endpoint::Twirp`].
pub(super) async fn answer(edge: &Edge, path: &str, request: Request) -> Response {
    if *request.method() == HttpMethod::OPTIONS {
        return rtc::preflight(request.headers());
    }
    let (parts, body) = request.into_parts();
    let Query(parameters) = Query::<rtc::Parameters>::try_from_uri(&parts.uri).unwrap_or_default();
    let keys = &edge.0.keys;
    let (headers, extensions) = (&parts.headers, &parts.extensions);
    let grant = match rtc::authenticate(headers, extensions, &parameters.access_token, keys) {
        Ok(grant) => grant,
        // A token that does not verify never reaches the API, and is refused in plain text.
        Err(error) => return plain(error.row().status, error.to_string()),
    };
    let Some((service, name)) = path::twirp(path) else {
        return plain(404, "404 page not found".to_owned());
    };
    let Some(methods) = methods(service) else {
        return plain(404, "404 page not found".to_owned());
    };
    let method = methods.iter().find(|method| method.name == name);
    let result = match read(&parts, body, method, grant).await {
        Ok(call) => match service {
            room_service::NAME => room_service::carry_out(edge, name, call).await,
            agent_dispatch::NAME => agent_dispatch::carry_out(edge, name, call).await,
            _ => absent_services::carry_out(service, name, &call),
        },
        Err(error) => Err(error),
    };
    let status = match &result {
        Ok(_) => 200,
        Err(error) => error.row().status,
    };
    let method = method.map_or("unknown", |method| method.name);
    let label = ApiCall { method, status };
    edge.0.metrics.api_calls.get_or_create(&label).inc();
    match result {
        Ok(reply) => {
            rtc::cors(([(header::CONTENT_TYPE, reply.content_type)], reply.body).into_response())
        }
        Err(error) => refuse(&error, &format!("{} {path}", parts.method)),
    }
}

/// Reads a call. Faults are found in this order: method and path, right, body. livekit-server looks at the body before
/// the right; we do not, since a stranger's request must cost nothing.
async fn read(
    parts: &Parts,
    body: Body,
    method: Option<&Method>,
    grant: Option<Grant>,
) -> Result<Call, Error> {
    if parts.method != HttpMethod::POST {
        let message = format!(
            "unsupported method {:?} (only POST is allowed)",
            parts.method.as_str()
        );
        return Err(Error::BadRoute(message));
    }
    let Some(method) = method else {
        let message = format!("no handler for path {:?}", parts.uri.path());
        return Err(Error::BadRoute(message));
    };
    let format = format_of(&parts.headers)?;
    let Some(grant) = grant.filter(|grant| method.right.is_in(grant)) else {
        discard(body).await;
        return Err(Error::PermissionDenied);
    };
    match body::read(body, max_body(&grant), BODY_TIMEOUT).await {
        Ok(body) => Ok(Call {
            grant,
            format,
            body,
            long: method.long,
            small: method.small,
        }),
        Err(_) => Err(malformed(format)),
    }
}

/// Reads a little of a body that is not needed: a client reads an answer only when it has sent its request.
async fn discard(body: Body) {
    let mut frames = body.into_data_stream();
    let reading = async {
        let mut left = MAX_SMALL_BODY;
        while let Some(Ok(bytes)) = frames.next().await
            && bytes.len() < left
        {
            left -= bytes.len();
        }
    };
    let _ = tokio::time::timeout(body::PATIENCE, reading).await;
}

fn format_of(headers: &HeaderMap) -> Result<Format, Error> {
    let text = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let text = text.unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "application/json" => Ok(Format::Json),
        "application/protobuf" => Ok(Format::Protobuf),
        _ => Err(Error::BadRoute(format!(
            "unexpected Content-Type: {text:?}"
        ))),
    }
}

fn malformed(format: Format) -> Error {
    let format = match format {
        Format::Json => "json",
        Format::Protobuf => "protobuf",
    };
    Error::Malformed { format }
}

impl Call {
    /// The room of this name, as the caller knows it.
    pub(super) fn room(&self, name: impl Into<RoomName>) -> RoomKey {
        RoomKey::new(self.api_key(), name.into())
    }

    /// The API key of the caller's token.
    pub(super) fn api_key(&self) -> &str {
        &self.grant.api_key
    }

    /// The request, if the holder of the token may make it, for example for this room. A request that cannot be read is
    /// refused first.
    pub(super) fn request<M: Message + Default + DeserializeOwned>(
        &self,
        may: impl FnOnce(&M, &Grant) -> bool,
    ) -> Result<M, Error> {
        let request = api::decode(self.format, &self.body, self.long, self.small);
        let request = request.ok_or_else(|| malformed(self.format))?;
        match may(&request, &self.grant) {
            true => Ok(request),
            false => Err(Error::PermissionDenied),
        }
    }

    /// The answer, written as the request was.
    pub(super) fn reply(&self, message: &impl Message, shape: Shape) -> Result<Reply, Error> {
        let (content_type, body) = match self.format {
            Format::Json => {
                let value = json::write(message, shape).ok_or(Error::Internal)?;
                ("application/json", value.to_string().into_bytes())
            }
            Format::Protobuf => ("application/protobuf", message.encode_to_vec()),
        };
        Ok(Reply { content_type, body })
    }
}

/// A Twirp error is JSON, whatever the request was.
fn refuse(error: &Error, route: &str) -> Response {
    let row = error.row();
    let mut body = serde_json::json!({ "code": row.code.as_str(), "msg": error.to_string() });
    if row.code == TwirpCode::BadRoute {
        body["meta"] = serde_json::json!({ "twirp_invalid_route": route });
    }
    let json = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )];
    rtc::cors((status(row.status), json, body.to_string()).into_response())
}

fn plain(code: u16, text: String) -> Response {
    rtc::cors((status(code), text).into_response())
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
