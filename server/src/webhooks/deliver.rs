//! The delivery of an event: it is posted until its receiver has taken it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use http_body_util::Full;
use hyper::{
    Request, StatusCode, Uri,
    body::Bytes,
    header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use protocol::token::{self, Keys};
use tokio::{sync::Semaphore, time::timeout};

use super::outbox::Stored;
use crate::{
    config,
    metrics::{Metrics, WebhookOutcome},
};

/// The most requests under way to one receiver. Each room has at most one.
const CONCURRENCY: usize = 32;

/// The time in which a receiver must answer: after it, the attempt has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after the first failed attempt. It doubles with each further one, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 1250 });
pub(super) const LONGEST_PAUSE: Duration =
    Duration::from_millis(if cfg!(test) { 100 } else { 30_000 });

/// The time in which a receiver must check the signature. LiveKit's value.
const SIGNATURE_TTL: Duration = Duration::from_secs(5 * 60);

/// A receiver of events.
pub(super) struct Receiver {
    pub(super) url: Arc<str>,
    /// The part of the address that may be logged.
    pub(super) origin: String,
    uri: Uri,
    api_key: String,
    keys: Keys,
    client: HttpClient,
    slots: Semaphore,
}

/// The HTTP client. One without TLS needs no certificates of authorities on this machine.
enum HttpClient {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// The number of attempts, in about 20 s, after which an event that its receiver turns away is set aside: the receiver
/// is there, and does not take this event.
const TURNED_AWAY: u32 = 5;

/// The outcome of one attempt.
enum Attempt {
    Taken,
    /// The receiver refuses the event: trying again would change nothing.
    Refused(StatusCode),
    /// The receiver has a fault, perhaps with this event.
    TurnedAway(StatusCode),
    /// The receiver itself did not answer: it is not there, or has no time.
    Failed(String),
}

/// The outcome of an event, for now.
pub(super) enum Outcome {
    /// The event was taken, refused, or grew too old: which.
    Over(&'static str),
    /// The receiver answered that it does not take the event.
    TurnedAway(StatusCode),
    Unanswered,
}

impl Receiver {
    pub(super) fn new(url: &str, api_key: &str, keys: &Keys) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().context("webhook.urls")?;
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new());
        let client = match uri.scheme_str() {
            Some("https") => {
                let tls = HttpsConnectorBuilder::new().with_native_roots().context(
                    "webhooks over https need the certificates of authorities of this system",
                )?;
                HttpClient::Tls(builder.build(tls.https_only().enable_http1().build()))
            }
            _ => HttpClient::Plain(builder.build(HttpConnector::new())),
        };
        Ok(Self {
            url: url.into(),
            origin: config::origin(url),
            uri,
            api_key: api_key.to_owned(),
            keys: keys.clone(),
            client,
            slots: Semaphore::new(CONCURRENCY),
        })
    }

    /// Posts an event until it is taken, refused or too old, and returns which; or the status with which it was turned
    /// away too often for the events behind it to wait. While the receiver does not answer at all, they wait.
    pub(super) async fn deliver(
        &self,
        event: &Stored,
        max_age: Duration,
        metrics: &Metrics,
    ) -> Result<&'static str, StatusCode> {
        let mut pause = FIRST_PAUSE;
        let mut turned_away = 0;
        loop {
            match self.post(event, max_age, metrics).await {
                Outcome::Over(outcome) => return Ok(outcome),
                Outcome::Unanswered => {}
                Outcome::TurnedAway(status) => {
                    turned_away += 1;
                    if turned_away == TURNED_AWAY {
                        return Err(status);
                    }
                }
            }
            rest(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Posts an event once.
    pub(super) async fn post(
        &self,
        event: &Stored,
        max_age: Duration,
        metrics: &Metrics,
    ) -> Outcome {
        let body = Bytes::from(event.body.clone());
        let outcome = match self.attempt(&body).await {
            Attempt::Taken => return Outcome::Over("delivered"),
            Attempt::Refused(status) => {
                tracing::warn!(%status, "a receiver refused a webhook event");
                return Outcome::Over("refused");
            }
            Attempt::TurnedAway(status) => {
                tracing::debug!(%status, "a webhook event was turned away");
                Outcome::TurnedAway(status)
            }
            Attempt::Failed(cause) => {
                tracing::debug!(cause, "a webhook event was not answered");
                Outcome::Unanswered
            }
        };
        let label = WebhookOutcome { outcome: "failed" };
        metrics.webhooks.get_or_create(&label).inc();
        if unix_now().saturating_sub(event.created_at.max(0) as u64) > max_age.as_secs() {
            tracing::warn!("a webhook event grew too old");
            return Outcome::Over("expired");
        }
        outcome
    }

    async fn attempt(&self, body: &Bytes) -> Attempt {
        let Ok(_slot) = self.slots.acquire().await else {
            return Attempt::Failed("closed".to_owned());
        };
        let signed = token::sign_body(body, &self.api_key, &self.keys, unix_now(), SIGNATURE_TTL);
        let token = match signed {
            Ok(token) => token,
            Err(error) => return Attempt::Failed(error.to_string()),
        };
        let request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/webhook+json")
            .header(AUTHORIZATION, token)
            .header(USER_AGENT, concat!("conclave/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body.clone()));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Attempt::Failed(error.to_string()),
        };
        let response = match &self.client {
            HttpClient::Plain(client) => client.request(request),
            HttpClient::Tls(client) => client.request(request),
        };
        match timeout(ANSWER_TIMEOUT, response).await {
            Err(_) => Attempt::Failed("no answer in time".to_owned()),
            Ok(Err(error)) => Attempt::Failed(error.to_string()),
            Ok(Ok(response)) => judge(response.status()),
        }
    }
}

/// Waits for about `pause`: many rooms failed at the same moment, and need not all come back at the same moment.
pub(super) async fn rest(pause: Duration) {
    tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..1.25))).await;
}

/// Statuses of a receiver that has read the event and does not want it. Others, 404 among them, may come from a proxy
/// whose application is about to come back.
const REFUSALS: [StatusCode; 4] = [
    StatusCode::BAD_REQUEST,
    StatusCode::GONE,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNPROCESSABLE_ENTITY,
];

/// Statuses of proxies whose receiver is not there, and of a receiver that has too much to do.
const OUTAGES: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// The outcome by status. Redirects are not followed: the administrator named the receiver.
fn judge(status: StatusCode) -> Attempt {
    match status {
        _ if status.is_success() => Attempt::Taken,
        _ if REFUSALS.contains(&status) => Attempt::Refused(status),
        _ if OUTAGES.contains(&status) => Attempt::Failed(status.to_string()),
        _ => Attempt::TurnedAway(status),
    }
}

pub(super) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
