//! `/api/v1`: for the web client, which asks what it may offer, starts a meeting by link, tells a guest how many people
//! are in it, and lets the guest in.
//!
//! Answers are JSON. A refusal has the status of its kind and says `{"state": "refused", "reason": …, "error": …}`: the
//! reason is for programs and stays the same, the sentence for people who look.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use axum::{
    Json,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use node::RoomKey;
use protocol::{RoomName, limits::MAX_NAME, livekit::RoomConfiguration, token};
use serde::{Deserialize, Serialize};
use signaling::{ApiCall, ApiReply};

use super::{Edge, Remote, body, dev::signal_url, rtc};
use crate::{
    config::{JoinMeetings, StartMeetings},
    listen,
    meetings::{Guest, Refusal, TOKEN_VALID_FOR},
};

/// The longest body, bytes. A name has at most 256 bytes, a window's mark fewer.
const MAX_BODY: usize = 4096;

/// The cookie by which a browser is known. It goes to this service only, and no page can read it.
const COOKIE: &str = "conclave_guest";

/// The time for which a browser keeps the cookie after its last use, seconds.
const COOKIE_AGE: u32 = 90 * 86_400;

/// The settings that the page needs.
#[derive(Serialize)]
struct Settings {
    start: StartMeetings,
    join: JoinMeetings,
    /// `/dev/token` gives tokens to anybody.
    development: bool,
}

#[derive(Serialize)]
struct Started<'a> {
    slug: &'a str,
    /// Path of the link, of this origin.
    path: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Asked {
    name: String,
    /// Mark of the window: it tells windows of one browser apart, so that one does not throw the other out.
    tab: String,
}

/// What a guest learns of a meeting before entering it: a number. Names are for those whom the others see too.
#[derive(Serialize)]
struct Inside {
    people: u32,
}

/// The outcome of the wish to enter.
#[derive(Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Entered {
    /// The guest is admitted.
    Admitted {
        /// Address of the signal connection.
        url: String,
        token: String,
    },
    /// The guest is refused.
    Refused { reason: &'static str, error: String },
}

