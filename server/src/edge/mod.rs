//! The edge: HTTP and WebSocket on one port, and the figures on another. The only place that knows axum.

mod absent_services;
mod agent;
mod agent_dispatch;
mod assets;
mod body;
mod dev;
mod e2ee;
mod http;
mod local;
mod meetings;
mod path;
mod room_service;
mod rtc;
mod stream;
mod twirp;
mod ws;

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use protocol::token::Keys;
use tokio::sync::mpsc;

pub use http::HttpPort;
pub use local::LocalNames;

use crate::{
    agents::Agents,
    config,
    meetings::Meetings,
    metrics::{Exporter, Metrics},
    rooms::Rooms,
    throttle::Throttle,
};
use path::Endpoint;

/// The number of refused joins and refused workers of agents that are logged per second. Anybody can cause one.
const REFUSALS_PER_SECOND: u32 = 20;

/// The state that every request may need. Cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<Inner>);

struct Inner {
    rooms: Rooms,
    agents: Agents,
    meetings: Meetings,
    keys: Keys,
    metrics: Metrics,
    assets: assets::Assets,
    /// The names under which development mode answers; `None` outside of it.
    local: Option<LocalNames>,
    trusted_proxies: Vec<IpAddr>,
    /// See `http.prefix`.
    prefix: String,
    /// Limits the log of refused joins and refused workers of agents.
    refusals: Throttle,
    heads: stream::Heads,
    /// Each session holds a clone, so that the end of the last one is noticed.
    alive: mpsc::WeakSender<()>,
}

impl Edge {
    /// The edge of `rooms` and of those who send `agents` there, for tokens signed by `keys`; `local` makes it give
    /// tokens to anybody. Each session holds a clone of `alive` as long as it lives.
    pub fn new(
        (rooms, agents): (Rooms, Agents),
        (meetings, keys): (Meetings, Keys),
        metrics: Metrics,
        local: Option<LocalNames>,
        http: &config::Http,
        alive: &mpsc::Sender<()>,
    ) -> Self {
        let assets = assets::Assets::load();
        let proxies = http.trusted_proxies.iter().map(IpAddr::to_canonical);
        Self(Arc::new(Inner {
            rooms,
            agents,
            meetings,
            keys,
            metrics,
            assets,
            local,
            trusted_proxies: proxies.collect(),
            prefix: http.prefix.trim_end_matches('/').to_owned(),
            refusals: Throttle::new(REFUSALS_PER_SECOND),
            heads: http::long_heads(),
            alive: alive.downgrade(),
        }))
    }

    /// The public port.
    pub fn port(&self) -> HttpPort {
        // The signal paths may follow any prefix, so they are not routes.
        let router = Router::new().fallback(answer).with_state(self.clone());
        HttpPort::new(router, self.0.heads.clone())
    }

    /// The public port over TLS.
    pub fn secure_port(&self) -> HttpPort {
        let router = Router::new().fallback(answer_over_tls);
        HttpPort::new(router.with_state(self.clone()), self.0.heads.clone())
    }
}

/// The address of the other end of a connection.
#[derive(Debug, Clone, Copy)]
struct Remote(IpAddr);

/// Answers a request over TLS. A proxy with a certificate would say so in a header; here we are that proxy ourselves.
async fn answer_over_tls(edge: State<Edge>, mut request: Request) -> Response {
    let https = HeaderValue::from_static("https");
    request.headers_mut().insert("x-forwarded-proto", https);
    let mut response = answer(edge, request).await;
    // For a year, a browser that was here over TLS does not come without it.
    response.headers_mut().insert(
        header::STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=31536000"),
    );
    response
}

/// The port of the figures.
pub fn metrics_http(exporter: Arc<Exporter>) -> HttpPort {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let metrics = move || async move {
        let text = tokio::task::spawn_blocking(move || exporter.text()).await;
        (
            [(header::CONTENT_TYPE, OPEN_METRICS)],
            text.unwrap_or_default(),
        )
    };
    let router = Router::new().route("/metrics", get(metrics));
    HttpPort::new(router, http::long_heads())
}

async fn answer(State(edge): State<Edge>, request: Request) -> Response {
    let host = request.headers().get(header::HOST).cloned();
    let mut response = route(edge, request).await;
    assets::secure(&mut response, host.as_ref());
    response
}

async fn route(edge: Edge, request: Request) -> Response {
    if let Some(local) = &edge.0.local
        && let Some(response) = local.refusal(request.headers())
    {
        return response;
    }
    let collapsed = path::collapse(request.uri().path());
    let path = path::without_prefix(&collapsed, &edge.0.prefix).to_owned();
    let endpoint = path::endpoint(&path);
    let is_prefixed = path.len() < collapsed.len();
    let surplus = request.uri().path().len() - collapsed.len();
    match endpoint {
        Endpoint::Twirp if surplus > path::SURPLUS_SLASHES => not_found(NO_SUCH_CALL),
        Endpoint::Rtc { v1 } => rtc::connect(edge, request, v1).await,
        Endpoint::Validate { v1 } => rtc::validate(&edge, &request, v1),
        Endpoint::Agent => agent::connect(edge, request).await,
        Endpoint::E2ee => e2ee::connect(edge, request).await,
        Endpoint::Twirp => twirp::answer(&edge, &path, request).await,
        Endpoint::Root if is_prefixed && !wants_html(request.headers()) => health(&edge),
        // Pages, and the files they ask for, are at the root only.
        _ if is_prefixed => not_found(NO_PAGE),
        Endpoint::Meetings => meetings::answer(&edge, &path, request).await,
        Endpoint::DevToken if edge.0.local.is_some() => dev::token(&edge, request).await,
        Endpoint::DevToken => StatusCode::NOT_FOUND.into_response(),
        Endpoint::Root if !wants_html(request.headers()) => health(&edge),
        Endpoint::Root | Endpoint::Meeting | Endpoint::Other
            if !matches!(*request.method(), Method::GET | Method::HEAD) =>
        {
            StatusCode::METHOD_NOT_ALLOWED.into_response()
        }
        Endpoint::Root | Endpoint::Meeting => edge.0.assets.page(request.headers()),
        Endpoint::Other => edge.0.assets.file(&path, request.headers()),
    }
}

const NO_SUCH_CALL: &str = "404 page not found";

const NO_PAGE: &str =
    "behind http.prefix there are the server API and signal connections; the web client is at /";

fn not_found(sentence: &'static str) -> Response {
    (StatusCode::NOT_FOUND, sentence).into_response()
}

/// Health for load balancers: a server about to stop takes no more clients.
fn health(edge: &Edge) -> Response {
    if edge.0.rooms.is_closing() {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down").into_response()
    } else {
        ([(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")], "OK").into_response()
    }
}

fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}
