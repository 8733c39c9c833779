//! HTTP connections.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, extract::Request, http::StatusCode, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Remote,
    stream::{Head, Heads, Stream},
};
use crate::per_address::Admission;

/// Request line and headers. A token may carry 512 KiB of metadata in the `Authorization` header; the address has at most
/// 64 KiB.
const MAX_HEAD: usize = 1024 * 1024;

/// What long heads of all connections may hold together.
const ALL_LONG_HEADS: usize = 32 * 1024 * 1024;

/// A connection that has not sent its request by then is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// A client that takes nothing for so long is gone.
const WRITE_STALL: Duration = Duration::from_secs(30);

/// Who is at the other end of a connection. A request carries it along: who shows a valid token is no stranger.
pub type Guest = Option<Arc<Admission>>;

/// What the connections of a port share. Cheap to clone.
#[derive(Clone)]
pub struct HttpPort {
    router: Router,
    heads: Heads,
}

/// The budget of long heads.
pub(super) fn long_heads() -> Heads {
    Heads::new(ALL_LONG_HEADS)
}

impl HttpPort {
    /// Answers requests with `router`.
    pub(super) fn new(router: Router, heads: Heads) -> Self {
        Self { router, heads }
    }

    /// Answers the requests of one connection from `remote`, until it ends.
    pub async fn serve<S>(self, stream: S, remote: IpAddr, guest: Guest)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let head = Head::new(self.heads);
        let stream = Stream::new(stream, head.clone(), WRITE_STALL);
        let router = TowerToHyperService::new(self.router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            head.complete();
            request.extensions_mut().insert(Remote(remote));
            request.extensions_mut().insert(guest.clone());
            let (answer, head) = (
                hyper::service::Service::call(&router, request),
                head.clone(),
            );
            async move {
                let answer: Result<Response, Infallible> = answer.await;
                match &answer {
                    Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => head.end(),
                    _ => head.next(),
                }
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended badly");
        }
    }
}