pub(super) async fn answer(edge: &Edge, path: &str, request: Request) -> Response {
    let mut response = match (path, request.method()) {
        ("/api/v1/config", &Method::GET | &Method::HEAD) => settings(edge),
        ("/api/v1/rooms", &Method::POST) => start(edge, request).await,
        ("/api/v1/config", _) => wrong_method("GET, HEAD"),
        ("/api/v1/rooms", _) => wrong_method("POST"),
        _ => match (slug(path), request.method()) {
            (Some((slug, true)), &Method::POST) => enter(edge, slug, request).await,
            (Some((slug, false)), &Method::GET) => inside(edge, slug, request).await,
            (Some((_, true)), _) => wrong_method("POST"),
            (Some((_, false)), _) => wrong_method("GET"),
            (None, _) => refuse(
                StatusCode::NOT_FOUND,
                "no-such-path",
                "there is nothing here",
            ),
        },
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// The code in a path `/api/v1/rooms/{slug}`, or `/api/v1/rooms/{slug}/enter`: then it is to be entered.
fn slug(path: &str) -> Option<(&str, bool)> {
    let rest = path.strip_prefix("/api/v1/rooms/")?;
    let (slug, enters) = match rest.strip_suffix("/enter") {
        Some(slug) => (slug, true),
        None => (rest, false),
    };
    (!slug.is_empty() && !slug.contains('/')).then_some((slug, enters))
}

fn settings(edge: &Edge) -> Response {
    let meetings = &edge.0.meetings;
    Json(Settings {
        start: meetings.start_setting(),
        join: meetings.join_setting(),
        development: edge.0.local.is_some(),
    })
    .into_response()
}

async fn start(edge: &Edge, request: Request) -> Response {
    // Asked before waiting for a body.
    if let Err(refusal) = edge.0.meetings.may_start() {
        return refused(refusal);
    }
    let address = client_address(edge, &request);
    if let Err(response) = read::<serde::de::IgnoredAny>(request).await {
        return response;
    }
    let started = edge
        .0
        .meetings
        .start(address, rtc::unix_seconds(), Instant::now());
    match started.await {
        Ok(slug) => {
            let path = format!("/m/{slug}");
            (StatusCode::CREATED, Json(Started { slug: &slug, path })).into_response()
        }
        Err(refusal) => refused(refusal),
    }
}

/// Tells how many people are in a meeting, to whoever could enter it.
async fn inside(edge: &Edge, slug: &str, request: Request) -> Response {
    if let Some(refusal) = of_another_site(request.headers()) {
        return refusal;
    }
    let guest = cookies(request.headers()).find_map(Guest::read);
    let address = client_address(edge, &request);
    let guest = guest.unwrap_or_default();
    if let Err(refusal) = edge.0.meetings.look(slug, &guest, address, Instant::now()) {
        return refused(refusal);
    }
    let people = match edge
        .0
        .rooms
        .call(&RoomName::from(slug).into(), ApiCall::GetRoom)
        .await
    {
        Ok(ApiReply::Room(room)) => room.num_participants,
        _ => 0,
    };
    Json(Inside { people }).into_response()
}

async fn enter(edge: &Edge, slug: &str, request: Request) -> Response {
    if let Err(refusal) = edge.0.meetings.may_enter() {
        return refused(refusal);
    }
    let address = client_address(edge, &request);
    let headers = request.headers().clone();
    let connection = request.extensions().get::<listen::Guest>().cloned();
    let asked = match read::<Asked>(request).await {
        Ok(asked) => asked.unwrap_or_default(),
        Err(response) => return response,
    };
    let name = asked.name.trim();
    if name.len() > MAX_NAME || asked.tab.len() > MAX_NAME {
        let sentence = format!("name is longer than {} bytes", MAX_NAME);
        return refuse(StatusCode::BAD_REQUEST, "name-too-long", &sentence);
    }
    if edge.0.rooms.is_closing() {
        let sentence = "the server is about to stop";
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "restarting", sentence);
    }
    let known = cookies(&headers).find_map(Guest::read);
    let guest = known.unwrap_or_default();
    let entered = edge.0.meetings.enter(
        slug,
        &guest,
        (name, &asked.tab),
        address,
        (rtc::unix_seconds(), Instant::now()),
    );
    let grant = match entered.await {
        Ok(grant) => grant,
        Err(refusal) => return refused(refusal),
    };
    if let Some(connection) = connection {
        connection.introduce();
    }
    // Where a join does not open rooms, this service is the application that opens its own.
    if !edge.0.rooms.config().auto_create
        && let Some(room) = grant.room()
        && let Err(error) = edge
            .0
            .rooms
            .create(
                &RoomKey::new(&grant.api_key, room),
                &RoomConfiguration::default(),
                &grant.api_key,
            )
            .await
    {
        let sentence = error.to_string();
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "full", &sentence);
    }
    let ttl = Some(TOKEN_VALID_FOR);
    let token = match token::sign(&grant, &edge.0.keys, rtc::unix_seconds(), ttl) {
        Ok(token) => token,
        Err(error) => {
            tracing::error!(%error, "cannot sign a token");
            return refuse(
                StatusCode::INTERNAL_SERVER_ERROR,
                "unavailable",
                "internal error",
            );
        }
    };
    let url = url_of(&headers);
    let secure = if url.starts_with("wss:") {
        "; Secure"
    } else {
        ""
    };
    let cookie = format!(
        "{COOKIE}={}; Path=/api/v1/rooms; Max-Age={COOKIE_AGE}; HttpOnly; SameSite=Strict{secure}",
        guest.as_cookie()
    );
    let admitted = Json(Entered::Admitted { url, token });
    ([(header::SET_COOKIE, cookie)], admitted).into_response()
}

/// Refuses a request of another site's page: it would have a browser reveal its user.
fn of_another_site(headers: &HeaderMap) -> Option<Response> {
    let sentence = "pages of other sites may not ask this";
    is_of_another_site(headers).then(|| refuse(StatusCode::FORBIDDEN, "cross-site", sentence))
}

/// Reads the body; `None` where it is empty. Only our own pages may ask.
async fn read<T: for<'de> Deserialize<'de>>(request: Request) -> Result<Option<T>, Response> {
    let (parts, body) = request.into_parts();
    if let Some(refusal) = of_another_site(&parts.headers) {
        return Err(refusal);
    }
    let body = body::read(body, MAX_BODY, body::PATIENCE).await;
    let body = body.map_err(|(status, sentence)| refuse(status, "malformed", sentence))?;
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let mime = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|mime| mime.to_str().ok());
    if !mime.is_some_and(|mime| mime.starts_with("application/json")) {
        let sentence = "the body must be application/json";
        return Err(refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "malformed",
            sentence,
        ));
    }
    // The check is needed since serde would also read a message from an array, by position.
    let object = body.trim_ascii_start().starts_with(b"{");
    let read = serde_json::from_slice(&body).ok().filter(|_| object);
    match read {
        Some(read) => Ok(Some(read)),
        None => Err(refuse(
            StatusCode::BAD_REQUEST,
            "malformed",
            "expected a JSON object",
        )),
    }
}

