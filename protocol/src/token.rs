//! Access tokens: a JWT (RFC 7519) signed with HMAC-SHA-256 by one of our API keys, turned into a [`Grant`].
//!
//! The only accepted algorithm is `HS256`: the header cannot choose another one, and key ids in the header mean nothing.

use std::{borrow::Cow, collections::BTreeMap, fmt, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::{Deserialize, Deserializer, Serialize, de};

use serde_json::Value;

use crate::{ParticipantIdentity, RoomName, lenient, livekit::RoomConfiguration};

/// How far the clocks of the application and of this server may differ, seconds. LiveKit's value.
pub const LEEWAY_SECONDS: u64 = 60;

/// The longest token we look at: one that carries the longest metadata (512 KiB) and attributes (64 KiB) there may be.
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

    /// These keys and another one; one of the same id gives way.
    #[must_use]
    pub fn with(mut self, key: &str, secret: impl Into<Vec<u8>>) -> Self {
        self.0.insert(key.to_owned(), secret.into());
        self
    }

    /// Is there no key at all?
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

/// Why a token was refused. The texts are those livekit-server 1.13 answers with, without the token itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a JWT with readable claims.
    #[error("invalid authorization token")]
    Malformed,
    /// The issuer is none of our keys. Holds at most 64 printable characters of it.
    #[error("invalid API key: {0}")]
    UnknownKey(String),
    /// Signed (or not signed) with another algorithm than HS256. Holds at most 16 printable characters of its name.
    #[error("invalid token: token signature is invalid: signing method {0} is invalid")]
    Algorithm(String),
    /// Wrong secret, or the claims were changed.
    #[error("invalid token: token signature is invalid: signature is invalid")]
    Signature,
    /// `exp` has passed.
    #[error("invalid token: token has invalid claims: token is expired")]
    Expired,
    /// `nbf` has not come.
    #[error("invalid token: token has invalid claims: token is not valid yet")]
    NotYetValid,
}

/// What the holder of a valid token is, and may do.
#[derive(Clone, PartialEq, Default)]
pub struct Grant {
    /// The API key that signed (`iss`).
    pub api_key: String,
    /// Who (`sub`). May be empty in tokens for the server API.
    pub identity: String,
    /// Whose further device this is: an identity, or empty for nobody's ([`Grant::principal`]).
    pub principal: String,
    /// Display name.
    pub name: String,
    /// Free text of the application.
    pub metadata: String,
    /// Free key/value pairs of the application.
    pub attributes: BTreeMap<String, String>,
    /// `standard`, `agent`, `sip`, …; empty means standard.
    pub kind: String,
    /// `cloud_agent`, `forwarded`, ….
    pub kind_details: Vec<String>,
    /// Rooms and media. `None` when the token has no `video` claim.
    pub video: Option<VideoGrant>,
    /// Telephony. `None` when the token has no `sip` claim.
    pub sip: Option<SipGrant>,
    /// Settings of the room, when this token opens it. Ignored where they are not readable.
    pub room_config: Option<Box<RoomConfiguration>>,
    /// Name of a preset of room settings.
    pub room_preset: String,
    /// Base64 of the SHA-256 of the body the token belongs to (webhooks).
    pub sha256: String,
    /// `nbf`, seconds since 1970: since when the token is valid.
    pub not_before: Option<u64>,
    /// `exp`, seconds since 1970; `None` when the token never expires.
    pub expires_at: Option<u64>,
}

impl Grant {
    /// Who, as an identity.
    pub fn identity(&self) -> ParticipantIdentity {
        self.identity.as_str().into()
    }

    /// To whom all that this holder does is charged, and with whom it leaves: itself, unless it is a companion, which
    /// publishes from another device of the same person.
    pub fn principal(&self) -> ParticipantIdentity {
        match self.principal.as_str() {
            "" => self.identity(),
            principal => principal.into(),
        }
    }

    /// The room the token is for; `None` without a `video` claim or when that names no room.
    pub fn room(&self) -> Option<RoomName> {
        let room = self.video.as_ref()?.room.as_str();
        (!room.is_empty()).then(|| room.into())
    }

    /// The `video` claim; without one, a claim that allows nothing that must be granted.
    pub fn video(&self) -> VideoGrant {
        self.video.clone().unwrap_or_default()
    }
}

