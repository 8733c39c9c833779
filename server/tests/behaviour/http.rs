//! What the public port answers to plain HTTP. Statuses and bodies are those that existing clients parse.

use std::io::{Read, Write};

use crate::support::{Answer, JSON, PATIENCE, Server, grant, now, signed, token};
use protocol::{
    livekit::JoinRequest,
    signal::encode_join_request,
    token::{Grant, VideoGrant},
};

fn join_request() -> String {
    encode_join_request(&JoinRequest::default())
}

fn validate(server: &Server, token: &str) -> (u16, String) {
    let answer = server.get(&format!(
        "/rtc/v1/validate?access_token={token}&join_request={}",
        join_request()
    ));
    (answer.status, answer.body)
}

fn with_video(change: impl FnOnce(&mut VideoGrant)) -> Grant {
    let mut grant = grant("room", "identity");
    change(grant.video.as_mut().unwrap());
    grant
}

#[test]
fn a_good_token_validates() {
    let server = Server::dev(&[]);
    assert_eq!(
        validate(&server, &token("room", "identity")),
        (200, "success".to_owned())
    );
    let answer = server.get(&format!(
        "/rtc/validate?access_token={}&join_request={}",
        token("room", "identity"),
        join_request()
    ));
    assert_eq!((answer.status, answer.body.as_str()), (200, "success"));
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(answer.header("content-type").starts_with("text/plain"));
}

#[test]
fn a_refused_token_is_told_why() {
    let server = Server::dev(&[]);
    let good = grant("room", "identity");
    let signature = "invalid token: token signature is invalid";
    for (token, body) in [
        (String::new(), "no permissions to access the room"),
        ("garbage".to_owned(), "invalid authorization token"),
        (
            signed(
                &Grant {
                    api_key: "other".to_owned(),
                    ..good.clone()
                },
                "secret",
                now(),
            ),
            "invalid API key: other",
        ),
        (signed(&good, "wrong", now()), signature),
        (signed(&good, "secret", now() - 700), "token is expired"),
        (
            signed(&good, "secret", now() + 120),
            "token is not valid yet",
        ),
        (
            signed(
                &Grant {
                    video: None,
                    ..good.clone()
                },
                "secret",
                now(),
            ),
            "no permissions to access the room",
        ),
        (
            signed(
                &with_video(|video| video.room_join = false),
                "secret",
                now(),
            ),
            "permissions denied",
        ),
    ] {
        let (status, text) = validate(&server, &token);
        assert_eq!(status, 401, "{text}");
        assert!(text.contains(body), "{text:?} is not {body:?}");
        assert!(
            token.is_empty() || !text.contains(&token),
            "the token is echoed: {text}"
        );
    }
}

#[test]
fn a_request_that_lacks_something_is_told_what() {
    let server = Server::dev(&[]);
    let long = "x".repeat(257);
    for (grant, body) in [
        (
            Grant {
                identity: String::new(),
                ..grant("room", "")
            },
            "identity cannot be empty",
        ),
        (with_video(|video| video.room.clear()), "no room name"),
        (
            grant(&long, "identity"),
            "room name length exceeds limits: max length 256",
        ),
        (
            grant("room", &long),
            "participant identity length exceeds limits: max length 256",
        ),
    ] {
        assert_eq!(
            validate(&server, &signed(&grant, "secret", now())),
            (400, body.to_owned())
        );
    }
    let token = token("room", "identity");
    for (parameter, body) in [
        ("", "join_request is required"),
        ("&join_request=", "join_request is required"),
        (
            "&join_request=%25%25",
            "cannot base64 decode wrapped join request",
        ),
        (
            "&join_request=AAAA",
            "cannot unmarshal wrapped join request",
        ),
    ] {
        let answer = server.get(&format!("/rtc/v1/validate?access_token={token}{parameter}"));
        assert_eq!((answer.status, answer.body.as_str()), (400, body));
    }
}

