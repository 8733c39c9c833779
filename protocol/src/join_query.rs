//! The query of `GET /rtc`: clients of the older protocol have there what newer ones have in a `JoinRequest`.

use std::collections::HashMap;

use base64::Engine;

use crate::{
    livekit::{
        ClientInfo, ConnectionSettings, JoinRequest, ReconnectReason,
        client_info::{Capability, Sdk},
    },
    signal::BASE64,
};

/// The reason why a query was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinQueryError {
    /// The value is not a number.
    #[error("{0} is not a number")]
    Number(&'static str),
    /// The value is neither yes nor no.
    #[error("{0} is neither 0 nor 1")]
    Flag(&'static str),
    /// `attributes` is not base64url of a JSON object of strings.
    #[error("cannot decode attributes")]
    Attributes,
}

/// Reads a query, as percent-decoded names and values; of several values for a name, the first. Names that we do not
/// know are ignored, and so are unknown SDKs and capabilities: newer clients may have more.
///
/// # Errors
/// [`JoinQueryError`] when a value is not of its kind.
pub fn join_request_of_query(query: &[(String, String)]) -> Result<JoinRequest, JoinQueryError> {
    let query = Query(query);
    let settings = ConnectionSettings {
        auto_subscribe: query.flag("auto_subscribe")?.unwrap_or(true),
        adaptive_stream: query.flag("adaptive_stream")?.unwrap_or_default(),
        subscriber_allow_pause: query.flag("subscriber_allow_pause")?,
        disable_ice_lite: query.flag("disable_ice_lite")?.unwrap_or_default(),
        auto_subscribe_data_track: query.flag("auto_subscribe_data_track")?,
    };
    let client = ClientInfo {
        sdk: sdk(&query.text("sdk")).into(),
        version: query.text("version"),
        protocol: query.number("protocol")?,
        os: query.text("os"),
        os_version: query.text("os_version"),
        device_model: query.text("device_model"),
        browser: query.text("browser"),
        browser_version: query.text("browser_version"),
        network: query.text("network"),
        client_protocol: query.number("client_protocol")?,
        capabilities: capabilities(&query.text("capabilities")),
        ..ClientInfo::default()
    };
    let reason = query.number("reconnect_reason")?;
    Ok(JoinRequest {
        client_info: Some(client),
        connection_settings: Some(settings),
        participant_attributes: attributes(&query.text("attributes"))?,
        reconnect: query.flag("reconnect")?.unwrap_or_default(),
        reconnect_reason: ReconnectReason::try_from(reason)
            .unwrap_or(ReconnectReason::RrUnknown)
            .into(),
        participant_sid: query.text("sid"),
        ..JoinRequest::default()
    })
}

struct Query<'a>(&'a [(String, String)]);

impl Query<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        (!value.is_empty()).then_some(value)
    }

    fn text(&self, name: &str) -> String {
        self.value(name).unwrap_or_default().to_owned()
    }

    /// The number with this name; 0 where there is none.
    fn number(&self, name: &'static str) -> Result<i32, JoinQueryError> {
        let parse = |value: &str| value.parse().map_err(|_| JoinQueryError::Number(name));
        self.value(name).map_or(Ok(0), parse)
    }

    fn flag(&self, name: &'static str) -> Result<Option<bool>, JoinQueryError> {
        match self.value(name).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(None),
            Some("1" | "true") => Ok(Some(true)),
            Some("0" | "false") => Ok(Some(false)),
            Some(_) => Err(JoinQueryError::Flag(name)),
        }
    }
}

/// The SDK with this name. Clients write it without separators, in lower case (`reactnative`).
fn sdk(name: &str) -> Sdk {
    let known = |value: i32| Sdk::try_from(value).ok();
    let is_named = |sdk: &Sdk| {
        sdk.as_str_name()
            .replace('_', "")
            .eq_ignore_ascii_case(name)
    };
    // The numbers are contiguous.
    (0..)
        .map_while(known)
        .find(is_named)
        .unwrap_or(Sdk::Unknown)
}

/// The capabilities in a list of names with commas between.
fn capabilities(names: &str) -> Vec<i32> {
    let known = |name: &str| Capability::from_str_name(name.trim()).map(Into::into);
    names.split(',').filter_map(known).collect()
}