impl fmt::Debug for Grant {
    /// Redacted: neither names nor metadata of people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("identity", &self.identity())
            .field("video", &self.video)
            .field("sip", &self.sip)
            .finish_non_exhaustive()
    }
}

/// The `video` claim. An unset option means yes, except for `can_update_own_metadata`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VideoGrant {
    /// May create and delete rooms.
    #[serde(skip_serializing_if = "is_false")]
    pub room_create: bool,
    /// May list rooms.
    #[serde(skip_serializing_if = "is_false")]
    pub room_list: bool,
    /// May start recordings.
    #[serde(skip_serializing_if = "is_false")]
    pub room_record: bool,
    /// May moderate [`VideoGrant::room`].
    #[serde(skip_serializing_if = "is_false")]
    pub room_admin: bool,
    /// May join [`VideoGrant::room`].
    #[serde(skip_serializing_if = "is_false")]
    pub room_join: bool,
    /// The room all this is about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub room: String,
    /// May publish tracks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    /// May receive tracks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    /// May send data packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    /// The sources it may publish (`camera`, `microphone`, `screen_share`, `screen_share_audio`); empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub can_publish_sources: Vec<String>,
    /// May change its own name, metadata and attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    /// May manage ingress.
    #[serde(skip_serializing_if = "is_false")]
    pub ingress_admin: bool,
    /// Others do not see it.
    #[serde(skip_serializing_if = "is_false")]
    pub hidden: bool,
    /// It records.
    #[serde(skip_serializing_if = "is_false")]
    pub recorder: bool,
    /// It is an agent or, in a token that is for no room, may register as a worker.
    #[serde(skip_serializing_if = "is_false")]
    pub agent: bool,
    /// May receive metrics of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe_metrics: Option<bool>,
    /// May control an agent's session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_manage_agent_session: Option<bool>,
    /// The room a participant may be moved or forwarded to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination_room: String,
}

impl VideoGrant {
    /// May publish tracks.
    pub fn may_publish(&self) -> bool {
        self.can_publish.unwrap_or(true)
    }

    /// May receive tracks.
    pub fn may_subscribe(&self) -> bool {
        self.can_subscribe.unwrap_or(true)
    }

    /// May send data packets.
    pub fn may_publish_data(&self) -> bool {
        // LiveKit: unset follows can_publish.
        self.can_publish_data.unwrap_or_else(|| self.may_publish())
    }

    /// May change its own name, metadata and attributes.
    pub fn may_update_own_metadata(&self) -> bool {
        self.can_update_own_metadata.unwrap_or(false)
    }
}

impl fmt::Debug for VideoGrant {
    /// Redacted: not the rooms.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VideoGrant")
            .field("room_create", &self.room_create)
            .field("room_list", &self.room_list)
            .field("room_admin", &self.room_admin)
            .field("room_join", &self.room_join)
            .field("can_publish", &self.can_publish)
            .field("can_subscribe", &self.can_subscribe)
            .field("hidden", &self.hidden)
            .finish_non_exhaustive()
    }
}

/// The `sip` claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SipGrant {
    /// May manage trunks and dispatch rules.
    #[serde(skip_serializing_if = "is_false")]
    pub admin: bool,
    /// May make calls.
    #[serde(skip_serializing_if = "is_false")]
    pub call: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The claims as they are written.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Claims {
    iss: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    sub: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    principal: String,
    // NumericDate (RFC 7519, section 2) may have a fraction.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "date")]
    nbf: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "date")]
    exp: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    metadata: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kind_details: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    video: Option<VideoGrant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sip: Option<SipGrant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_config: Option<Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    room_preset: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    sha256: String,
}

/// Names of claims, which are matched without regard to case; not those of attributes and of `roomConfig`.
const CLAIMS: [&str; 15] = [
    "iss",
    "sub",
    "nbf",
    "exp",
    "name",
    "metadata",
    "attributes",
    "kind",
    "kindDetails",
    "video",
    "sip",
    "roomConfig",
    "roomPreset",
    "sha256",
    "principal",
];