#[test]
fn a_bad_header_wins_over_a_good_query() {
    let server = Server::dev(&[]);
    let token = token("room", "identity");
    let target = format!(
        "/rtc/v1/validate?access_token={token}&join_request={}",
        join_request()
    );
    let ask = |header: &str| server.request("GET", &target, &[("Authorization", header)], "");
    for header in ["Basic abc", &format!("bearer {token}"), "Bearer ", "Bearer"] {
        let answer = ask(header);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (401, "invalid authorization header. Must start with Bearer ")
        );
    }
    assert_eq!(ask("Bearer nonsense").body, "invalid authorization token");
    assert_eq!(ask(&format!("Bearer {token}")).status, 200);
}

#[test]
fn the_older_protocol_validates_its_query() {
    let server = Server::dev(&[]);
    let token = token("room", "identity");
    let ask = |query: &str| {
        let answer = server.get(&format!("/rtc/validate?access_token={token}{query}"));
        (answer.status, answer.body)
    };
    let success = (200, "success".to_owned());
    assert_eq!(ask(""), success);
    assert_eq!(ask("&join_request="), success);
    let usual = "&auto_subscribe=1&sdk=js&version=2.15.16&protocol=16&adaptive_stream=1&reconnect=1&sid=PA_x";
    assert_eq!(ask(usual), success);
    for (query, body) in [
        ("&protocol=many", "protocol is not a number"),
        ("&auto_subscribe=%00", "auto_subscribe is neither 0 nor 1"),
        ("&reconnect=maybe", "reconnect is neither 0 nor 1"),
        ("&attributes=%25%25", "cannot decode attributes"),
    ] {
        assert_eq!(ask(query), (400, body.to_owned()));
    }
    // Of no meaning here, to LiveKit neither; and the room is the token's, whatever the query says.
    assert_eq!(ask("&room=other&publish=&simulate=1&ping=x"), success);
    let roomless = server.get(&format!(
        "/rtc/validate?access_token={}&room=room",
        self::token("", "identity")
    ));
    assert_eq!(
        (roomless.status, roomless.body.as_str()),
        (400, "no room name")
    );
    // {"a":"b"}, which this token may not set.
    let refused = (401, "permissions denied".to_owned());
    assert_eq!(ask("&attributes=eyJhIjoiYiJ9"), refused);
}

#[test]
fn who_may_not_publish_may_not_join_to_publish_only() {
    let server = Server::dev(&[]);
    let ask = |can_publish, identity: &str, publish: &str| {
        let mut grant = grant("room", identity);
        if let Some(video) = grant.video.as_mut() {
            video.can_publish = can_publish;
        }
        let token = signed(&grant, "secret", now());
        let answer = server.get(&format!(
            "/rtc/validate?access_token={token}&publish={publish}"
        ));
        (answer.status, answer.body)
    };
    assert_eq!(ask(None, "ada", "screen").0, 200);
    let refused = (401, "permissions denied".to_owned());
    assert_eq!(ask(Some(false), "ada", "screen"), refused);
    let nobody = (400, "identity cannot be empty".to_owned());
    assert_eq!(ask(None, "", "screen"), nobody);
    assert_eq!(ask(None, "ada", &"x".repeat(252)).0, 200);
    assert_eq!(ask(None, "ada", &"x".repeat(253)).0, 400);
}

