use serde_json::Value;

use super::{
    claims::{CLAIMS, VIDEO},
    *,
};
use crate::lenient::tests::{paths, removed, set_null};
use proptest::prelude::*;
use serde_json::json;

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "secret-of-at-least-thirty-two-bytes!!";
/// Made once with PyPI livekit-api 1.2.0; expires in 2126.
const FROM_LIVEKIT_API: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJuYW1lIjoiQWRhIiwia2luZCI6ImFnZW50IiwibWV0YWRhdGEiOiJ7fSIsInZpZGVvIjp7InJvb21Kb2luIjp0cnVlLCJyb29tIjoiU2FsbGUgMSIsImNhblB1Ymxpc2giOnRydWUsImNhblN1YnNjcmliZSI6ZmFsc2UsImNhblB1Ymxpc2hEYXRhIjp0cnVlLCJjYW5QdWJsaXNoU291cmNlcyI6WyJjYW1lcmEiLCJtaWNyb3Bob25lIl0sImNhblVwZGF0ZU93bk1ldGFkYXRhIjp0cnVlLCJoaWRkZW4iOnRydWV9LCJzaXAiOnsiYWRtaW4iOnRydWUsImNhbGwiOmZhbHNlfSwiYXR0cmlidXRlcyI6eyJjb2xvciI6InJlZCJ9LCJzaGEyNTYiOiJhYmM9Iiwicm9vbUNvbmZpZyI6eyJuYW1lIjoiY29uZiIsImVtcHR5VGltZW91dCI6NywibWF4UGFydGljaXBhbnRzIjozLCJtZXRhZGF0YSI6Im0ifSwic3ViIjoid1x1MDBmNnJsZCIsImlzcyI6ImRldmtleSIsIm5iZiI6MTc5NTMyNjc5MCwiZXhwIjo0OTQ4OTI2NzkwfQ.oIqPSTy67rx0ZCWmil6Qge0p0LftROyDonMiQ-xufjk";

fn keys() -> Keys {
    Keys::new([("devkey", SECRET), ("other", "another secret")])
}

