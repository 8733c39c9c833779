//! The signal endpoints: the checks of a join, refused in the words that clients parse.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::{
    extract::{FromRequestParts, Query, Request, WebSocketUpgrade},
    http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use node::RoomKey;
use protocol::{
    error::Error,
    join_query::join_request_of_query,
    limits,
    livekit::JoinRequest,
    signal::{JoinRequestError, MAX_FRAME_BYTES, decode_join_request},
    token::{self, Grant, Keys},
};
use serde::Deserialize;
use signaling::Encryption;

use super::{Edge, ws};
use crate::{listen::Guest, metrics::JoinError};

/// The longest list of header names that a browser asks for at once, bytes.
const MAX_HEADER_NAMES: usize = 4096;

#[derive(Deserialize, Default)]
pub(super) struct Parameters {
    #[serde(default)]
    pub(super) access_token: String,
    join_request: Option<String>,
    /// `mls`: the client encrypts so ([`Encryption::Mls`]).
    #[serde(default)]
    e2ee: String,
    /// Name of the device in the older protocol's query; see [`publish_only`].
    #[serde(default)]
    publish: String,
}

/// A client that passed the checks.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) grant: Grant,
    pub(super) request: JoinRequest,
    /// The client speaks the older protocol.
    pub(super) two_connections: bool,
    /// The client encrypts by MLS.
    pub(super) mls: bool,
}

/// `GET /rtc/v1` and `/rtc`: the signal connection. Not the path but the join request tells the protocols apart: a
/// client that sends none speaks the older one, with two PeerConnections.
pub(super) async fn connect(edge: Edge, request: Request, v1: bool) -> Response {
    if *request.method() == Method::OPTIONS {
        return preflight(request.headers());
    }
    let (mut parts, _) = request.into_parts();
    // A request that is no WebSocket finds nothing here.
    let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await else {
        return absent();
    };
    match admit(&edge, (&parts.headers, &parts.extensions), &parts.uri, v1) {
        Ok(admitted) => upgrade
            .max_message_size(MAX_FRAME_BYTES)
            .max_frame_size(MAX_FRAME_BYTES)
            .on_upgrade(move |socket| ws::converse(edge, socket, admitted)),
        Err(error) => refuse(&edge, &error),
    }
}

/// `GET /rtc/v1/validate` and `/rtc/validate`: the checks of a join, with the answer in the body.
pub(super) fn validate(edge: &Edge, request: &Request, v1: bool) -> Response {
    if *request.method() == Method::OPTIONS {
        return preflight(request.headers());
    }
    let who = (request.headers(), request.extensions());
    match admit(edge, who, request.uri(), v1) {
        Ok(_) => cors((StatusCode::OK, "success").into_response()),
        Err(error) => refuse(edge, &error),
    }
}

/// Checks a join.
fn admit(
    edge: &Edge,
    (headers, extensions): (&HeaderMap, &Extensions),
    uri: &Uri,
    v1: bool,
) -> Result<Admitted, Error> {
    let Query(parameters) = Query::<Parameters>::try_from_uri(uri).unwrap_or_default();
    let mut grant = authenticate(headers, extensions, &parameters.access_token, &edge.0.keys)?
        .ok_or(Error::NoRoomPermission)?;
    let request = parameters
        .join_request
        .filter(|request| !request.is_empty());
    let two_connections = !v1 && request.is_none();
    if two_connections && !parameters.publish.is_empty() {
        publish_only(&mut grant, &parameters.publish)?;
    }
    let room = check(&grant)?;
    edge.0.meetings.admits(&grant, &room)?;
    let request = match request {
        Some(request) => decode_join_request(&request)?,
        None if v1 => return Err(JoinRequestError::Missing.into()),
        None => older_request(uri)?,
    };
    let describes_itself =
        !request.metadata.is_empty() || !request.participant_attributes.is_empty();
    if describes_itself && !grant.video().may_update_own_metadata() {
        return Err(Error::PermissionDenied);
    }
    let room = RoomKey::new(&grant.api_key, room);
    edge.0.rooms.admits(&room, &grant.api_key)?;
    let mls = parameters.e2ee == "mls";
    let settings = grant.room_config.as_deref();
    if edge.0.rooms.encryption(&room, settings)? == Encryption::Mls && !mls {
        return Err(Error::Encrypted);
    }
    Ok(Admitted {
        grant,
        request,
        two_connections,
        mls,
    })
}

