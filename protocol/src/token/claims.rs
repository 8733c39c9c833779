//! The claims of a token: as they are written, and as Go reads them.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::grant::{Grant, SipGrant, VideoGrant};
use crate::lenient;

/// The claims as they are written.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Claims {
    pub iss: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub principal: String,
    // NumericDate (RFC 7519, section 2) may have a fraction.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "date")]
    pub nbf: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "date")]
    pub exp: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kind_details: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoGrant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip: Option<SipGrant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_config: Option<Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub room_preset: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sha256: String,
}

/// Names of claims, which are matched without regard to case; not those of attributes and of `roomConfig`.
pub(super) const CLAIMS: [&str; 15] = [
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

/// Names of the `video` claim's fields.
pub(super) const VIDEO: [&str; 18] = [
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

/// Names of the `sip` claim's fields.
const SIP: [&str; 2] = ["admin", "call"];

/// The issuer, the only claim that is read before the signature is checked. The others cost nothing until then.
pub(super) struct Issuer(pub String);

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

/// Reads a number, or a text that is one, as Go does.
fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let number = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(None),
        Value::Number(number) => Some(number),
        // The check is needed since serde would accept blanks around the number.
        Value::String(text) if text.bytes().all(|byte| !byte.is_ascii_whitespace()) => {
            serde_json::from_str(&text).ok()
        }
        _ => None,
    };
    let number = number.and_then(|number: serde_json::Number| number.as_f64());
    number.map(Some).ok_or(de::Error::custom("not a date"))
}

/// Reads the claims as Go does: a claim that is `null` is not set, and names match without regard to case.
pub(super) fn read_claims(json: &[u8]) -> Option<Claims> {
    let mut claims = lenient::object(json)?;
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
        // A list of `null`s only names something that does not exist, not everything.
        if let Some(Value::Array(values)) = claims.pointer_mut(list) {
            for value in values.iter_mut().filter(|value| value.is_null()) {
                *value = "".into();
            }
        }
    }
    serde_json::from_value(claims).ok()
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
