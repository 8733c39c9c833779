//! HTTP connections.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::io::{AsyncRead, AsyncWrite};

/// Request line and headers: join requests and tokens travel in them, up to about 32 KB each.
const MAX_HEAD: usize = 128 * 1024;

/// A connection that has not sent its request by then is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Answers the requests of one connection with `router`, until it ends.
pub async fn serve_http<S>(stream: S, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended badly");
    }
}
