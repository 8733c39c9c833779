//! `POST /dev/token`: development mode hands out tokens to the web client.

use std::time::Duration;

use axum::{
    Json,
    extract::Request,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use protocol::{
    limits::MAX_NAME,
    token::{self, Grant, VideoGrant},
};
use serde::{Deserialize, Serialize};

use super::{Edge, body, rtc};

/// The longest body, bytes: room, identity and name are at most 256 bytes each.
const MAX_BODY: usize = 4096;

const VALID_FOR: Duration = Duration::from_secs(6 * 3600);

#[derive(Deserialize)]
struct Asked {
    room: String,
    identity: String,
    #[serde(default)]
    name: String,
}

#[derive(Serialize)]
struct Given {
    token: String,
    url: String,
}

pub(super) async fn token(edge: &Edge, request: Request) -> Response {
    if *request.method() != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "only POST");
    }
    // Browsers let a foreign page post plain text unasked, but not JSON.
    let json = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|t| t.to_str().ok());
    if !json.is_some_and(|t| t.starts_with("application/json")) {
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body must be application/json",
        );
    }
    let url = signal_url(request.headers());
    let body = match body::read(request.into_body(), MAX_BODY, body::PATIENCE).await {
        Ok(body) => body,
        Err((status, sentence)) => return refuse(status, sentence),
    };
    let Ok(asked) = serde_json::from_slice::<Asked>(&body) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "expected {\"room\": …, \"identity\": …, \"name\": …}",
        );
    };
    for (what, text, required) in [
        ("room", &asked.room, true),
        ("identity", &asked.identity, true),
        ("name", &asked.name, false),
    ] {
        if required && text.is_empty() {
            return refuse(StatusCode::BAD_REQUEST, &format!("{what} is empty"));
        }
        if text.len() > MAX_NAME {
            return refuse(
                StatusCode::BAD_REQUEST,
                &format!("{what} is longer than {} bytes", MAX_NAME),
            );
        }
    }
    let Some(api_key) = edge.0.keys.ids().next() else {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "there is no API key");
    };
    let video = VideoGrant {
        room_join: true,
        room: asked.room,
        can_update_own_metadata: Some(true),
        ..VideoGrant::default()
    };
    let grant = Grant {
        api_key: api_key.to_owned(),
        identity: asked.identity,
        name: asked.name,
        video: Some(video),
        ..Grant::default()
    };
    match token::sign(&grant, &edge.0.keys, rtc::unix_seconds(), Some(VALID_FOR)) {
        Ok(token) => (
            [(header::CACHE_CONTROL, "no-store")],
            Json(Given { token, url }),
        )
            .into_response(),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// The address of the signal connection, as the client reached us: a proxy that speaks TLS says so.
pub(super) fn signal_url(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = if text("x-forwarded-proto") == Some("https") {
        "wss"
    } else {
        "ws"
    };
    format!("{scheme}://{}", text("host").unwrap_or("localhost:7880"))
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(serde_json::json!({ "error": message }))).into_response()
}
