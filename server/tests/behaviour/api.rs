//! RoomService over Twirp: statuses, codes and texts are those that existing products parse.

use crate::support::{Answer, JSON, Server, now, signed, with};
use protocol::{
    livekit::{CreateRoomRequest, ListRoomsResponse, Room},
    prost::Message,
    token::{Grant, VideoGrant},
};
use serde_json::{Value, json};

fn owner() -> String {
    with(VideoGrant {
        room_create: true,
        room_list: true,
        ..VideoGrant::default()
    })
}

fn moderator(room: &str) -> String {
    with(VideoGrant {
        room_admin: true,
        room: room.to_owned(),
        ..VideoGrant::default()
    })
}

fn call(server: &Server, token: &str, method: &str, body: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [JSON, ("Authorization", authorization.as_str())];
    let target = format!("/twirp/livekit.RoomService/{method}");
    server.request("POST", &target, &headers, body)
}

/// Status, code and message of a refusal.
fn refusal(answer: &Answer) -> (u16, String, String) {
    assert_eq!(answer.header("content-type"), "application/json");
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let text = |key: &str| body[key].as_str().unwrap().to_owned();
    (answer.status, text("code"), text("msg"))
}

#[test]
fn a_room_is_created_once_listed_changed_and_deleted() {
    let server = Server::dev(&[]);
    // Names as in the .proto file, as in JSON, and unknown ones.
    let body =
        r#"{"name": "r", "empty_timeout": 77, "maxParticipants": 5, "metadata": "m", "news": 1}"#;
    let answer = call(&server, &owner(), "CreateRoom", body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/json");
    let room: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(room["empty_timeout"], 77);
    assert_eq!(room["max_participants"], 5);
    assert_eq!(room["num_participants"], 0);
    assert_eq!(room["active_recording"], false);
    assert!(room["creation_time"].is_string());

    let again = call(
        &server,
        &owner(),
        "CreateRoom",
        r#"{"name": "r", "metadata": "n"}"#,
    );
    let again: Value = serde_json::from_str(&again.body).unwrap();
    assert_eq!(
        (&again["sid"], &again["metadata"]),
        (&room["sid"], &json!("m"))
    );

    call(&server, &owner(), "CreateRoom", r#"{"name": "s"}"#);
    let names = |body: &str| {
        let listed = call(&server, &owner(), "ListRooms", body);
        let listed: Value = serde_json::from_str(&listed.body).unwrap();
        let rooms = listed["rooms"].as_array().unwrap().iter();
        rooms
            .map(|room| room["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("{}"), ["r", "s"]);
    assert_eq!(names(r#"{"names": ["s", "t"]}"#), ["s"]);

    let update = r#"{"room": "r", "metadata": "new"}"#;
    let updated = call(&server, &moderator("r"), "UpdateRoomMetadata", update);
    let updated: Value = serde_json::from_str(&updated.body).unwrap();
    assert_eq!(updated["metadata"], "new");

    let people = call(
        &server,
        &moderator("r"),
        "ListParticipants",
        r#"{"room": "r"}"#,
    );
    assert_eq!(
        (people.status, people.body.as_str()),
        (200, r#"{"participants":[]}"#)
    );

    let deleted = call(&server, &owner(), "DeleteRoom", r#"{"room": "r"}"#);
    assert_eq!((deleted.status, deleted.body.as_str()), (200, "{}"));
    assert_eq!(names("{}"), ["s"]);
}

#[test]
fn protobuf_is_answered_in_protobuf() {
    let server = Server::dev(&[]);
    let request = CreateRoomRequest {
        name: "r".into(),
        ..Default::default()
    };
    // The request's bytes happen to be text.
    let body = String::from_utf8(request.encode_to_vec()).unwrap();
    let authorization = format!("Bearer {}", owner());
    let headers = [
        ("Content-Type", "application/protobuf"),
        ("Authorization", authorization.as_str()),
    ];
    let target = "/twirp/livekit.RoomService/CreateRoom";
    let answer = server.request("POST", target, &headers, &body);
    assert_eq!(answer.header("content-type"), "application/protobuf");
    let room = Room::decode(answer.bytes.as_slice()).unwrap();
    assert_eq!(room.name, "r");
    assert_eq!(room.empty_timeout, 300);
    let target = "/twirp/livekit.RoomService/ListRooms";
    let answer = server.request("POST", target, &headers, "");
    let listed = ListRoomsResponse::decode(answer.bytes.as_slice()).unwrap();
    assert_eq!(listed.rooms, [room]);
    // An error is JSON all the same.
    let broken = server.request("POST", target, &headers, "\u{1}");
    let text = "the protobuf request could not be decoded";
    assert_eq!(refusal(&broken), (400, "malformed".into(), text.into()));
}

#[test]
fn each_method_wants_its_right() {
    let server = Server::dev(&[]);
    let room = r#"{"room": "r"}"#;
    let person = r#"{"room": "r", "identity": "i"}"#;
    let denied = (
        401,
        "unauthenticated".to_owned(),
        "permissions denied".to_owned(),
    );
    let joiner = with(VideoGrant {
        room_join: true,
        room: "r".into(),
        ..VideoGrant::default()
    });
    let no_video = signed(
        &Grant {
            api_key: "devkey".into(),
            ..Grant::default()
        },
        "secret",
        now(),
    );
    for (method, body, admin) in [
        ("CreateRoom", r#"{"name": "r"}"#, false),
        ("ListRooms", "{}", false),
        ("DeleteRoom", room, false),
        ("ListParticipants", room, true),
        ("GetParticipant", person, true),
        ("RemoveParticipant", person, true),
        ("MutePublishedTrack", person, true),
        ("UpdateParticipant", person, true),
        ("UpdateSubscriptions", person, true),
        ("SendData", room, true),
        ("UpdateRoomMetadata", room, true),
        ("PerformRpc", room, true),
        ("ForwardParticipant", person, true),
        ("MoveParticipant", person, true),
    ] {
        // A flag for one method is none for another.
        let wrong = match method {
            "ListRooms" => with(VideoGrant {
                room_create: true,
                ..VideoGrant::default()
            }),
            _ if admin => owner(),
            _ => moderator("r"),
        };
        for token in [&wrong, &moderator("other"), &joiner, &no_video] {
            assert_eq!(
                refusal(&call(&server, token, method, body)),
                denied,
                "{method}"
            );
        }
        let target = format!("/twirp/livekit.RoomService/{method}");
        let stranger = server.request("POST", &target, &[JSON], body);
        assert_eq!(refusal(&stranger), denied, "{method}");
        // Who may ask is told before what cannot be read, whatever it is.
        let right = if admin { moderator("r") } else { owner() };
        for body in [
            "",
            "{",
            "[]",
            "null",
            r#"{"room": 1, "name": 1, "names": 1}"#,
        ] {
            let answer = server.request("POST", &target, &[JSON], body);
            assert_eq!(refusal(&answer), denied, "{method}");
            assert_eq!(refusal(&call(&server, &wrong, method, body)), denied);
            let text = "the json request could not be decoded".to_owned();
            let answer = call(&server, &right, method, body);
            assert_eq!(
                refusal(&answer),
                (400, "malformed".into(), text),
                "{method}"
            );
        }
    }
    // In the query, too; a bad header wins over it.
    let target = format!(
        "/twirp/livekit.RoomService/ListRooms?access_token={}",
        owner()
    );
    assert_eq!(server.request("POST", &target, &[JSON], "{}").status, 200);
    let bad = [JSON, ("Authorization", "Bearer garbage")];
    assert_eq!(server.request("POST", &target, &bad, "{}").status, 401);
}

#[test]
fn a_bad_token_is_answered_in_plain_text() {
    let server = Server::dev(&[]);
    let header = "invalid authorization header. Must start with Bearer ";
    for (authorization, text) in [
        ("Bearer garbage", "invalid authorization token"),
        ("Bearer ", header),
        ("Basic Zm9v", header),
        ("bearer x.y.z", header),
    ] {
        let headers = [JSON, ("Authorization", authorization)];
        let answer = server.request(
            "POST",
            "/twirp/livekit.RoomService/ListRooms",
            &headers,
            "{}",
        );
        assert_eq!((answer.status, answer.body.as_str()), (401, text));
        assert!(answer.header("content-type").starts_with("text/plain"));
    }
}

#[test]
fn wrong_ways_are_named() {
    let server = Server::dev(&[]);
    let authorization = format!("Bearer {}", owner());
    let bearer = ("Authorization", authorization.as_str());
    let list = "/twirp/livekit.RoomService/ListRooms";
    for (method, target, content_type, message) in [
        (
            "GET",
            list,
            "application/json",
            r#"unsupported method "GET" (only POST is allowed)"#,
        ),
        (
            "POST",
            list,
            "text/plain",
            r#"unexpected Content-Type: "text/plain""#,
        ),
        (
            "POST",
            "/twirp/livekit.RoomService/Fly",
            "application/json",
            r#"no handler for path "/twirp/livekit.RoomService/Fly""#,
        ),
    ] {
        let answer = server.request(
            method,
            target,
            &[bearer, ("Content-Type", content_type)],
            "{}",
        );
        assert_eq!(refusal(&answer), (404, "bad_route".into(), message.into()));
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(
            body["meta"]["twirp_invalid_route"],
            format!("{method} {target}")
        );
    }
    let answer = server.request("POST", "/twirp/livekit.Nothing/Fly", &[bearer, JSON], "{}");
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (404, "404 page not found")
    );
}

#[test]
fn who_and_what_is_absent_is_not_found() {
    let server = Server::dev(&[]);
    call(&server, &owner(), "CreateRoom", r#"{"name": "r"}"#);
    let no_room = "requested room does not exist";
    let no_person = "participant does not exist";
    for room in ["r", "absent"] {
        let token = moderator(room);
        let person = json!({"room": room, "identity": "i", "destinationIdentities": ["i"]});
        for method in [
            "GetParticipant",
            "RemoveParticipant",
            "UpdateParticipant",
            "MutePublishedTrack",
            "UpdateSubscriptions",
        ] {
            let answer = call(&server, &token, method, &person.to_string());
            assert_eq!(
                refusal(&answer),
                (404, "not_found".into(), no_person.into()),
                "{method}"
            );
        }
        let answer = call(&server, &token, "SendData", &person.to_string());
        let (status, code, _) = refusal(&answer);
        assert_eq!((status, code.as_str()), (404, "not_found"));
    }
    let absent = r#"{"room": "absent", "metadata": "m"}"#;
    for (token, method) in [
        (owner(), "DeleteRoom"),
        (moderator("absent"), "UpdateRoomMetadata"),
    ] {
        let answer = call(&server, &token, method, absent);
        assert_eq!(refusal(&answer), (404, "not_found".into(), no_room.into()));
    }
    let answer = call(&server, &moderator("absent"), "ListParticipants", absent);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, r#"{"participants":[]}"#)
    );
}

#[test]
fn texts_end_at_their_limits() {
    let server = Server::dev(&[]);
    let answer = call(&server, &owner(), "CreateRoom", "{}");
    assert_eq!(
        refusal(&answer),
        (400, "invalid_argument".into(), "no room name".into())
    );
    // Before it is looked for: nobody is in this room, and there is none.
    let texts = "x".repeat(65_537);
    for (method, key, value, text) in [
        (
            "UpdateParticipant",
            "identity",
            json!("x".repeat(257)),
            "participant identity length exceeds limits: max length 256",
        ),
        (
            "UpdateParticipant",
            "name",
            json!("x".repeat(257)),
            "name length exceeds limits 256",
        ),
        (
            "UpdateParticipant",
            "metadata",
            json!("x".repeat(512 * 1024 + 1)),
            "metadata size exceeds limits 524288",
        ),
        (
            "UpdateParticipant",
            "attributes",
            json!({ "": texts }),
            "attribute size exceeds limits 65536",
        ),
        (
            "UpdateRoomMetadata",
            "metadata",
            json!("x".repeat(512 * 1024 + 1)),
            "metadata size exceeds limits 524288",
        ),
    ] {
        let mut body = json!({"room": "absent", "identity": "absent"});
        body[key] = value;
        let answer = call(&server, &moderator("absent"), method, &body.to_string());
        assert_eq!(
            refusal(&answer),
            (400, "invalid_argument".into(), text.into())
        );
    }
    for (key, max) in [("name", 256), ("metadata", 512 * 1024)] {
        let body = |length: usize| {
            let mut body = json!({"name": "r"});
            body[key] = "x".repeat(length).into();
            body.to_string()
        };
        assert_eq!(
            call(&server, &owner(), "CreateRoom", &body(max)).status,
            200
        );
        let (status, code, message) =
            refusal(&call(&server, &owner(), "CreateRoom", &body(max + 1)));
        assert_eq!((status, code.as_str()), (400, "invalid_argument"));
        assert!(message.contains(&max.to_string()), "{message}");
    }
    let token = moderator("r");
    let nonce = r#"{"room": "r", "data": "aGk=", "nonce": "aGk="}"#;
    let (status, code, _) = refusal(&call(&server, &token, "SendData", nonce));
    assert_eq!((status, code.as_str()), (400, "invalid_argument"));
    // A stranger's request is read no further than needed to refuse it.
    let long = format!(r#"{{"names": ["{}"]}}"#, "x".repeat(64 * 1024));
    let answer = server.request(
        "POST",
        "/twirp/livekit.RoomService/ListRooms",
        &[JSON],
        &long,
    );
    assert_eq!(refusal(&answer).0, 401);
}

#[test]
fn applications_that_write_null_and_floats_are_understood() {
    let server = Server::dev(&[]);
    let body = r#"{"name": "r", "empty_timeout": 64.0, "maxParticipants": null, "metadata": null, "egress": null,
        "agents": null, "tags": {"a": null}, "nodeId": null, "syncStreams": null}"#;
    let answer = call(&server, &owner(), "CreateRoom", body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let room: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        (&room["empty_timeout"], &room["metadata"]),
        (&json!(64), &json!(""))
    );
    let listed = call(&server, &owner(), "ListRooms", r#"{"names": null}"#);
    assert!(listed.body.contains(r#""name":"r""#), "{}", listed.body);
    // Nobody is not everybody.
    let data = r#"{"room": "r", "data": "aGk=", "destinationIdentities": [null]}"#;
    assert_eq!(
        refusal(&call(&server, &moderator("r"), "SendData", data)).1,
        "malformed"
    );
}

#[test]
fn nothing_of_a_request_is_read_that_its_token_does_not_allow() {
    let server = Server::dev(&[]);
    // 5,000,000 messages of two bytes each, in the middle of CreateRoom (egress.room.segment_outputs).
    let joiner = with(VideoGrant {
        room_join: true,
        room: "r".into(),
        ..VideoGrant::default()
    });
    let long = format!(
        r#"{{"egress":{{"room":{{"segmentOutputs":[{}{{}}]}}}}}}"#,
        "{},".repeat(20_000)
    );
    let (status, code, _) = refusal(&call(&server, &joiner, "CreateRoom", &long));
    assert_eq!((status, code.as_str()), (401, "unauthenticated"));
    // Nor of one that its token allows, if it is made of too many parts.
    let (status, code, _) = refusal(&call(&server, &owner(), "CreateRoom", &long));
    assert_eq!((status, code.as_str()), (400, "malformed"));
    let recorder = with(VideoGrant {
        room_record: true,
        ..VideoGrant::default()
    });
    for (length, status) in [(60_000, 200), (70_000, 400)] {
        let body = format!(r#"{{"roomName":"{}"}}"#, "x".repeat(length));
        let answer = service(&server, &recorder, "livekit.Egress/ListEgress", &body);
        assert_eq!(
            answer.status, status,
            "who only records sends little: {length}"
        );
    }
}

fn service(server: &Server, token: &str, method: &str, body: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [JSON, ("Authorization", authorization.as_str())];
    server.request("POST", &format!("/twirp/{method}"), &headers, body)
}

#[test]
fn services_that_are_not_here_say_so_and_their_lists_are_empty() {
    let server = Server::dev(&[]);
    let grant = Grant {
        api_key: "devkey".to_owned(),
        video: Some(VideoGrant {
            room_record: true,
            ingress_admin: true,
            ..VideoGrant::default()
        }),
        sip: Some(protocol::token::SipGrant {
            admin: true,
            call: true,
        }),
        ..Grant::default()
    };
    let token = signed(&grant, "secret", now());
    for list in [
        "livekit.Egress/ListEgress",
        "livekit.Ingress/ListIngress",
        "livekit.SIP/ListSIPTrunk",
        "livekit.SIP/ListSIPInboundTrunk",
        "livekit.SIP/ListSIPOutboundTrunk",
        "livekit.SIP/ListSIPDispatchRule",
    ] {
        let answer = service(&server, &token, list, "{}");
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, r#"{"items":[]}"#),
            "{list}"
        );
    }
    for (method, what) in [
        ("livekit.Egress/StartRoomCompositeEgress", "egress"),
        ("livekit.Egress/StopEgress", "egress"),
        ("livekit.Ingress/CreateIngress", "ingress"),
        ("livekit.SIP/CreateSIPDispatchRule", "SIP"),
        ("livekit.SIP/CreateSIPParticipant", "SIP"),
    ] {
        let (status, code, text) = refusal(&service(&server, &token, method, "{}"));
        assert_eq!((status, code.as_str()), (501, "unimplemented"), "{method}");
        assert!(text.contains(&format!("no {what} service")), "{text}");
        let denied = refusal(&service(&server, &owner(), method, "{}"));
        assert_eq!(denied.0, 401, "{method}");
    }
    let unknown = refusal(&service(&server, &token, "livekit.Egress/Fly", "{}"));
    assert_eq!((unknown.0, unknown.1.as_str()), (404, "bad_route"));
}