#[test]
fn who_may_not_describe_itself_may_not_join_with_a_description() {
    let server = Server::dev(&[]);
    let ask = |right: Option<bool>, request: &JoinRequest| {
        let mut grant = grant("room", "identity");
        if let Some(video) = grant.video.as_mut() {
            video.can_update_own_metadata = right;
        }
        let token = signed(&grant, "secret", now());
        let request = encode_join_request(request);
        let answer = server.get(&format!(
            "/rtc/v1/validate?access_token={token}&join_request={request}"
        ));
        (answer.status, answer.body)
    };
    let metadata = JoinRequest {
        metadata: "m".into(),
        ..JoinRequest::default()
    };
    let attributes = JoinRequest {
        participant_attributes: [("key".into(), "value".into())].into(),
        ..JoinRequest::default()
    };
    let refused = (401, "permissions denied".to_owned());
    for request in [&metadata, &attributes] {
        assert_eq!(ask(None, request), refused);
        assert_eq!(ask(Some(false), request), refused);
        assert_eq!(ask(Some(true), request).0, 200);
    }
    assert_eq!(ask(None, &JoinRequest::default()).0, 200);
    // Nor is one read that would be more than it is long.
    let bomb = JoinRequest {
        add_track_requests: vec![Default::default(); 100_000],
        ..JoinRequest::default()
    };
    let refused = (400, "join request has too many fields".to_owned());
    assert_eq!(ask(Some(true), &bomb), refused);
}

#[test]
fn the_signal_endpoints_are_nothing_but_websockets() {
    let server = Server::dev(&[]);
    let token = token("room", "identity");
    for target in ["/rtc", "/rtc/v1"] {
        let answer = server.get(&format!("{target}?access_token={token}"));
        assert_eq!((answer.status, answer.body.as_str()), (404, ""), "{target}");
    }
}

#[test]
fn signal_paths_follow_any_prefix_and_the_api_the_configured_one() {
    let server = Server::dev(&[]);
    let query = format!(
        "?access_token={}&join_request={}",
        token("room", "identity"),
        join_request()
    );
    for prefix in ["/livekit/sfu", "/", "//a//"] {
        let answer = server.get(&format!("{prefix}/rtc/v1/validate{query}"));
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "success"),
            "{prefix}"
        );
    }
    let behind_proxy = Server::dev(&[("CONCLAVE_HTTP_PREFIX", "/livekit/sfu")]);
    let ask = |server: &Server, prefix: &str| {
        let target = format!("{prefix}/twirp/livekit.RoomService/ListRooms");
        let answer = server.request("POST", &target, &[JSON], "{}");
        (
            answer.status,
            answer.header("content-type") == "application/json",
        )
    };
    // 401 in JSON is the API's.
    assert_eq!(ask(&server, ""), (401, true));
    assert_eq!(ask(&server, "/"), (401, true));
    // A proxy that guards `/twirp/` and `//twirp/` guards it.
    assert_eq!(ask(&server, "//"), (404, false));
    assert_eq!(ask(&behind_proxy, "//livekit/sfu/"), (404, false));
    assert_eq!(ask(&behind_proxy, "/livekit/sfu/"), (401, true));
    assert_eq!(ask(&behind_proxy, ""), (401, true));
    assert_eq!(ask(&behind_proxy, "/livekit/sfu"), (401, true));
    assert_eq!(ask(&behind_proxy, "/livekit"), (405, false));
    for prefix in ["/livekit/sfu", "/x", "/m/x", "/rtc"] {
        assert_eq!(ask(&server, prefix), (405, false), "{prefix}");
    }
}

#[test]
fn behind_the_configured_prefix_there_is_no_page_and_that_is_said() {
    let server = Server::dev(&[("CONCLAVE_HTTP_PREFIX", "/livekit/sfu")]);
    for page in [
        "/livekit/sfu/",
        "/livekit/sfu/m/abcd-efgh-jkm",
        "/livekit/sfu/api/v1/config",
    ] {
        let answer = server.request("GET", page, &[("Accept", "text/html")], "");
        assert_eq!(answer.status, 404, "{page}");
        assert!(answer.body.contains("http.prefix"), "{}", answer.body);
    }
    assert_eq!(server.get("/livekit/sfu/").body, "OK", "for load balancers");
    let page = server.request("GET", "/", &[("Accept", "text/html")], "");
    assert_eq!(page.status, 200);
}

