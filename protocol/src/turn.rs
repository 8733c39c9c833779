//! Credentials for our TURN server: a user name with a digest of its owner and the time of its end, and a password that
//! only the server can derive from it. Nothing is stored.

use std::fmt;

use aws_lc_rs::hmac;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD as BASE64, URL_SAFE_NO_PAD},
};

use crate::livekit::IceServer;

/// Length of the digest of a principal, bytes.
const DIGEST: usize = 12;

/// Our TURN server, as it is announced to clients.
#[derive(Clone)]
pub struct TurnServers {
    urls: Vec<String>,
    secret: hmac::Key,
    lifetime_seconds: u64,
}

impl TurnServers {
    /// A server at `urls` (`turn:` and `turns:`), with credentials made from `secret` that hold for `lifetime_seconds`.
    pub fn new(urls: Vec<String>, secret: &[u8; 32], lifetime_seconds: u64) -> Self {
        Self {
            urls,
            secret: hmac::Key::new(hmac::HMAC_SHA256, secret),
            lifetime_seconds,
        }
    }

    /// Whether one of the URLs is for TLS.
    pub fn has_tls(&self) -> bool {
        self.urls.iter().any(|url| is_tls(url))
    }

    /// The servers for a client, with credentials given out at `now` (seconds since 1970). The allocations of one
    /// `principal` are counted together, however often it joins: it goes into the user name as a digest that says
    /// nothing about it.
    pub fn for_principal(&self, principal: &str, now: u64) -> Vec<IceServer> {
        if self.urls.is_empty() {
            return Vec::new();
        }
        let digest = hmac::sign(&self.secret, format!("principal {principal}").as_bytes());
        let digest = URL_SAFE_NO_PAD.encode(&digest.as_ref()[..DIGEST]);
        let username = format!("{}:{digest}", now + self.lifetime_seconds);
        vec![IceServer {
            urls: self.urls.clone(),
            credential: self.mac(&username),
            username,
        }]
    }

    /// The password of a user at `now`; `None` for names that we did not give out, and for those whose time is over. A
    /// user that `is_known` has an allocation already, which does not end with its credentials.
    pub fn password(&self, username: &str, is_known: bool, now: u64) -> Option<String> {
        let (expires, digest) = username.split_once(':')?;
        let digest = URL_SAFE_NO_PAD.decode(digest).ok()?;
        let expires: u64 = expires.parse().ok()?;
        let is_ours = digest.len() == DIGEST;
        (is_ours && (is_known || now < expires)).then(|| self.mac(username))
    }

    fn mac(&self, username: &str) -> String {
        BASE64.encode(hmac::sign(&self.secret, username.as_bytes()))
    }
}

/// Whether a URL is of a TURN server over TLS (RFC 7065).
pub fn is_tls(url: &str) -> bool {
    url.starts_with("turns:")
}

impl fmt::Debug for TurnServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TurnServers").field(&self.urls).finish()
    }
}

impl PartialEq for TurnServers {
    fn eq(&self, other: &Self) -> bool {
        self.urls == other.urls && self.lifetime_seconds == other.lifetime_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_of_one_principal_and_for_a_time() {
        let turn = TurnServers::new(vec!["turn:192.0.2.1:3478".to_owned()], &[7; 32], 100);
        let [server] = turn.for_principal("ada", 1000).try_into().unwrap();
        let (expires, whose) = server.username.split_once(':').unwrap();
        assert_eq!((expires, whose.contains("ada")), ("1100", false));
        // However often it joins, it is the same; somebody else is somebody else.
        let at = |principal, now| turn.for_principal(principal, now)[0].username.clone();
        assert_eq!(at("ada", 2000), format!("2100:{whose}"));
        assert!(!at("bob", 1000).ends_with(whose));
        let password = Some(server.credential);
        assert_eq!(turn.password(&server.username, false, 1099), password);
        assert_eq!(turn.password(&server.username, false, 1100), None);
        assert_eq!(turn.password(&server.username, true, 1100), password);
        // A longer life is another name, and has another password.
        assert_ne!(
            turn.password(&format!("9999:{whose}"), false, 1000),
            password
        );
        for nonsense in ["", ":", "1100", "1100:ada", "x:PA_", &format!("-1:{whose}")] {
            assert_eq!(turn.password(nonsense, false, 1000), None, "{nonsense}");
        }
        let other = TurnServers::new(Vec::new(), &[8; 32], 100);
        assert_ne!(other.password(&server.username, false, 1000), password);
        assert!(other.for_principal("ada", 1000).is_empty());
    }
}