/// Whether the request comes from a page of another site. A browser says so; programs say nothing.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    // Older browsers, and pages without TLS, send no `Sec-Fetch-Site`.
    let Some(origin) = text("origin") else {
        return false;
    };
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    let names = [text("host"), text("x-forwarded-host")];
    !names
        .into_iter()
        .flatten()
        .any(|name| Some(name) == authority)
}

/// The values of our cookie.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    pairs.filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// The address of the client: the other end of the connection, or the one that a proxy of ours names.
fn client_address(edge: &Edge, request: &Request) -> IpAddr {
    let remote = request.extensions().get::<Remote>();
    let remote = remote.map_or(Ipv4Addr::UNSPECIFIED.into(), |remote| remote.0);
    if !edge.0.trusted_proxies.contains(&remote.to_canonical()) {
        return remote;
    }
    // Read from the right: entries of our proxies are true. Entries before them may be anybody's.
    let lines = request.headers().get_all("x-forwarded-for");
    let entries = lines
        .iter()
        .rev()
        .flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    let mut client = remote;
    for entry in entries.map_while(forwarded_address) {
        client = entry;
        if !edge.0.trusted_proxies.contains(&entry.to_canonical()) {
            break;
        }
    }
    client
}

/// The address in an entry of `X-Forwarded-For`, with or without a port.
fn forwarded_address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry
        .strip_prefix('[')
        .and_then(|entry| entry.strip_suffix(']'))
        .unwrap_or(entry);
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port)
}

/// The address of the signal connection: the origin of the page. The browser knows that better than a proxy that says
/// nothing.
fn url_of(headers: &HeaderMap) -> String {
    let origin = headers.get(header::ORIGIN);
    let origin = origin.and_then(|origin| origin.to_str().ok()?.parse::<Uri>().ok());
    let url = origin.and_then(|origin| {
        let scheme = match origin.scheme_str()? {
            "https" => "wss",
            "http" => "ws",
            _ => return None,
        };
        Some(format!("{scheme}://{}", origin.authority()?))
    });
    url.unwrap_or_else(|| signal_url(headers))
}

fn refused(refusal: Refusal) -> Response {
    let status = match refusal {
        Refusal::StartNotAllowed | Refusal::TokenRequired | Refusal::Removed => {
            StatusCode::FORBIDDEN
        }
        Refusal::Unknown => StatusCode::NOT_FOUND,
        Refusal::Ended => StatusCode::GONE,
        Refusal::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Full | Refusal::Disk => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = refuse(status, refusal.reason(), &refusal.to_string());
    if let Refusal::TooMany { retry_after } = refusal {
        let seconds = retry_after.as_secs() + 1;
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn refuse(status: StatusCode, reason: &'static str, error: &str) -> Response {
    let error = error.to_owned();
    (status, Json(Entered::Refused { reason, error })).into_response()
}

fn wrong_method(allowed: &'static str) -> Response {
    let mut response = refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        "malformed",
        "another method is expected",
    );
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_a_proxy_names_is_read_with_and_without_a_port() {
        for (entry, address) in [
            ("192.0.2.1", "192.0.2.1"),
            (" 192.0.2.1:555 ", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:1", "2001:db8::1"),
        ] {
            assert_eq!(forwarded_address(entry), address.parse().ok(), "{entry}");
        }
        for nothing in ["", "unknown", "192.0.2.1:x", "[192.0.2", "_hidden"] {
            assert_eq!(forwarded_address(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn the_signal_connection_goes_where_the_page_is_from() {
        let url = |pairs: &[(&str, &str)]| {
            let headers = pairs.iter().map(|(name, value)| {
                let name: header::HeaderName = name.parse().unwrap();
                (name, value.parse().unwrap())
            });
            url_of(&headers.collect())
        };
        let host = ("host", "127.0.0.1:7880");
        for (origin, expected) in [
            ("https://meet.example.org", "wss://meet.example.org"),
            (
                "https://meet.example.org:8443",
                "wss://meet.example.org:8443",
            ),
            ("http://localhost:7880", "ws://localhost:7880"),
            ("null", "ws://127.0.0.1:7880"),
        ] {
            assert_eq!(url(&[host, ("origin", origin)]), expected);
        }
        assert_eq!(
            url(&[host, ("x-forwarded-proto", "https")]),
            "wss://127.0.0.1:7880"
        );
    }
}
