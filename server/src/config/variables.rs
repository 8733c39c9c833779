//! The names of environment variables: those of the settings, as the structs of the configuration have them, and those
//! that others set for their own purposes.

use serde::{
    Deserialize, Deserializer,
    de::{IntoDeserializer, Visitor, value::Error},
    forward_to_deserialize_any,
};

use super::Config;

/// The prefix of our variables.
pub(super) const PREFIX: &str = "CONCLAVE_";

/// The variable with API keys.
pub(super) const KEYS: &str = "CONCLAVE_KEYS";

/// Variables that are read elsewhere: by `conclave token create`.
const OTHERS: [&str; 1] = ["CONCLAVE_API_SECRET"];

/// The most letters that are wrong, missing, too many or swapped in a name that is taken for a misspelt one.
const WRONG_LETTERS: usize = 2;

/// Whether the variable is set on purpose for somebody else. Kubernetes sets variables for each service of a namespace,
/// named after it: for one called `conclave` or `conclave-…` they begin as ours do.
pub(super) fn is_others(name: &str, value: &str) -> bool {
    OTHERS.contains(&name) || is_service_link(name, value)
}

/// Whether Kubernetes set the variable for a service: `CONCLAVE_SERVICE_HOST`, `CONCLAVE_SERVICE_PORT_HTTP`,
/// `CONCLAVE_PORT` with an address, `CONCLAVE_PORT_7880_TCP_ADDR` (Kubernetes, "Accessing the Service", environment
/// variables).
fn is_service_link(name: &str, value: &str) -> bool {
    let is_address = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let has_number = |(_, rest): (&str, &str)| {
        let mut words = rest.split('_');
        words.next().is_some_and(|word| word.parse::<u16>().is_ok())
            && matches!(words.next(), Some("TCP" | "UDP" | "SCTP"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT") && is_address
        || name.split_once("_PORT_").is_some_and(has_number)
}

/// The table and the key that a variable sets. There is no key outside of tables.
pub(super) fn setting(name: &str) -> Option<(&'static str, &'static str)> {
    let all = settings();
    let of = |(section, key): &(&str, &str)| name.eq_ignore_ascii_case(&variable(section, key));
    all.into_iter().find(of)
}

/// The variable that was meant by `name`, where one is close.
pub(super) fn closest(name: &str) -> Option<String> {
    let name = name.to_ascii_uppercase();
    let names = settings().into_iter().map(|(s, key)| variable(s, key));
    let known = names.chain(OTHERS.into_iter().chain([KEYS]).map(str::to_owned));
    known
        .map(|known| (strsim::damerau_levenshtein(&known, &name), known))
        .filter(|(wrong, _)| *wrong <= WRONG_LETTERS)
        .min()
        .map(|(_, known)| known)
}

fn variable(section: &str, key: &str) -> String {
    format!("{PREFIX}{section}_{key}").to_ascii_uppercase()
}

/// All settings, by table and key, as `serde` knows them.
fn settings() -> Vec<(&'static str, &'static str)> {
    let mut settings = Vec::new();
    let names = Names {
        section: None,
        settings: &mut settings,
    };
    // Everything has a default, therefore nothing is missing.
    let config = Config::deserialize(names);
    debug_assert!(config.is_ok(), "{config:?}");
    settings
}

/// A deserializer to defaults that notes which fields are asked for: of the whole, then of each table in it.
struct Names<'a> {
    section: Option<&'static str>,
    settings: &'a mut Vec<(&'static str, &'static str)>,
}

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.section {
            None => visitor.visit_map(Tables {
                left: fields.iter(),
                settings: self.settings,
            }),
            Some(section) => {
                self.settings
                    .extend(fields.iter().map(|key| (section, *key)));
                self.deserialize_any(visitor)
            }
        }
    }

    /// An empty table.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let none = std::iter::empty::<(&str, &str)>();
        visitor.visit_map(serde::de::value::MapDeserializer::new(none))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The tables of the configuration, each an empty one.
struct Tables<'a> {
    left: std::slice::Iter<'static, &'static str>,
    settings: &'a mut Vec<(&'static str, &'static str)>,
}

impl<'de> serde::de::MapAccess<'de> for Tables<'_> {
    type Error = Error;

    fn next_key_seed<K: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let next = self.left.as_slice().first();
        next.map(|name| seed.deserialize((*name).into_deserializer()))
            .transpose()
    }

    fn next_value_seed<V: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Error> {
        seed.deserialize(Names {
            section: self.left.next().copied(),
            settings: self.settings,
        })
    }
}
