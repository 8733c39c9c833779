//! Bodies of requests, with limits of length and time.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, to_bytes},
    http::StatusCode,
};

/// The time in which a stranger's body must have come.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// Reads a body, or returns the status with which it is refused.
pub(super) async fn read(
    body: Body,
    max: usize,
    patience: Duration,
) -> Result<Bytes, (StatusCode, &'static str)> {
    match tokio::time::timeout(patience, to_bytes(body, max)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err((StatusCode::PAYLOAD_TOO_LARGE, "the body is too long")),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};

    #[tokio::test]
    async fn a_body_that_never_ends_is_not_waited_for() {
        let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]);
        let endless = Body::from_stream(first.chain(stream::pending()));
        let refused = read(endless, 100, Duration::from_millis(20));
        let refused = tokio::time::timeout(Duration::from_secs(10), refused).await;
        let refused = refused.expect("not waited for");
        assert_eq!(refused.unwrap_err().0, StatusCode::REQUEST_TIMEOUT);
        let long = read(Body::from(vec![0; 101]), 100, PATIENCE).await;
        assert_eq!(long.unwrap_err().0, StatusCode::PAYLOAD_TOO_LARGE);
        let fits = read(Body::from(vec![0; 100]), 100, PATIENCE).await;
        assert_eq!(fits.unwrap().len(), 100);
    }
}
