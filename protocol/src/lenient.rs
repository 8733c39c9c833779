//! JSON as livekit-server reads it: Go's `encoding/json` for the claims of tokens, protobuf's JSON mapping for the API.
//! Applications in .NET, Java, PHP and Python write `null` for a value that is not set, and `64.0` for a number without
//! a fraction.

use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

/// Reads a message in protobuf's JSON mapping: a field that is `null` is not set, and `64.0` is an integer. `None` for
/// text that is no such message. An element of a list that is `null` is left out. A list of `null`s only is malformed:
/// a caller that means nobody must not reach everybody.
pub fn message<M: DeserializeOwned>(json: &[u8]) -> Option<M> {
    let mut value = object(json)?;
    drop_nulls(&mut value);
    make_integers(&mut value);
    serde_json::from_value(value).ok()
}

/// Reads an object. (`serde` would also read a struct from an array, by position.)
pub(crate) fn object(json: &[u8]) -> Option<Value> {
    serde_json::from_slice(json).ok().filter(Value::is_object)
}

/// Leaves out `null`s in objects and in lists; of a list that holds nothing else one `null` stays.
pub(crate) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(drop_nulls);
        }
        Value::Array(values) => {
            if values.iter().all(Value::is_null) {
                values.truncate(1);
            } else {
                values.retain(|value| !value.is_null());
                values.iter_mut().for_each(drop_nulls);
            }
        }
        _ => {}
    }
}

/// Numbers without a fraction become integers.
pub(crate) fn make_integers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(integer) = integer(number) {
                *number = integer;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(make_integers),
        Value::Object(object) => object.values_mut().for_each(make_integers),
        _ => {}
    }
}

fn integer(number: &Number) -> Option<Number> {
    // Whole numbers up to here are exact in a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = number.as_f64().filter(|_| number.is_f64())?;
    (float.fract() == 0.0 && float.abs() <= EXACT).then(|| (float as i64).into())
}

/// Gives the entries of `object` the names in `names` that they match without regard to case. Where several match one,
/// the exact one counts.
pub(crate) fn fold_names(object: &mut Map<String, Value>, names: &[&str]) {
    let folded = |name: &String| {
        let of = |known: &&&str| known.eq_ignore_ascii_case(name) && **known != name;
        Some((name.clone(), *names.iter().find(of)?))
    };
    let renamed: Vec<_> = object.keys().filter_map(folded).collect();
    for (name, known) in renamed {
        if let Some(value) = object.remove(&name)
            && object.get(known).is_none_or(Value::is_null)
        {
            object.insert(known.to_owned(), value);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::livekit::{
        CreateRoomRequest, SendDataRequest, UpdateParticipantRequest, UpdateSubscriptionsRequest,
    };
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_is_null_is_not_set_and_a_whole_number_is_an_integer() {
        let request = json!({
            "name": "r", "empty_timeout": null, "maxParticipants": 64.0, "departureTimeout": 6.0e1,
            "metadata": null, "egress": null, "agents": null, "tags": null, "nodeId": null, "news": null,
        });
        let expected = CreateRoomRequest {
            name: "r".into(),
            max_participants: 64,
            departure_timeout: 60,
            ..CreateRoomRequest::default()
        };
        assert_eq!(message(request.to_string().as_bytes()), Some(expected));
        let request = json!({"room": "r", "identity": "i", "attributes": {"a": null, "b": "c"}, "permission": null});
        let read: UpdateParticipantRequest = message(request.to_string().as_bytes()).unwrap();
        assert_eq!((read.attributes.len(), read.permission), (1, None));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for json in [
            "",
            "null",
            "[]",
            "1",
            "{",
            r#"{"name":1}"#,
            r#"{"maxParticipants":64.5}"#,
            r#"{"maxParticipants":-1}"#,
            r#"{"maxParticipants":1e300}"#,
        ] {
            assert_eq!(
                message::<CreateRoomRequest>(json.as_bytes()),
                None,
                "{json}"
            );
        }
    }

    #[test]
    fn nobody_is_not_everybody() {
        let to = |list: &str| {
            let json = format!(r#"{{"room":"r","destinationIdentities":{list}}}"#);
            message::<SendDataRequest>(json.as_bytes()).map(|read| read.destination_identities)
        };
        assert_eq!(to("[]"), Some(vec![]));
        assert_eq!(to("null"), Some(vec![]));
        assert_eq!(to(r#"["a",null]"#), Some(vec!["a".to_owned()]));
        assert_eq!(to("[null]"), None);
        assert_eq!(to("[null,null]"), None);
    }

    /// Requests with something in every kind of field: texts, numbers, flags, enums, bytes, lists, maps, messages.
    fn requests() -> [Value; 3] {
        [
            json!({"room": "r", "identity": "i", "metadata": "m", "name": "n", "attributes": {"a": "b", "c": "d"},
                "permission": {"canSubscribe": true, "canPublish": true, "canPublishSources": ["CAMERA", "MICROPHONE"]}}),
            json!({"room": "r", "identity": "i", "trackSids": ["a", "b"], "subscribe": true,
                "participantTracks": [{"participantSid": "p", "trackSids": ["c", "d"]}, {"participantSid": "q"}]}),
            json!({"room": "r", "data": "aGk=", "kind": "LOSSY", "destinationSids": ["x", "y"], "topic": "t", "nonce": "aGk=",
                "destinationIdentities": ["a", "b"]}),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_set_to_null_is_as_if_it_were_absent(which in 0usize..3, at in any::<prop::sample::Index>()) {
            let request = requests()[which].clone();
            let paths = paths(&request);
            let path = &paths[at.index(paths.len())];
            let (with_null, without) = (set_null(&request, path), removed(&request, path));
            let (with_null, without) = (with_null.to_string(), without.to_string());
            let (a, b) = (with_null.as_bytes(), without.as_bytes());
            match which {
                0 => prop_assert_eq!(message::<UpdateParticipantRequest>(a), message::<UpdateParticipantRequest>(b)),
                1 => prop_assert_eq!(message::<UpdateSubscriptionsRequest>(a), message::<UpdateSubscriptionsRequest>(b)),
                _ => prop_assert_eq!(message::<SendDataRequest>(a), message::<SendDataRequest>(b)),
            }
        }

        #[test]
        fn random_text_never_panics(text in r#"[\[\]{}:,"0-9a-z.eE+\-null]{0,60}"#) {
            let _ = message::<SendDataRequest>(text.as_bytes());
        }
    }

    /// The ways to everything in a value, as JSON pointers.
    pub(crate) fn paths(value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let entries: Vec<(String, &Value)> = match value {
            Value::Object(object) => object
                .iter()
                .map(|(key, value)| (key.clone(), value))
                .collect(),
            Value::Array(values) => (0..).map(|i: usize| i.to_string()).zip(values).collect(),
            _ => Vec::new(),
        };
        for (key, value) in entries {
            found.push(format!("/{key}"));
            found.extend(paths(value).into_iter().map(|path| format!("/{key}{path}")));
        }
        found
    }

    pub(crate) fn set_null(value: &Value, path: &str) -> Value {
        let mut value = value.clone();
        *value.pointer_mut(path).unwrap() = Value::Null;
        value
    }

    pub(crate) fn removed(value: &Value, path: &str) -> Value {
        let mut value = value.clone();
        let (parent, key) = path.rsplit_once('/').unwrap();
        match value.pointer_mut(parent).unwrap() {
            Value::Object(object) => {
                object.remove(key);
            }
            Value::Array(values) => {
                values.remove(key.parse().unwrap());
            }
            _ => unreachable!(),
        }
        value
    }
}
