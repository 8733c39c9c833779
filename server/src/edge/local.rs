//! The guard of development mode, which answers this machine only: its keys are known to everybody, and a page of
//! another origin, or one whose name was bound to our address (DNS rebinding), would have a browser use them from
//! within.

use std::net::IpAddr;

use axum::{
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

const SENTENCE: &str = "This server runs in development mode and answers only as localhost or by the address \
                        it was told to listen on (--bind); pages of other origins may not use it.\n";

/// The names under which development mode answers.
#[derive(Debug, Clone)]
pub struct LocalNames {
    bind: Vec<IpAddr>,
    /// The name in our own certificate; empty if there is none.
    host: String,
}

impl LocalNames {
    /// The names of loopback, of the addresses listened on, and `host` if it is not empty.
    pub fn new(bind: &[IpAddr], host: &str) -> Self {
        Self {
            bind: bind.to_vec(),
            host: host.to_owned(),
        }
    }

    /// The refusal of a request that names us otherwise, or comes from a page of another origin. Native clients have no
    /// `Origin`; a request without `Host` is not a browser's.
    pub(super) fn refusal(&self, headers: &HeaderMap) -> Option<Response> {
        // Where a header is repeated, any of its values may count for a program: each must be ours.
        let all = |name, is_ours: &dyn Fn(&str) -> bool| {
            let mut values = headers.get_all(name).iter();
            values.all(|value| value.to_str().is_ok_and(is_ours))
        };
        let host_is_ours = all(header::HOST, &|host| self.is_ours(host));
        let origin_is_ours = all(header::ORIGIN, &|origin| {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some_and(|authority| self.is_ours(authority))
        });
        // The refusal has no CORS header: pages of other origins cannot read it.
        match host_is_ours && origin_is_ours {
            true => None,
            false => Some((StatusCode::FORBIDDEN, SENTENCE).into_response()),
        }
    }

    /// Whether an authority (`host`, `host:port`, `[v6]:port`) is ours.
    fn is_ours(&self, authority: &str) -> bool {
        let Ok(uri) = authority.parse::<Uri>() else {
            return false;
        };
        // A `name@host` is meant to deceive.
        let Some(host) = uri.host().filter(|_| !authority.contains('@')) else {
            return false;
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            // An address cannot be bound to another one; where we listen on all addresses, each of this machine's is
            // ours.
            Ok(ip) => {
                let ours = |bind: &IpAddr| *bind == ip || bind.is_unspecified();
                ip.to_canonical().is_loopback() || self.bind.iter().any(ours)
            }
            Err(_) => {
                let host = host.to_ascii_lowercase();
                let host = host.strip_suffix('.').unwrap_or(&host);
                host == "localhost"
                    || host.ends_with(".localhost")
                    || (!self.host.is_empty() && host == self.host.to_ascii_lowercase())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    fn allowed(names: &LocalNames, pairs: &[(HeaderName, &str)]) -> bool {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        names.refusal(&HeaderMap::from_iter(pairs)).is_none()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_loopback_names_and_the_address_of_the_command_line_are_ours() {
        let names = LocalNames::new(&ips(&["127.0.0.1", "::1"]), "");
        let host = |host| allowed(&names, &[(header::HOST, host)]);
        for ours in [
            "localhost",
            "localhost:7880",
            "LOCALHOST:1",
            "meet.localhost:7880",
            "localhost.:80",
            "127.0.0.1:7880",
            "127.8.9.10",
            "[::1]:7880",
            "[::1]",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(host(ours), "{ours}");
        }
        for foreign in [
            "evil.example",
            "evil.example:7880",
            "localhost.evil.example",
            "notlocalhost",
            "192.0.2.7",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "[2001:db8::1]:1",
            "",
            "user@localhost",
            "a b",
            "localhost/x",
        ] {
            assert!(!host(foreign), "{foreign}");
        }
        let origin = |origin| {
            let host = (header::HOST, "localhost:7880");
            allowed(&names, &[host, (header::ORIGIN, origin)])
        };
        for ours in [
            "http://localhost:7880",
            "http://localhost:3000",
            "http://127.0.0.1:5173",
            "https://[::1]",
        ] {
            assert!(origin(ours), "{ours}");
        }
        for foreign in [
            "null",
            "",
            "https://evil.example",
            "http://localhost.evil.example",
            "http://192.0.2.7",
            "localhost",
        ] {
            assert!(!origin(foreign), "{foreign}");
        }
        assert!(allowed(&names, &[]), "no browser");
    }

    #[test]
    fn what_the_administrator_named_is_ours_too() {
        let names = LocalNames::new(&ips(&["192.0.2.7"]), "meet.example.org");
        let host = |host| allowed(&names, &[(header::HOST, host)]);
        assert!(host("192.0.2.7:7880") && host("localhost") && host("Meet.Example.org:443"));
        assert!(!host("192.0.2.8") && !host("example.org"));
        let all = LocalNames::new(&ips(&["0.0.0.0"]), "");
        assert!(allowed(&all, &[(header::HOST, "192.0.2.8:7880")]));
        assert!(
            !allowed(&all, &[(header::HOST, "evil.example")]),
            "that may be bound to any address"
        );
    }
}
