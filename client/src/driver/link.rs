//! The WebSocket to the server.

use std::net::SocketAddr;

use tokio::net::{TcpStream, lookup_host};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, client::IntoClientRequest, http},
};

use crate::Error;

pub(super) type Signal = WebSocketStream<TcpStream>;

/// The server and our token for it.
#[derive(Clone)]
pub(super) struct Endpoint {
    host: String,
    port: u16,
    /// Path prefix without a slash at the end; may be empty.
    prefix: String,
    pub(super) token: String,
    /// The participant encrypts by MLS.
    pub(super) mls: bool,
}

impl Endpoint {
    pub(super) fn parse(url: &str, token: &str) -> Result<Self, Error> {
        let bad = |reason: &str| Error::Signal {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let uri: http::Uri = url.parse().map_err(|_| bad("not a URL"))?;
        if !matches!(uri.scheme_str(), Some("ws" | "http")) {
            return Err(bad("only ws:// and http:// are spoken"));
        }
        let host = uri.host().ok_or_else(|| bad("no host"))?;
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            token: token.to_owned(),
            mls: false,
        })
    }

    /// Opens a TCP connection to the server. IPv4 goes first: a server in development mode has its media there.
    pub(super) async fn reach(&self) -> Result<TcpStream, Error> {
        let found = lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|error| self.broken(error))?;
        let mut addresses: Vec<SocketAddr> = found.collect();
        addresses.sort_by_key(|address| !address.is_ipv4());
        let stream = TcpStream::connect(addresses.as_slice())
            .await
            .map_err(|error| self.broken(error))?;
        stream
            .set_nodelay(true)
            .map_err(|error| self.broken(error))?;
        Ok(stream)
    }

    /// Opens the WebSocket on `stream`.
    pub(super) async fn open(
        &self,
        stream: TcpStream,
        join_parameter: &str,
    ) -> Result<Signal, Error> {
        // Base64url needs no escaping but for its padding.
        let parameter = join_parameter.replace('=', "%3D");
        let mls = if self.mls { "&e2ee=mls" } else { "" };
        let path = format!("/rtc/v1?join_request={parameter}{mls}");
        self.upgrade(stream, &path, &self.token).await
    }

    /// Opens the WebSocket to the delivery service of an encrypted meeting on `stream`.
    pub(super) async fn open_group(&self, stream: TcpStream, token: &str) -> Result<Signal, Error> {
        self.upgrade(stream, "/e2ee", token).await
    }

    async fn upgrade(&self, stream: TcpStream, path: &str, token: &str) -> Result<Signal, Error> {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        let url = format!("ws://{host}:{}{}{path}", self.port, self.prefix);
        let mut request = url
            .into_client_request()
            .map_err(|error| self.broken(error))?;
        let bearer = format!("Bearer {token}")
            .parse()
            .map_err(|_| self.broken("the token is not text"))?;
        request
            .headers_mut()
            .insert(http::header::AUTHORIZATION, bearer);
        match client_async(request, stream).await {
            Ok((signal, _)) => Ok(signal),
            Err(tungstenite::Error::Http(response)) => {
                let body = response
                    .body()
                    .as_deref()
                    .map(String::from_utf8_lossy)
                    .unwrap_or_default();
                Err(Error::Refused(format!(
                    "{}: {}",
                    response.status(),
                    body.trim()
                )))
            }
            Err(error) => Err(self.broken(error)),
        }
    }

    pub(super) fn broken(&self, reason: impl ToString) -> Error {
        let url = format!("ws://{}:{}{}", self.host, self.port, self.prefix);
        Error::Signal {
            url,
            reason: reason.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_ports_are_kept() {
        let endpoint = Endpoint::parse("http://localhost:7880/livekit/sfu/", "t").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("localhost", 7880));
        assert_eq!(endpoint.prefix, "/livekit/sfu");
        let endpoint = Endpoint::parse("ws://[::1]", "t").unwrap();
        assert_eq!(
            (
                endpoint.host.as_str(),
                endpoint.port,
                endpoint.prefix.as_str()
            ),
            ("::1", 80, "")
        );
    }

    #[test]
    fn urls_of_other_kinds_are_refused() {
        for url in [
            "",
            "localhost:7880",
            "ftp://localhost",
            "wss://localhost",
            "/rtc",
        ] {
            assert!(
                matches!(Endpoint::parse(url, "t"), Err(Error::Signal { .. })),
                "{url}"
            );
        }
    }
}