fn attributes(text: &str) -> Result<HashMap<String, String>, JoinQueryError> {
    if text.is_empty() {
        return Ok(HashMap::new());
    }
    let json = BASE64
        .decode(text)
        .map_err(|_| JoinQueryError::Attributes)?;
    // An attribute that is `null` counts as not set, as in tokens.
    let attributes: HashMap<String, Option<String>> =
        serde_json::from_slice(&json).map_err(|_| JoinQueryError::Attributes)?;
    let set = attributes
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    Ok(set.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(query: &[(&str, &str)]) -> Result<JoinRequest, JoinQueryError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        join_request_of_query(&query.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_a_browser_says_is_read() {
        let request = read(&[
            ("auto_subscribe", "0"),
            ("sdk", "js"),
            ("version", "2.15.16"),
            ("protocol", "16"),
            ("client_protocol", "1"),
            ("browser", "Firefox"),
            ("adaptive_stream", "1"),
            ("subscriber_allow_pause", "0"),
            ("reconnect", "1"),
            ("sid", "PA_1"),
            ("reconnect_reason", "3"),
            ("tomorrow", "x"),
        ])
        .unwrap();
        let client = request.client_info.unwrap();
        assert_eq!((client.sdk(), client.protocol), (Sdk::Js, 16));
        assert_eq!(
            (client.version.as_str(), client.client_protocol),
            ("2.15.16", 1)
        );
        assert_eq!(client.browser, "Firefox");
        let settings = request.connection_settings.unwrap();
        assert!(!settings.auto_subscribe && settings.adaptive_stream);
        assert_eq!(settings.subscriber_allow_pause, Some(false));
        assert!(request.reconnect);
        assert_eq!(
            (request.participant_sid.as_str(), request.reconnect_reason),
            ("PA_1", 3)
        );
    }

    #[test]
    fn who_says_nothing_subscribes_to_everything() {
        let request = read(&[]).unwrap();
        let settings = request.connection_settings.unwrap();
        assert!(settings.auto_subscribe && !settings.adaptive_stream);
        assert_eq!(settings.subscriber_allow_pause, None);
        assert!(!request.reconnect);
    }

    #[test]
    fn capabilities_sdks_and_attributes_are_read() {
        let text = BASE64.encode(r#"{"colour":"red","role":null}"#);
        let names = "CAP_PACKET_TRAILER,CAP_OF_TOMORROW,CAP_COMPRESSION_DEFLATE_RAW";
        let request = read(&[
            ("capabilities", names),
            ("sdk", "reactnative"),
            ("attributes", &text),
        ]);
        let request = request.unwrap();
        let client = request.client_info.unwrap();
        assert_eq!(
            (client.sdk(), client.capabilities),
            (Sdk::ReactNative, vec![1, 2])
        );
        assert_eq!(request.participant_attributes["colour"], "red");
        assert_eq!(request.participant_attributes.len(), 1);
        let unknown = read(&[("sdk", "abacus")]).unwrap().client_info.unwrap();
        assert_eq!(unknown.sdk(), Sdk::Unknown);
    }

    #[test]
    fn a_value_that_is_not_of_its_kind_is_named() {
        use JoinQueryError as E;
        assert_eq!(read(&[("protocol", "many")]), Err(E::Number("protocol")));
        assert_eq!(
            read(&[("protocol", "99999999999")]),
            Err(E::Number("protocol"))
        );
        assert_eq!(
            read(&[("auto_subscribe", "perhaps")]),
            Err(E::Flag("auto_subscribe"))
        );
        assert_eq!(read(&[("attributes", "!")]), Err(E::Attributes));
        assert_eq!(
            read(&[("attributes", &BASE64.encode("[1]"))]),
            Err(E::Attributes)
        );
        assert_eq!(
            E::Flag("reconnect").to_string(),
            "reconnect is neither 0 nor 1"
        );
    }

    proptest! {
        #[test]
        fn random_queries_never_panic(name in "[a-z_]{1,20}", value in ".{0,60}") {
            let _ = read(&[(&name, &value), ("attributes", &value), ("protocol", &value), ("sdk", &value)]);
        }
    }
}