/// A token with exactly these parts, signed with HMAC-SHA-256 whatever the header says.
fn token(header: &str, claims: &str, secret: &str) -> String {
    let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = BASE64.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn hs256(claims: &str) -> String {
    token(r#"{"alg":"HS256"}"#, claims, SECRET)
}

fn message(token: &str) -> String {
    verify(token, &keys(), NOW).unwrap_err().to_string()
}

#[test]
fn a_token_of_livekit_api_verifies_with_all_its_claims() {
    let grant = verify(FROM_LIVEKIT_API, &keys(), NOW).unwrap();
    assert_eq!(grant.identity, "wörld");
    assert_eq!(grant.name, "Ada");
    assert_eq!(grant.kind, "agent");
    assert_eq!(grant.metadata, "{}");
    assert_eq!(grant.attributes["color"], "red");
    assert_eq!(grant.sha256, "abc=");
    assert_eq!(grant.room(), Some("Salle 1".into()));
    assert_eq!(
        grant.sip,
        Some(SipGrant {
            admin: true,
            call: false
        })
    );
    let video = grant.video();
    assert!(video.room_join && video.hidden && video.may_publish());
    assert!(!video.may_subscribe() && video.may_update_own_metadata() && !video.room_admin);
    assert_eq!(video.can_publish_sources, ["camera", "microphone"]);
    let config = grant.room_config.unwrap();
    assert_eq!((config.empty_timeout, config.max_participants), (7, 3));
}

#[test]
fn what_is_signed_verifies_to_the_same_grant() {
    let mut grant = verify(FROM_LIVEKIT_API, &keys(), NOW).unwrap();
    let signed = sign(&grant, &keys(), NOW, Some(Duration::from_secs(600))).unwrap();
    grant.expires_at = Some(NOW + 600);
    assert_eq!(verify(&signed, &keys(), NOW), Ok(grant.clone()));
    grant.not_before = None;
    let signed = sign(&grant, &keys(), NOW, Some(Duration::from_secs(600))).unwrap();
    grant.not_before = Some(NOW);
    assert_eq!(verify(&signed, &keys(), NOW), Ok(grant.clone()));
    grant.api_key = "gone".into();
    assert_eq!(
        sign(&grant, &keys(), NOW, None),
        Err(TokenError::UnknownKey("gone".into()))
    );
}

#[test]
fn unset_options_mean_yes_except_for_own_metadata() {
    let grant = verify(&hs256(r#"{"iss":"devkey","video":{}}"#), &keys(), NOW).unwrap();
    let video = grant.video();
    assert!(video.may_publish() && video.may_subscribe() && video.may_publish_data());
    assert!(!video.may_update_own_metadata());
    let closed = r#"{"iss":"devkey","video":{"canPublish":false,"canSubscribe":false}}"#;
    let video = verify(&hs256(closed), &keys(), NOW).unwrap().video();
    assert!(!video.may_publish() && !video.may_subscribe() && !video.may_publish_data());
}

#[test]
fn only_hs256_is_an_algorithm() {
    let claims = r#"{"iss":"devkey"}"#;
    for alg in [
        "none", "None", "HS512", "HS384", "RS256", "ES256", "hs256", "",
    ] {
        let token = token(&format!(r#"{{"alg":"{alg}"}}"#), claims, SECRET);
        let message = message(&token);
        assert!(
            message.contains(&format!("signing method {alg} is invalid")),
            "{message}"
        );
    }
    let unsigned = format!(
        "{}.{}.",
        BASE64.encode(r#"{"alg":"none"}"#),
        BASE64.encode(claims)
    );
    assert!(message(&unsigned).contains("signing method none is invalid"));
    let unsigned = format!(
        "{}.{}.",
        BASE64.encode(r#"{"alg":"HS256"}"#),
        BASE64.encode(claims)
    );
    assert_eq!(verify(&unsigned, &keys(), NOW), Err(TokenError::Signature));
}

#[test]
fn the_secret_of_another_key_does_not_sign() {
    let claims = r#"{"iss":"devkey"}"#;
    let foreign = token(r#"{"alg":"HS256"}"#, claims, "another secret");
    assert_eq!(verify(&foreign, &keys(), NOW), Err(TokenError::Signature));
    let empty = Keys::new([("devkey", "")]);
    let forged = token(r#"{"alg":"HS256"}"#, claims, "");
    assert_eq!(
        verify(&forged, &empty, NOW),
        Err(TokenError::UnknownKey("devkey".into()))
    );
}

#[test]
fn a_key_id_in_the_header_means_nothing() {
    let injected =
        r#"{"alg":"HS256","kid":"other","jwk":{"kty":"oct","k":"AA"},"jku":"https://example.org"}"#;
    assert!(
        verify(
            &token(injected, r#"{"iss":"devkey"}"#, SECRET),
            &keys(),
            NOW
        )
        .is_ok()
    );
    let other = token(injected, r#"{"iss":"devkey"}"#, "another secret");
    assert_eq!(verify(&other, &keys(), NOW), Err(TokenError::Signature));
}

#[test]
fn an_unknown_key_is_named_without_control_characters() {
    let claims = format!(r#"{{"iss":"a\r\nb{}"}}"#, "x".repeat(1000));
    let message = message(&hs256(&claims));
    assert!(
        message.starts_with("invalid API key: abxx") && message.len() < 90,
        "{message}"
    );
    assert_eq!(message.find('\n'), None);
    assert!(super::verify(&hs256("{}"), &keys(), NOW).is_err());
}

#[test]
fn times_have_a_leeway_of_a_minute() {
    let at = |nbf: i64, exp: i64| {
        let (nbf, exp) = (NOW as i64 + nbf, NOW as i64 + exp);
        let claims = format!(r#"{{"iss":"devkey","nbf":{nbf},"exp":{exp}}}"#);
        verify(&hs256(&claims), &keys(), NOW).err()
    };
    assert_eq!(at(0, 10), None);
    assert_eq!(at(0, -59), None);
    assert_eq!(at(0, -60), Some(TokenError::Expired));
    assert_eq!(at(60, 100), None);
    assert_eq!(at(61, 100), Some(TokenError::NotYetValid));
    assert_eq!(at(0, -(NOW as i64) - 5), Some(TokenError::Expired));
}

#[test]
fn a_token_without_expiry_is_accepted() {
    let grant = verify(&hs256(r#"{"iss":"devkey","sub":"a"}"#), &keys(), NOW).unwrap();
    assert_eq!(grant.expires_at, None);
    assert_eq!(grant.video, None);
    assert_eq!(grant.room(), None);
}

#[test]
fn an_unreadable_room_config_is_ignored_and_other_wrong_types_are_not() {
    let odd = r#"{"iss":"devkey","roomConfig":{"emptyTimeout":"never"}}"#;
    assert_eq!(verify(&hs256(odd), &keys(), NOW).unwrap().room_config, None);
    for claims in [
        r#"{"iss":"devkey","video":1}"#,
        r#"{"iss":5}"#,
        "[]",
        "null",
        "",
    ] {
        assert_eq!(
            verify(&hs256(claims), &keys(), NOW),
            Err(TokenError::Malformed),
            "{claims}"
        );
    }
}

#[test]
fn garbage_is_an_invalid_authorization_token() {
    let long = hs256(&format!(
        r#"{{"iss":"devkey","name":"{}"}}"#,
        "x".repeat(1 << 20)
    ));
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "ä.ö.ü",
        long.as_str(),
        &"a".repeat(1 << 20),
    ] {
        assert_eq!(message(text), "invalid authorization token");
    }
}

#[test]
fn no_error_and_no_debug_output_holds_the_token_or_a_name() {
    let token = hs256(
        r#"{"iss":"devkey","sub":"alice","name":"Alice","exp":1,"video":{"room":"Cabinet"}}"#,
    );
    let signature = token.rsplit_once('.').unwrap().1;
    assert!(!message(&token).contains(signature));
    let grant = verify(&token, &keys(), 1).unwrap();
    let debug = format!("{grant:?} {:?}", keys());
    for secret in ["alice", "Alice", "Cabinet", SECRET] {
        assert!(!debug.contains(secret), "{debug}");
    }
}

/// As La Suite Meet 1.27 writes it, and others that write what is not set.
fn with_everything() -> Value {
    json!({
        "iss": "devkey", "sub": "i", "nbf": NOW, "exp": NOW + 60, "name": "n", "metadata": "m",
        "attributes": {"color": "red", "room_role": "owner"}, "kind": "agent", "sha256": "x",
        "kindDetails": ["cloud_agent", "forwarded"], "roomPreset": "p", "principal": "q", "sip": {"admin": true, "call": true},
        "video": {
            "room": "r", "roomJoin": true, "roomAdmin": true, "roomCreate": true, "roomList": true, "roomRecord": true,
            "canPublish": false, "canSubscribe": false, "canPublishData": false, "canUpdateOwnMetadata": true,
            "canPublishSources": ["camera", "microphone"], "hidden": true, "recorder": true, "agent": true,
            "ingressAdmin": true, "canSubscribeMetrics": true, "canManageAgentSession": true, "destinationRoom": "d",
        },
        "roomConfig": {"name": "r", "emptyTimeout": 7, "maxParticipants": 3, "tags": {"a": "b", "c": "d"},
            "agents": [{"agentName": "a"}, {"agentName": "b"}]},
    })
}

#[test]
fn an_application_that_writes_what_is_not_set_is_let_in() {
    let claims = r#"{"iss":"devkey","sub":"i","name":null,"metadata":null,"kind":null,"nbf":null,"exp":null,
        "attributes":{"color":"hsl(1, 75%, 60%)","room_role":null},"sip":null,"roomConfig":null,"kindDetails":null,
        "video":{"room":"r","roomJoin":true,"canPublish":null,"canPublishSources":["camera",null],"hidden":null}}"#;
    let grant = verify(&hs256(claims), &keys(), NOW).unwrap();
    assert_eq!(grant.attributes.len(), 1);
    assert_eq!((grant.expires_at, grant.sip), (None, None));
    assert!(grant.video().may_publish() && !grant.video().hidden);
    assert_eq!(grant.video().can_publish_sources, ["camera"]);
    // What names nothing is not what names everything.
    let nothing = r#"{"iss":"devkey","video":{"canPublishSources":[null,null]}}"#;
    let grant = verify(&hs256(nothing), &keys(), NOW).unwrap();
    assert_eq!(grant.video().can_publish_sources, [""]);
}

#[test]
fn names_of_claims_match_without_regard_to_case() {
    let mut claims = with_everything();
    let grant = verify(&hs256(&claims.to_string()), &keys(), NOW).unwrap();
    for claim in ["video", "sip"] {
        upper(&mut claims[claim]);
    }
    upper(&mut claims);
    let upper = claims.to_string();
    assert!(upper.contains("CANPUBLISHSOURCES") && upper.contains("room_role"));
    assert_eq!(verify(&hs256(&upper), &keys(), NOW), Ok(grant.clone()));
    assert_eq!(grant.attributes.len(), 2);
    // The names that are written are those that are matched.
    let signed = sign(&grant, &keys(), NOW, None).unwrap();
    let written = BASE64.decode(signed.split('.').nth(1).unwrap()).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    let names = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let known = |name: &String, names: &[&str]| assert!(names.contains(&name.as_str()), "{name}");
    names(&written).iter().for_each(|name| known(name, &CLAIMS));
    let video = names(&written["video"]);
    assert_eq!(video.len(), VIDEO.len());
    video.iter().for_each(|name| known(name, &VIDEO));
    // The exact name counts.
    let both = r#"{"ISS":"nobody","iss":"devkey","Video":{"roomAdmin":true},"video":{"room":"r"}}"#;
    let video = verify(&hs256(both), &keys(), NOW).unwrap().video();
    assert_eq!((video.room_admin, video.room.as_str()), (false, "r"));
    assert!(verify(&hs256(r#"{"ISS":"devkey","iss":null}"#), &keys(), NOW).is_ok());
}

fn upper(value: &mut Value) {
    let object = std::mem::take(value.as_object_mut().unwrap());
    let renamed = object
        .into_iter()
        .map(|(name, value)| (name.to_ascii_uppercase(), value));
    *value = Value::Object(renamed.collect());
}

#[test]
fn a_date_may_be_a_text_of_digits() {
    let at = |exp: &str| {
        let claims = format!(r#"{{"iss":"devkey","exp":{exp}}}"#);
        verify(&hs256(&claims), &keys(), NOW).map(|grant| grant.expires_at)
    };
    assert_eq!(at(r#""1800000100""#), Ok(Some(1_800_000_100)));
    assert_eq!(at(r#""1800000100.5""#), Ok(Some(1_800_000_100)));
    assert_eq!(at(r#""1.8000001e9""#), Ok(Some(1_800_000_100)));
    assert_eq!(at("1800000100.0"), Ok(Some(1_800_000_100)));
    assert_eq!(at(r#""1700000000""#), Err(TokenError::Expired));
    for none in [
        r#""""#,
        r#"" 1800000100""#,
        r#""never""#,
        r#""1800000100x""#,
        r#""0x7f""#,
        "true",
        "[]",
        "{}",
    ] {
        assert_eq!(at(none), Err(TokenError::Malformed), "{none}");
    }
}

#[test]
fn a_token_with_the_longest_metadata_there_may_be_verifies() {
    let grant = Grant {
        api_key: "devkey".into(),
        metadata: "x".repeat(512 * 1024),
        attributes: [("a".to_owned(), "y".repeat(64 * 1024 - 1))].into(),
        ..Grant::default()
    };
    let signed = sign(&grant, &keys(), NOW, None).unwrap();
    let read = verify(&signed, &keys(), NOW).unwrap();
    assert_eq!(
        (read.metadata.len(), read.attributes),
        (512 * 1024, grant.attributes)
    );
}

#[test]
fn what_a_stranger_writes_is_not_read_before_its_signature_is() {
    // Of this only the issuer is looked at.
    let odd = token(
        r#"{"alg":"HS256"}"#,
        r#"{"iss":"devkey","video":[[[]]]}"#,
        "wrong",
    );
    assert_eq!(verify(&odd, &keys(), NOW), Err(TokenError::Signature));
}

proptest! {
    #[test]
    fn whatever_claim_is_set_to_null_is_as_if_it_were_absent(at in any::<prop::sample::Index>()) {
        let claims = with_everything();
        let paths = paths(&claims);
        let path = &paths[at.index(paths.len())];
        let read = |claims: Value| verify(&hs256(&claims.to_string()), &keys(), NOW);
        let without = read(removed(&claims, path));
        prop_assert_eq!(read(set_null(&claims, path)), without.clone());
        prop_assert!(without.is_ok() || path == "/iss");
    }

    #[test]
    fn random_text_never_panics(text in ".{0,200}") {
        prop_assert!(verify(&text, &keys(), NOW).is_err());
    }

    #[test]
    fn a_changed_byte_never_verifies(at in 0usize..1000, bit in 0u8..7) {
        let mut bytes = FROM_LIVEKIT_API.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let changed = String::from_utf8(bytes).unwrap();
        prop_assert!(verify(&changed, &keys(), NOW).is_err());
    }

    #[test]
    fn random_claims_never_panic(claims in prop::collection::vec(any::<u8>(), 0..200)) {
        let signed = format!("{}.{}", BASE64.encode(r#"{"alg":"HS256"}"#), BASE64.encode(claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let token = format!("{signed}.{}", BASE64.encode(hmac::sign(&key, signed.as_bytes())));
        let _ = verify(&token, &keys(), NOW);
    }
}

#[test]
fn the_key_that_is_recorded_is_the_one_that_signed() {
    for claims in [
        r#"{"ISS":"other","Iss":"devkey"}"#,
        r#"{"Iss":"other","iss":"devkey"}"#,
        r#"{"iss":"devkey","ISS":"other"}"#,
    ] {
        let grant = verify(&hs256(claims), &keys(), NOW).unwrap();
        assert_eq!(grant.api_key, "devkey", "{claims}");
    }
}
