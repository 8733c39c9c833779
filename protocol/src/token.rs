//! Access tokens: a JWT (RFC 7519) signed with HMAC-SHA-256 by one of our API keys, turned into a [`Grant`].
//!
//! The only accepted algorithm is `HS256`: the header cannot choose another one, and key ids in the header mean
//! nothing.

mod claims;
mod grant;

use std::{collections::BTreeMap, fmt, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::Deserialize;

use claims::{Claims, Issuer, read_claims};
pub use grant::{Grant, SipGrant, VideoGrant};

/// The most by which the clocks of the application and of this server may differ, seconds. LiveKit's value.
pub const LEEWAY_SECONDS: u64 = 60;

/// The longest token that is read, bytes: one with the longest metadata (512 KiB) and attributes (64 KiB).
pub const MAX_TOKEN_BYTES: usize = 1024 * 1024;

/// API keys: public key id to secret.
#[derive(Clone, Default)]
pub struct Keys(BTreeMap<String, Vec<u8>>);

impl Keys {
    /// Keys from pairs of key id and secret.
    pub fn new<K: Into<String>, S: Into<Vec<u8>>>(pairs: impl IntoIterator<Item = (K, S)>) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(key, secret)| (key.into(), secret.into()))
                .collect(),
        )
    }

    /// These keys and another one, which replaces a key of the same id.
    #[must_use]
    pub fn with(mut self, key: &str, secret: impl Into<Vec<u8>>) -> Self {
        self.0.insert(key.to_owned(), secret.into());
        self
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key ids, in alphabetical order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The first of the ids whose secret has fewer than `bytes` bytes.
    pub fn shorter_than(&self, bytes: usize) -> Option<&str> {
        let is_short = |(_, secret): &(&String, &Vec<u8>)| secret.len() < bytes;
        let (id, _) = self.0.iter().find(is_short)?;
        Some(id)
    }

    fn secret(&self, key: &str) -> Option<hmac::Key> {
        // An empty secret would let anybody sign.
        let secret = self.0.get(key).filter(|secret| !secret.is_empty())?;
        Some(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// The reason why a token was refused. The texts are those of livekit-server 1.13, without the token itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The text is no JWT with readable claims.
    #[error("invalid authorization token")]
    Malformed,
    /// The issuer is none of our keys. Holds at most 64 printable characters of it.
    #[error("invalid API key: {0}")]
    UnknownKey(String),
    /// The token is signed (or not signed) with another algorithm than HS256. Holds at most 16 printable characters of
    /// its name.
    #[error("invalid token: token signature is invalid: signing method {0} is invalid")]
    Algorithm(String),
    /// The secret is wrong, or the claims were changed.
    #[error("invalid token: token signature is invalid: signature is invalid")]
    Signature,
    /// `exp` has passed: the token is valid no longer.
    #[error("invalid token: token has invalid claims: token is expired")]
    Expired,
    /// `nbf` has not come: the token is not valid yet.
    #[error("invalid token: token has invalid claims: token is not valid yet")]
    NotYetValid,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// Checks a token and returns what it grants. `now` is seconds since 1970.
///
/// A token without `exp` does not expire. Whether the grant suffices for a request is the caller's question.
pub fn verify(token: &str, keys: &Keys, now: u64) -> Result<Grant, TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let header: Header = read(&decode_part(header)?)?;
    let claims = decode_part(claims)?;
    // Of the claims, only the issuer is read before the signature is checked.
    let Issuer(issuer) = read(&claims)?;
    let secret = keys
        .secret(&issuer)
        .ok_or_else(|| TokenError::UnknownKey(printable(&issuer, 64)))?;
    if header.alg != "HS256" {
        return Err(TokenError::Algorithm(printable(&header.alg, 16)));
    }
    let signature = BASE64
        .decode(signature)
        .map_err(|_| TokenError::Signature)?;
    hmac::verify(&secret, signed.as_bytes(), &signature).map_err(|_| TokenError::Signature)?;
    let mut claims = read_claims(&claims).ok_or(TokenError::Malformed)?;
    // Where several claims match the name `iss`, the one counts whose key has signed.
    claims.iss = issuer;
    check_times(&claims, now)?;
    Ok(claims.into())
}

fn decode_part(part: &str) -> Result<Vec<u8>, TokenError> {
    let json = BASE64.decode(part).map_err(|_| TokenError::Malformed)?;
    // serde would also read a struct from an array, by position.
    match json.trim_ascii_start().starts_with(b"{") {
        true => Ok(json),
        false => Err(TokenError::Malformed),
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, TokenError> {
    serde_json::from_slice(json).map_err(|_| TokenError::Malformed)
}

fn check_times(claims: &Claims, now: u64) -> Result<(), TokenError> {
    let (now, leeway) = (now as f64, LEEWAY_SECONDS as f64);
    if claims.exp.is_some_and(|exp| now >= exp + leeway) {
        return Err(TokenError::Expired);
    }
    if claims.nbf.is_some_and(|nbf| now + leeway < nbf) {
        return Err(TokenError::NotYetValid);
    }
    Ok(())
}

/// The beginning of a stranger's text, without control characters, so that it may appear in an answer or a log.
fn printable(text: &str, max: usize) -> String {
    text.chars()
        .filter(|c| c.is_ascii_graphic())
        .take(max)
        .collect()
}

/// Signs a token for `grant` with the secret of `grant.api_key`, valid from [`Grant::not_before`] until `ttl` after
/// `now` (seconds since 1970); without `ttl` it does not expire. A grant without `not_before` is valid from `now`.
///
/// A token that takes the place of another one is as old as that: a revocation covers both.
///
/// Fails with [`TokenError::UnknownKey`] when `keys` lacks that key.
pub fn sign(
    grant: &Grant,
    keys: &Keys,
    now: u64,
    ttl: Option<Duration>,
) -> Result<String, TokenError> {
    let secret = keys
        .secret(&grant.api_key)
        .ok_or_else(|| TokenError::UnknownKey(printable(&grant.api_key, 64)))?;
    let claims = Claims {
        iss: grant.api_key.clone(),
        sub: grant.identity.clone(),
        principal: grant.principal.clone(),
        nbf: Some(grant.not_before.unwrap_or(now) as f64),
        exp: ttl.map(|ttl| (now + ttl.as_secs()) as f64),
        name: grant.name.clone(),
        metadata: grant.metadata.clone(),
        attributes: grant.attributes.clone(),
        kind: grant.kind.clone(),
        kind_details: grant.kind_details.clone(),
        video: grant.video.clone(),
        sip: grant.sip,
        room_config: grant
            .room_config
            .as_ref()
            .and_then(|config| serde_json::to_value(config).ok()),
        room_preset: grant.room_preset.clone(),
        sha256: grant.sha256.clone(),
    };
    // Strings, numbers and maps with string keys always serialise.
    let claims = serde_json::to_vec(&claims).map_err(|_| TokenError::Malformed)?;
    let signed = format!(
        "{}.{}",
        BASE64.encode(br#"{"alg":"HS256","typ":"JWT"}"#),
        BASE64.encode(claims)
    );
    let signature = hmac::sign(&secret, signed.as_bytes());
    Ok(format!("{signed}.{}", BASE64.encode(signature)))
}

/// Signs `body` with the secret of `api_key`: a token that is valid from `now` (seconds since 1970) for `ttl`, and
/// whose claim `sha256` is the body's digest in base64. Receivers of webhooks check both.
///
/// Fails with [`TokenError::UnknownKey`] when `keys` lacks that key.
pub fn sign_body(
    body: &[u8],
    api_key: &str,
    keys: &Keys,
    now: u64,
    ttl: Duration,
) -> Result<String, TokenError> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
    let grant = Grant {
        api_key: api_key.to_owned(),
        sha256: base64::engine::general_purpose::STANDARD.encode(digest),
        ..Grant::default()
    };
    sign(&grant, keys, now, Some(ttl))
}

#[cfg(test)]
mod tests;
