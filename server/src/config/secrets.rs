//! API keys in the file and in the environment, and nothing of their secrets in any message.

use std::{collections::BTreeMap, fmt};

use protocol::token::Keys;
use serde::{Deserialize, Deserializer};

pub(super) fn parse_keys(text: &str) -> Result<Keys, String> {
    let pairs = text.split(',').map(|pair| {
        let (key, secret) = pair
            .split_once(':')
            .ok_or("expected `id: secret`, separated by commas")?;
        check_key(key.trim(), secret.trim())
    });
    Ok(Keys::new(pairs.collect::<Result<Vec<_>, _>>()?))
}

fn check_key(key: &str, secret: &str) -> Result<(String, String), String> {
    match (key, secret) {
        ("", _) => Err("an API key needs an id".to_owned()),
        (_, "") => Err(format!("API key {key} needs a secret")),
        _ => Ok((key.to_owned(), secret.to_owned())),
    }
}

/// A secret whose text no error message repeats.
struct Secret(String);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret in quotes")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret(text.to_owned()))
            }
            fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Secret, E> {
                Err(E::custom("expected a secret in quotes"))
            }
            fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Secret, E> {
                Err(E::custom("expected a secret in quotes"))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

pub(super) fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
    let pairs = BTreeMap::<String, Secret>::deserialize(deserializer)?;
    let pairs = pairs.iter().map(|(key, secret)| check_key(key, &secret.0));
    Ok(Keys::new(
        pairs
            .collect::<Result<Vec<_>, _>>()
            .map_err(serde::de::Error::custom)?,
    ))
}