#[test]
fn bodies_that_never_come_are_not_waited_for() {
    let server = Server::dev(&[]);
    let ask = |target: &str| {
        let mut stream = std::net::TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: 20\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    // All at once: each takes 15 s.
    let slug = "/api/v1/rooms/abcd-efgh-jkm/enter";
    let call = "/twirp/livekit.RoomService/ListRooms";
    for (mut stream, status) in [
        (ask("/api/v1/rooms"), "408"),
        (ask(slug), "408"),
        (ask("/dev/token"), "408"),
        (ask(call), "401"),
    ] {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{answer}");
    }
}

#[test]
fn a_join_request_of_32_kilobytes_is_read() {
    let server = Server::dev(&[]);
    // Base64 that is no message: the answer tells that all of it arrived.
    let target = format!(
        "/rtc/v1/validate?access_token={}&join_request={}",
        token("r", "i"),
        "_".repeat(32_768)
    );
    let answer = server.get(&target);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (400, "cannot unmarshal wrapped join request")
    );
}

#[test]
fn a_token_with_the_longest_metadata_comes_in_the_header_and_a_shorter_one_in_the_query() {
    let server = Server::dev(&[]);
    let with_metadata = |length| {
        let grant = Grant {
            metadata: "m".repeat(length),
            ..grant("room", "identity")
        };
        signed(&grant, "secret", now())
    };
    let target = format!("/rtc/v1/validate?join_request={}", join_request());
    let authorization = format!("Bearer {}", with_metadata(512 * 1024));
    let headers = [("Authorization", authorization.as_str())];
    let answer = server.request("GET", &target, &headers, "");
    assert_eq!((answer.status, answer.body.as_str()), (200, "success"));
    let in_query = |length| server.get(&format!("{target}&access_token={}", with_metadata(length)));
    assert_eq!(in_query(47_000).status, 200, "what 64 KiB carry");
    let answer = in_query(50_000);
    assert_eq!(answer.status, 414, "{}", answer.head);
    assert!(
        answer.body.contains("Authorization header"),
        "{}",
        answer.body
    );
    assert_eq!(answer.header("access-control-allow-origin"), "*");
}

