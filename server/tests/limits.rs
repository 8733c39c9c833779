//! Limits of the server that are on by default, at n and at n + 1.

mod support;

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use protocol::token::{Grant, VideoGrant};
use support::{Answer, PATIENCE, Server, now, request, signed, token};

/// A token that may create rooms, of this key.
fn creator(key: &str, secret: &str) -> String {
    let video = VideoGrant {
        room_create: true,
        ..VideoGrant::default()
    };
    let grant = Grant {
        api_key: key.to_owned(),
        video: Some(video),
        ..Grant::default()
    };
    signed(&grant, secret, now())
}

fn call(server: &Server, token: &str, method: &str, body: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("Content-Type", "application/json"),
        ("Authorization", authorization.as_str()),
    ];
    let target = format!("/twirp/livekit.RoomService/{method}");
    server.request("POST", &target, &headers, body)
}

#[test]
fn an_api_key_has_n_rooms_open_and_not_one_more_until_one_closes() {
    let server = Server::start(
        &[],
        &[
            ("CONCLAVE_KEYS", "one: secret-of-one, two: secret-of-two"),
            ("CONCLAVE_LIMITS_MAX_ROOMS_PER_KEY", "2"),
        ],
    );
    let (one, two) = (
        creator("one", "secret-of-one"),
        creator("two", "secret-of-two"),
    );
    let create = |token: &str, name: &str| {
        let body = format!(r#"{{"name": "{name}"}}"#);
        call(&server, token, "CreateRoom", &body)
    };
    assert_eq!(create(&one, "a").status, 200);
    assert_eq!(create(&one, "b").status, 200);
    let refused = create(&one, "c");
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert!(refused.body.contains("resource_exhausted"));
    assert!(refused.body.contains("as many rooms open as it may"));
    assert_eq!(create(&one, "a").status, 200, "one that is open");
    assert_eq!(create(&two, "c").status, 200, "another key is not affected");
    let joining = |room: &str| {
        let grant = Grant {
            api_key: "one".to_owned(),
            ..support::grant(room, "somebody")
        };
        let request = protocol::signal::encode_join_request(&Default::default());
        let token = signed(&grant, "secret-of-one", now());
        let target = format!("/rtc/v1/validate?access_token={token}&join_request={request}");
        server.get(&target).status
    };
    assert_eq!((joining("d"), joining("a")), (429, 200));
    assert_eq!(
        call(&server, &one, "DeleteRoom", r#"{"room": "a"}"#).status,
        200
    );
    assert_eq!(create(&one, "d").status, 200);
}

#[test]
fn an_address_has_n_connections_and_not_one_more_until_one_ends() {
    let limit = [("CONCLAVE_LIMITS_MAX_CONNECTIONS_PER_ADDRESS", "3")];
    let server = Server::dev(&limit);
    let open = || {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n");
        let mut answer = [0; 12];
        let answered = stream.read_exact(&mut answer).is_ok();
        answered.then_some(stream)
    };
    let mut held: Vec<_> = (0..3).map(|_| open().expect("n are taken")).collect();
    assert!(open().is_none(), "n + 1 is closed");
    held.clear();
    // It takes the server a moment to notice.
    let deadline = std::time::Instant::now() + PATIENCE;
    while open().is_none() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn a_token_of_a_megabyte_is_refused_and_the_next_request_is_answered() {
    let server = Server::dev(&[]);
    let large = "x".repeat(1 << 20);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "GET /rtc/v1/validate HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {large}\r\n\r\n"
    );
    // The server may have closed before all of it was written.
    let _ = stream.write_all(head.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
    assert!(!answer.contains("xxxx"), "a token is not echoed");
    let target = format!(
        "/rtc/v1/validate?access_token={}&join_request={}",
        token("room", "somebody"),
        protocol::signal::encode_join_request(&Default::default())
    );
    assert_eq!(request(server.address, "GET", &target, &[], "").status, 200);
}