/// The join request of the older protocol, which is in the query.
fn older_request(uri: &Uri) -> Result<JoinRequest, Error> {
    let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| Error::InvalidArgument("the query cannot be decoded"))?;
    Ok(join_request_of_query(&query)?)
}

/// Makes the grant a companion's: `publish=NAME` in the older protocol is the same person once more, publishing from
/// another device or process, for example a screen, and receiving nothing. The others know it as `IDENTITY#NAME`; its
/// person is [`Grant::principal`].
fn publish_only(grant: &mut Grant, name: &str) -> Result<(), Error> {
    let video = grant.video.as_mut().ok_or(Error::NoRoomPermission)?;
    if !video.may_publish() {
        return Err(Error::PermissionDenied);
    }
    video.can_subscribe = Some(false);
    // The token with which a companion comes back, from `refresh_token`, is a companion's already.
    if !grant.identity.is_empty() && grant.principal.is_empty() {
        grant.principal.clone_from(&grant.identity);
        grant.identity = format!("{}#{name}", grant.principal);
    }
    Ok(())
}

/// The grant of the request's token, if it has one. A header wins over the query, even a bad one. A client with a valid
/// token is no stranger any more.
pub(super) fn authenticate(
    headers: &HeaderMap,
    extensions: &Extensions,
    parameter: &str,
    keys: &Keys,
) -> Result<Option<Grant>, Error> {
    let token = match headers.get(header::AUTHORIZATION) {
        None => parameter,
        Some(value) => {
            let token = value
                .to_str()
                .ok()
                .and_then(|value| value.strip_prefix("Bearer "));
            token
                .filter(|token| !token.is_empty())
                .ok_or(Error::AuthorizationHeader)?
        }
    };
    if token.is_empty() {
        return Ok(None);
    }
    let grant = token::verify(token, keys, unix_seconds())?;
    if let Some(guest) = extensions.get::<Guest>() {
        guest.introduce();
    }
    Ok(Some(grant))
}

/// The room that the holder may join.
pub(super) fn check(grant: &Grant) -> Result<protocol::RoomName, Error> {
    let video = grant.video.as_ref().ok_or(Error::NoRoomPermission)?;
    if !video.room_join {
        return Err(Error::PermissionDenied);
    }
    if grant.identity.is_empty() {
        return Err(Error::NoIdentity);
    }
    limits::check_identity(&grant.identity)?;
    let room = grant.room().ok_or(Error::NoRoomName)?;
    limits::check_room_name(room.as_str())?;
    limits::check_name(&grant.name)?;
    limits::check_metadata(&grant.metadata)?;
    limits::check_attributes(&grant.attributes)?;
    if let Some(settings) = &grant.room_config {
        signaling::check_dispatches(&settings.agents)?;
    }
    Ok(room)
}

pub(super) fn refuse(edge: &Edge, error: &Error) -> Response {
    let status = error.row().status;
    if let Some(more) = edge.0.refusals.pass(Instant::now()) {
        // The reason names nobody, and nothing of the token.
        tracing::info!(status, %error, more, "join refused");
    }
    edge.0
        .metrics
        .join_errors
        .get_or_create(&JoinError { status })
        .inc();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    cors((status, error.to_string()).into_response())
}

fn absent() -> Response {
    cors(StatusCode::NOT_FOUND.into_response())
}

/// The answer to a browser that asks whether a page of another origin may send these headers: it may send whatever an
/// application's tracing or gateway adds.
pub(super) fn preflight(asked: &HeaderMap) -> Response {
    let mut response = cors(StatusCode::NO_CONTENT.into_response());
    let headers = response.headers_mut();
    let usual = HeaderValue::from_static("authorization, content-type");
    let asked = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let asked = asked.filter(|names| names.len() <= MAX_HEADER_NAMES);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        asked.cloned().unwrap_or(usual),
    );
    headers.insert(
        header::VARY,
        HeaderValue::from_static("access-control-request-headers"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, OPTIONS"),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("86400"),
    );
    response
}

/// Adds CORS headers: these endpoints are for applications of other origins; the token is the permission.
pub(super) fn cors(mut response: Response) -> Response {
    response.headers_mut().insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Seconds since 1970.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