#[test]
fn a_refused_join_is_logged_with_its_reason_and_without_names() {
    let server = Server::dev(&[]);
    let grant = Grant {
        name: "Margaret Hamilton".to_owned(),
        ..with_video(|video| video.room_join = false)
    };
    let token = signed(&grant, "secret", now());
    assert_eq!(validate(&server, &token).0, 401);
    server.wait_for_log("permissions denied");
    validate(&server, "garbage.garbage.garbage");
    server.wait_for_log("invalid authorization token");
    let log = server.log();
    assert!(
        log.contains("INFO") && log.contains("join refused"),
        "{log}"
    );
    for secret in ["Hamilton", "garbage", &token] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn strangers_who_pose_as_workers_do_not_fill_the_log() {
    let server = Server::dev(&[]);
    let begin = std::time::Instant::now();
    for _ in 0..200 {
        assert_eq!(server.get("/agent").status, 401);
    }
    server.wait_for_log("worker is refused");
    let seconds = begin.elapsed().as_secs() as usize;
    let lines = server.log().matches("worker is refused").count();
    assert!(lines <= 20 * (seconds + 2), "{lines} in {seconds} s");
}

#[test]
fn where_rooms_are_created_by_the_application_nobody_joins_another_one() {
    let server = Server::dev(&[("CONCLAVE_ROOM_AUTO_CREATE", "false")]);
    let absent = (404, "requested room does not exist".to_owned());
    assert_eq!(validate(&server, &token("room", "identity")), absent);
    let answer = server.get(&format!(
        "/rtc/validate?access_token={}",
        token("room", "identity")
    ));
    assert_eq!((answer.status, answer.body), absent);
    let creator = Grant {
        video: Some(VideoGrant {
            room_create: true,
            ..VideoGrant::default()
        }),
        ..grant("", "")
    };
    let authorization = format!("Bearer {}", signed(&creator, "secret", now()));
    let headers = [JSON, ("Authorization", authorization.as_str())];
    let target = "/twirp/livekit.RoomService/CreateRoom";
    let created = server.request("POST", target, &headers, r#"{"name":"room"}"#);
    assert_eq!(created.status, 200, "{}", created.body);
    assert_eq!(validate(&server, &token("room", "identity")).0, 200);
    assert_eq!(validate(&server, &token("other", "identity")).0, 404);
}

#[test]
fn every_answer_has_the_headers_that_keep_a_page_to_itself() {
    let server = Server::dev(&[]);
    for (method, target) in [
        ("GET", "/nothing.js"),
        ("GET", "/"),
        ("POST", "/m/abc"),
        ("GET", "/rtc"),
        ("POST", "/twirp/livekit.Nothing/Fly"),
    ] {
        let answer = server.request(method, target, &[], "");
        assert_eq!(
            answer.header("x-content-type-options"),
            "nosniff",
            "{target}"
        );
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{target}");
        let policy = answer.header("content-security-policy");
        let host = server.address;
        let connect = format!("connect-src 'self' ws://{host} wss://{host}");
        assert!(
            policy.contains("frame-ancestors 'none'"),
            "{target}: {policy}"
        );
        assert!(
            policy.split("; ").any(|rule| rule == connect),
            "{target}: {policy}"
        );
        // Without TLS nobody can promise it.
        assert_eq!(answer.header("strict-transport-security"), "");
    }
}

#[test]
fn browsers_of_other_origins_may_ask() {
    let keys = [(
        "CONCLAVE_KEYS",
        "key: hush-hush-hush-hush-hush-hush-hush-hush",
    )];
    let server = Server::start(&["--bind", "127.0.0.1"], &keys);
    let answer = server.request(
        "OPTIONS",
        "/rtc/v1/validate",
        &[("Origin", "https://meet.example.org")],
        "",
    );
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(
        answer
            .header("access-control-allow-headers")
            .contains("authorization")
    );
    // And with whatever headers their application adds.
    for target in [
        "/rtc/validate",
        "/rtc/v1",
        "/twirp/livekit.RoomService/ListRooms",
    ] {
        let names = "authorization, traceparent, x-request-id";
        let asked = [
            ("Origin", "https://meet.example.org"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", names),
        ];
        let answer = server.request("OPTIONS", target, &asked, "");
        assert_eq!(answer.status, 204, "{target}");
        assert_eq!(answer.header("access-control-allow-headers"), names);
        assert!(
            answer
                .header("access-control-allow-methods")
                .contains("POST")
        );
    }
}

#[test]
fn the_root_is_health_for_machines_and_a_page_for_people() {
    let server = Server::dev(&[]);
    let health = server.get("/");
    assert_eq!((health.status, health.body.as_str()), (200, "OK"));
    let page = |target| server.request("GET", target, &[("Accept", "text/html,*/*;q=0.8")], "");
    for target in ["/", "/m/abcd-efg-hij"] {
        let page: Answer = page(target);
        assert_eq!(page.status, 200);
        assert!(page.header("content-type").starts_with("text/html"));
        let policy = page.header("content-security-policy");
        for rule in [
            "default-src 'self'",
            "frame-ancestors 'none'",
            "script-src 'self' 'wasm-unsafe-eval'",
        ] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(page.header("permissions-policy").contains("camera=(self)"));
        assert_eq!(page.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(server.get("/nothing.js").status, 404);
    assert_eq!(server.request("POST", "/m/abc", &[], "").status, 405);
}

#[test]
fn development_mode_hands_out_tokens() {
    let server = Server::dev(&[]);
    let answer = server.request(
        "POST",
        "/dev/token",
        &[JSON],
        r#"{"room":"r","identity":"i","name":"Zoë"}"#,
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(json["url"], format!("ws://{}", server.address));
    assert_eq!(
        validate(&server, json["token"].as_str().unwrap()),
        (200, "success".to_owned())
    );
}

#[test]
fn development_tokens_need_a_sensible_request() {
    let server = Server::dev(&[]);
    let long = format!(r#"{{"room":"{}","identity":"i"}}"#, "x".repeat(257));
    for (body, status) in [
        (r#"{"room":"","identity":"i"}"#, 400),
        (r#"{"room":"r","identity":""}"#, 400),
        (r#"{"room":"r"}"#, 400),
        ("nonsense", 400),
        (long.as_str(), 400),
        (&" ".repeat(5000), 413),
    ] {
        let answer = server.request("POST", "/dev/token", &[JSON], body);
        assert_eq!(answer.status, status, "{body}");
        assert!(
            serde_json::from_str::<serde_json::Value>(&answer.body).unwrap()["error"].is_string()
        );
    }
    assert_eq!(server.get("/dev/token").status, 405);
    let form = [("Content-Type", "text/plain")];
    assert_eq!(
        server
            .request(
                "POST",
                "/dev/token",
                &form,
                r#"{"room":"r","identity":"i"}"#
            )
            .status,
        415
    );
}

#[test]
fn outside_development_mode_nobody_hands_out_tokens() {
    let server = Server::start(
        &["--bind", "127.0.0.1"],
        &[
            (
                "CONCLAVE_KEYS",
                "key: hush-hush-hush-hush-hush-hush-hush-hush",
            ),
            ("CONCLAVE_MEDIA_ADDRESSES", "['127.0.0.1']"),
        ],
    );
    let answer = server.request(
        "POST",
        "/dev/token",
        &[JSON],
        r#"{"room":"r","identity":"i"}"#,
    );
    assert_eq!((answer.status, answer.body.as_str()), (404, ""));
    assert!(!server.log().contains("hush"));
}

#[test]
fn development_mode_answers_local_names_and_local_pages_only() {
    let server = Server::dev(&[]);
    let body = r#"{"room":"r","identity":"i"}"#;
    let validate = format!(
        "/rtc/v1/validate?access_token={}&join_request={}",
        token("room", "identity"),
        join_request()
    );
    let asked = [
        ("GET", "/", ""),
        ("GET", "/m/abcd-efgh-jkm", ""),
        ("GET", "/api/v1/config", ""),
        ("POST", "/api/v1/rooms", "{}"),
        ("POST", "/dev/token", body),
        ("GET", validate.as_str(), ""),
        ("POST", "/twirp/livekit.RoomService/ListRooms", "{}"),
        ("OPTIONS", "/twirp/livekit.RoomService/ListRooms", ""),
        ("GET", "/rtc/v1", ""),
    ];
    for (method, target, body) in asked {
        let ask = |headers: &[(&str, &str)]| {
            let headers: Vec<_> = headers.iter().copied().chain([JSON]).collect();
            server.request(method, target, &headers, body)
        };
        // A name that was bound to our address, and pages of elsewhere.
        for foreign in [
            ("Host", "evil.example:7880"),
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
            ("Origin", "http://localhost.evil.example"),
        ] {
            let answer = ask(&[foreign]);
            assert_eq!(answer.status, 403, "{method} {target} {foreign:?}");
            assert_eq!(answer.header("access-control-allow-origin"), "");
            assert!(!answer.body.contains("eyJ"), "{}", answer.body);
        }
        // Pages of applications that are made on this machine, and programs.
        for ours in [
            &[("Origin", "http://localhost:3000")][..],
            &[("Origin", "http://127.0.0.1:5173")],
            &[],
        ] {
            let refused = ask(ours).body.contains("development mode");
            assert!(!refused, "{method} {target} {ours:?}");
        }
    }
}