/// Those of the `video` claim.
const VIDEO: [&str; 18] = [
    "roomCreate",
    "roomList",
    "roomRecord",
    "roomAdmin",
    "roomJoin",
    "room",
    "canPublish",
    "canSubscribe",
    "canPublishData",
    "canPublishSources",
    "canUpdateOwnMetadata",
    "ingressAdmin",
    "hidden",
    "recorder",
    "agent",
    "canSubscribeMetrics",
    "canManageAgentSession",
    "destinationRoom",
];

/// Those of the `sip` claim.
const SIP: [&str; 2] = ["admin", "call"];

#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// The one claim that is looked at before the signature is. The others cost nothing until then.
struct Issuer(String);

impl<'de> Deserialize<'de> for Issuer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Issuer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("claims")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut claims: A) -> Result<Issuer, A::Error> {
                let (mut exact, mut folded) = (None, None);
                while let Some(name) = claims.next_key::<Cow<'de, str>>()? {
                    match &*name {
                        "iss" => exact = claims.next_value::<Option<String>>()?,
                        name if name.eq_ignore_ascii_case("iss") => folded = claims.next_value()?,
                        _ => {
                            claims.next_value::<de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(Issuer(exact.or(folded).unwrap_or_default()))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A number, or a text that is one: so Go reads it.
fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let number = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(None),
        Value::Number(number) => Some(number),
        // serde would let blanks stand around it.
        Value::String(text) if text.bytes().all(|byte| !byte.is_ascii_whitespace()) => {
            serde_json::from_str(&text).ok()
        }
        _ => None,
    };
    let number = number.and_then(|number: serde_json::Number| number.as_f64());
    number.map(Some).ok_or(de::Error::custom("not a date"))
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
    // Nothing of the claims but the issuer is read before the signature is checked.
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
    let mut claims = read_claims(&claims)?;
    // Where several names match `iss`, it is the one whose key has signed.
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

/// As Go reads them: what is `null` is not set, and names match without regard to case.
fn read_claims(json: &[u8]) -> Result<Claims, TokenError> {
    let mut claims = lenient::object(json).ok_or(TokenError::Malformed)?;
    if let Value::Object(claims) = &mut claims {
        lenient::fold_names(claims, &CLAIMS);
        for (claim, names) in [("video", VIDEO.as_slice()), ("sip", &SIP)] {
            if let Some(Value::Object(claim)) = claims.get_mut(claim) {
                lenient::fold_names(claim, names);
            }
        }
    }
    lenient::drop_nulls(&mut claims);
    for list in ["/video/canPublishSources", "/kindDetails"] {
        // A list of nothing else names something that does not exist, not everything.
        if let Some(Value::Array(values)) = claims.pointer_mut(list) {
            for value in values.iter_mut().filter(|value| value.is_null()) {
                *value = "".into();
            }
        }
    }
    serde_json::from_value(claims).map_err(|_| TokenError::Malformed)
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

/// What a stranger wrote, short and without control characters, so that it may stand in an answer or a log.
fn printable(text: &str, max: usize) -> String {
    text.chars()
        .filter(|c| c.is_ascii_graphic())
        .take(max)
        .collect()
}

impl From<Claims> for Grant {
    fn from(claims: Claims) -> Self {
        Self {
            api_key: claims.iss,
            identity: claims.sub,
            principal: claims.principal,
            name: claims.name,
            metadata: claims.metadata,
            attributes: claims.attributes,
            kind: claims.kind,
            kind_details: claims.kind_details,
            video: claims.video,
            sip: claims.sip,
            room_config: claims
                .room_config
                .and_then(|mut json| {
                    lenient::make_integers(&mut json);
                    serde_json::from_value(json).ok()
                })
                .map(Box::new),
            room_preset: claims.room_preset,
            sha256: claims.sha256,
            not_before: claims.nbf.map(|nbf| nbf.max(0.0) as u64),
            expires_at: claims.exp.map(|exp| exp.max(0.0) as u64),
        }
    }
}

/// Signs a token for `grant` with the secret of `grant.api_key`, valid from [`Grant::not_before`] until `ttl` after `now`
/// (seconds since 1970); without `ttl` it does not expire. A grant without `not_before` is valid from `now`.
///
/// A token that takes the place of another one is as old as that: what revokes the one revokes the other.
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
