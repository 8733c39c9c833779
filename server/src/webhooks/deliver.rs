//! Posting an event until its receiver has taken it.

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
use crate::metrics::{Metrics, WebhookOutcome};

/// Requests under way to one receiver. Each room has at most one.
const CONCURRENCY: usize = 32;

/// A receiver that has not answered by then has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after the first failed attempt. It doubles with each further one, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a receiver has to check the signature. LiveKit's value.
const SIGNATURE_TTL: Duration = Duration::from_secs(5 * 60);

/// Where events go.
pub(super) struct Receiver {
    pub(super) url: Arc<str>,
    uri: Uri,
    api_key: String,
    keys: Keys,
    client: HttpClient,
    slots: Semaphore,
}

/// One without TLS needs no certificates of authorities on this machine.
enum HttpClient {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// What became of one attempt.
enum Attempt {
    Taken,
    /// Trying again would change nothing.
    Refused(StatusCode),
    Failed(String),
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
            uri,
            api_key: api_key.to_owned(),
            keys: keys.clone(),
            client,
            slots: Semaphore::new(CONCURRENCY),
        })
    }

    /// Posts an event until it is taken, refused or too old, and returns which.
    pub(super) async fn deliver(
        &self,
        event: &Stored,
        max_age: Duration,
        metrics: &Metrics,
    ) -> &'static str {
        let mut pause = FIRST_PAUSE;
        let body = Bytes::from(event.body.clone());
        loop {
            match self.attempt(&body).await {
                Attempt::Taken => return "delivered",
                Attempt::Refused(status) => {
                    tracing::warn!(%status, "a receiver refused a webhook event");
                    return "refused";
                }
                Attempt::Failed(cause) => {
                    let outcome = WebhookOutcome { outcome: "failed" };
                    metrics.webhooks.get_or_create(&outcome).inc();
                    tracing::debug!(cause, "a webhook event was not taken");
                }
            }
            if unix_now().saturating_sub(event.created_at.max(0) as u64) > max_age.as_secs() {
                tracing::warn!("a webhook event grew too old");
                return "expired";
            }
            // Many rooms failed at the same moment: they need not all come back at the same moment.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..1.25))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
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

/// Statuses of a receiver that has read the event and does not want it. Others, 404 among them, may come from a proxy
/// whose application is about to come back.
const REFUSALS: [StatusCode; 4] = [
    StatusCode::BAD_REQUEST,
    StatusCode::GONE,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNPROCESSABLE_ENTITY,
];

/// Redirects are not followed: the administrator named the receiver.
fn judge(status: StatusCode) -> Attempt {
    match status {
        _ if status.is_success() => Attempt::Taken,
        _ if REFUSALS.contains(&status) => Attempt::Refused(status),
        _ => Attempt::Failed(status.to_string()),
    }
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
