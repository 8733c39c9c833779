//! HTTP connections.

use std::{convert::Infallible, net::IpAddr, pin::pin, time::Duration};

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
use crate::listen::Guest;

/// The longest request line and headers together, bytes. A token may carry 512 KiB of metadata in the `Authorization`
/// header; the address has at most 64 KiB.
const MAX_HEAD: usize = 1024 * 1024;

/// The most bytes that long heads of all connections hold together.
const ALL_LONG_HEADS: usize = 32 * 1024 * 1024;

/// The most bytes that long heads of one network hold: others have long heads too.
const LONG_HEADS_OF_NETWORK: usize = ALL_LONG_HEADS / 8;

/// The time in which a connection must have sent the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// The time after which a client that takes no bytes is gone.
const WRITE_STALL: Duration = Duration::from_secs(30);

/// The part that all connections of a port share. Cheap to clone.
#[derive(Clone)]
pub struct HttpPort {
    router: Router,
    heads: Heads,
}

/// The budget of long heads.
pub(super) fn long_heads() -> Heads {
    Heads::new(ALL_LONG_HEADS, LONG_HEADS_OF_NETWORK)
}

impl HttpPort {
    /// A port whose requests `router` answers.
    pub(super) fn new(router: Router, heads: Heads) -> Self {
        Self { router, heads }
    }

    /// Answers the requests of one connection from `remote`, until it ends.
    pub async fn serve<S>(self, stream: S, remote: IpAddr, guest: Guest)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let head = Head::new(self.heads, guest.clone());
        let stream = Stream::new(stream, head.clone(), WRITE_STALL);
        let unwanted = guest.clone();
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
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = unwanted.unwanted() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended badly");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use axum::body::Bytes;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    #[tokio::test]
    async fn an_answer_is_not_copied_for_each_connection_that_does_not_read_it() {
        // More than kernels hold for a connection.
        let body = Bytes::from(vec![7; 64 << 20]);
        let answer = Arc::new(Mutex::new(Some(body.clone())));
        let router = Router::new().fallback(move || {
            let answer = answer.lock().unwrap().take();
            std::future::ready(answer.unwrap_or_default())
        });
        let port = HttpPort::new(router, long_heads());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (server, remote) = listener.accept().await.unwrap();
        let serving = port.serve(server, remote.ip(), Guest::with(None));
        let serving = tokio::spawn(serving);
        let head = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        client.write_all(head).await.unwrap();
        client.read_exact(&mut [0; 12]).await.unwrap();
        // Who else has these bytes is the connection that is to write them.
        assert!(!body.is_unique(), "they were copied");
        serving.abort();
    }
}
