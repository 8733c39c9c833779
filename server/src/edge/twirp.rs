//! The server API's wire: Twirp (<https://twitchtv.github.io/twirp/docs/spec_v7.html>), protobuf or JSON over POST.
//! Which calls there are is each service's file; statuses and texts are those of livekit-server.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Query, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use protocol::{
    error::{Error, TwirpCode},
    json::{self, Shape},
    prost::Message,
    token::Grant,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Edge, agent_dispatch, path, room_service, rtc};
use crate::metrics::ApiCall;

/// The longest request of somebody who has a token. LiveKit's limit.
const MAX_BODY: usize = 10 * 1024 * 1024;

/// The longest request of anybody else: enough to be told what is wrong with it.
const MAX_STRANGERS_BODY: usize = 16 * 1024;

/// A request whose body has not come by then is refused.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How the bodies of a call are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Protobuf,
}

/// One call, ready to be carried out.
pub(super) struct Call {
    grant: Option<Grant>,
    format: Format,
    body: Bytes,
}

/// What a call is answered with.
pub(super) struct Reply {
    content_type: &'static str,
    body: Vec<u8>,
}

/// Answers whatever was sent to `path`, one of [`path::Endpoint::Twirp`].
pub(super) async fn answer(edge: &Edge, path: &str, request: Request) -> Response {
    if *request.method() == Method::OPTIONS {
        return rtc::preflight();
    }
    let (parts, body) = request.into_parts();
    let Query(parameters) = Query::<rtc::Parameters>::try_from_uri(&parts.uri).unwrap_or_default();
    let keys = &edge.0.keys;
    let grant = match rtc::authenticate(&parts.headers, &parameters.access_token, keys) {
        Ok(grant) => grant,
        // A token that does not verify never reaches the API, and is answered in plain text.
        Err(error) => return plain(error.row().status, error.to_string()),
    };
    let (known, method) = match path::twirp(path) {
        Some((room_service::NAME, method)) => (room_service::known(method), method),
        Some((agent_dispatch::NAME, method)) => (agent_dispatch::known(method), method),
        _ => return plain(404, "404 page not found".to_owned()),
    };
    let result = match read(&parts, body, known, grant).await {
        Ok(call) if agent_dispatch::known(method).is_some() => {
            agent_dispatch::carry_out(edge, method, call).await
        }
        Ok(call) => room_service::carry_out(edge, method, call).await,
        Err(error) => Err(error),
    };
    let status = match &result {
        Ok(_) => 200,
        Err(error) => error.row().status,
    };
    let method = known.unwrap_or("unknown");
    let label = ApiCall { method, status };
    edge.0.metrics.api_calls.get_or_create(&label).inc();
    match result {
        Ok(reply) => {
            rtc::cors(([(header::CONTENT_TYPE, reply.content_type)], reply.body).into_response())
        }
        Err(error) => refuse(&error, &format!("{} {path}", parts.method)),
    }
}

async fn read(
    parts: &Parts,
    body: Body,
    method: Option<&'static str>,
    grant: Option<Grant>,
) -> Result<Call, Error> {
    if parts.method != Method::POST {
        let message = format!(
            "unsupported method {:?} (only POST is allowed)",
            parts.method.as_str()
        );
        return Err(Error::BadRoute(message));
    }
    if method.is_none() {
        let message = format!("no handler for path {:?}", parts.uri.path());
        return Err(Error::BadRoute(message));
    }
    let format = Format::of(&parts.headers)?;
    let limit = match &grant {
        Some(_) => MAX_BODY,
        None => MAX_STRANGERS_BODY,
    };
    let body = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, limit)).await;
    match (body, &grant) {
        (Ok(Ok(body)), _) => Ok(Call {
            grant,
            format,
            body,
        }),
        (_, Some(_)) => Err(format.malformed()),
        (_, None) => Err(Error::PermissionDenied),
    }
}

impl Format {
    fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let text = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let text = text.unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" => Ok(Self::Json),
            "application/protobuf" => Ok(Self::Protobuf),
            _ => Err(Error::BadRoute(format!(
                "unexpected Content-Type: {text:?}"
            ))),
        }
    }

    fn malformed(self) -> Error {
        let format = match self {
            Self::Json => "json",
            Self::Protobuf => "protobuf",
        };
        Error::Malformed { format }
    }
}

impl Call {
    /// The API key of its token.
    pub(super) fn api_key(&self) -> &str {
        self.grant.as_ref().map_or("", |grant| &grant.api_key)
    }

    /// The request, if the holder of the token may ask this. What cannot be read is told first, as livekit-server does.
    pub(super) fn request<M: Message + Default + DeserializeOwned>(
        &self,
        may: impl FnOnce(&M, &Grant) -> bool,
    ) -> Result<M, Error> {
        let request = match self.format {
            // serde would also read a message from an array, by position.
            Format::Json if !self.body.trim_ascii_start().starts_with(b"{") => None,
            Format::Json => serde_json::from_slice(&self.body).ok(),
            Format::Protobuf => M::decode(self.body.clone()).ok(),
        };
        let request = request.ok_or_else(|| self.format.malformed())?;
        match &self.grant {
            Some(grant) if may(&request, grant) => Ok(request),
            _ => Err(Error::PermissionDenied),
        }
    }

    /// The answer, written as the request was.
    pub(super) fn reply(
        &self,
        message: &(impl Message + Serialize),
        shape: Shape,
    ) -> Result<Reply, Error> {
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
