//! Limits of the server that are on by default, at n and at n + 1.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::support::{Answer, PATIENCE, Server, now, request, signed, token};
use futures_util::StreamExt;
use protocol::token::{Grant, VideoGrant};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const ONE: &str = "secret-of-one-is-long-enough-to-be-safe";
const TWO: &str = "secret-of-two-is-long-enough-to-be-safe";

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
            ("CONCLAVE_KEYS", &format!("one: {ONE}, two: {TWO}")),
            ("CONCLAVE_LIMITS_MAX_ROOMS_PER_KEY", "2"),
        ],
    );
    let (one, two) = (creator("one", ONE), creator("two", TWO));
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
            ..crate::support::grant(room, "somebody")
        };
        let request = protocol::signal::encode_join_request(&Default::default());
        let token = signed(&grant, ONE, now());
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
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut answer = [0; 12];
        let answered = stream.read_exact(&mut answer).is_ok();
        answered.then_some(stream)
    };
    let mut held: Vec<_> = (0..3).map(|_| open().expect("n are taken")).collect();
    assert!(open().is_none(), "n + 1 is closed");
    held.clear();
    // It takes the server a moment to notice.
    let deadline = Instant::now() + PATIENCE;
    while open().is_none() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

/// Reads an answer to its end: what was asked for is allowed.
fn is_success(stream: &mut TcpStream) -> bool {
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\nsuccess") {
        if stream.read_exact(&mut byte).is_err() {
            return false;
        }
        answer.push(byte[0]);
    }
    true
}

#[test]
fn an_address_has_few_connections_that_show_no_token_and_others_are_let_in() {
    let limit = [("CONCLAVE_LIMITS_MAX_STRANGERS_PER_ADDRESS", "4")];
    let server = Server::dev(&limit);
    // Of those that show one there may be more.
    let with_token = || {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let token = token("room", "somebody");
        let head =
            format!("GET /rtc/validate?access_token={token} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
        is_success(&mut stream).then_some(stream)
    };
    let mut guests: Vec<_> = (0..8).map(|_| with_token().expect("a guest")).collect();
    // And none of them had to go for another.
    for guest in &mut guests {
        let head = b"GET /rtc/validate HTTP/1.1\r\nHost: localhost\r\n\r\n";
        guest.write_all(head).unwrap();
        guest.read_exact(&mut [0; 12]).expect("still a guest");
    }
    // These say nothing, and are not closed for it at once.
    let strangers: Vec<_> = (0..4)
        .map(|_| TcpStream::connect(server.address).unwrap())
        .collect();
    let mut refused = 0;
    for _ in 0..10 {
        refused += usize::from(with_token().is_none());
    }
    assert_eq!(refused, 10, "the kernel takes them, the server does not");
    drop(strangers);
    let deadline = Instant::now() + PATIENCE;
    while with_token().is_none() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    drop(guests);
}

#[test]
fn connections_that_wait_for_a_further_request_keep_no_page_from_being_loaded() {
    let limit = [("CONCLAVE_LIMITS_MAX_STRANGERS_PER_ADDRESS", "4")];
    let server = Server::dev(&limit);
    let mut held = Vec::new();
    for n in 0..40 {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut answer = [0; 12];
        stream
            .read_exact(&mut answer)
            .unwrap_or_else(|_| panic!("page {n}"));
        // Until it is idle: the answer's end says so.
        let mut rest = Vec::new();
        let mut byte = [0];
        while !rest.ends_with(b"\r\n\r\nOK") {
            stream.read_exact(&mut byte).unwrap();
            rest.push(byte[0]);
        }
        held.push(stream);
    }
    // The oldest was closed for it; the newest is asked again.
    assert!(matches!(held[0].read(&mut [0]), Ok(0) | Err(_)));
    let newest = held.last_mut().unwrap();
    newest
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    newest.read_exact(&mut [0; 12]).unwrap();
}

type WebSocket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

async fn signal(server: &Server, identity: &str) -> Option<WebSocket> {
    let request = protocol::signal::encode_join_request(&Default::default());
    let token = token("room", identity);
    let url = format!(
        "ws://{}/rtc/v1?access_token={token}&join_request={request}",
        server.address
    );
    let mut socket = connect_async(url).await.ok()?.0;
    // `join`: what was a connection of HTTP is over.
    socket.next().await?.ok()?;
    Some(socket)
}

#[tokio::test]
async fn signal_connections_are_connections_and_of_n_and_one_more_one_waits() {
    // One listener: each holds a place for the connection it waits for.
    let arguments = ["--dev", "--bind", "127.0.0.1"];
    let server = Server::start(&arguments, &[("CONCLAVE_LIMITS_MAX_CONNECTIONS", "2")]);
    let one = signal(&server, "one").await.unwrap();
    let _two = signal(&server, "two").await.unwrap();
    let mut third = Box::pin(signal(&server, "three"));
    let waiting = tokio::time::timeout(Duration::from_millis(500), &mut third).await;
    assert!(waiting.is_err(), "n + 1 is taken");
    drop(one);
    let taken = tokio::time::timeout(PATIENCE, third).await;
    assert!(taken.unwrap().is_some());
}

#[tokio::test]
async fn signal_connections_of_an_address_are_counted_as_long_as_they_live() {
    let limit = [("CONCLAVE_LIMITS_MAX_CONNECTIONS_PER_ADDRESS", "2")];
    let server = Server::dev(&limit);
    let one = signal(&server, "one").await.unwrap();
    let _two = signal(&server, "two").await.unwrap();
    assert!(signal(&server, "three").await.is_none(), "n + 1 is closed");
    drop(one);
    // It takes the server a moment to notice.
    let taken = tokio::time::timeout(PATIENCE, async {
        while signal(&server, "three").await.is_none() {
            tokio::task::yield_now().await;
        }
    });
    taken.await.unwrap();
}

#[test]
fn long_heads_of_many_connections_share_one_budget_and_usual_ones_need_none() {
    let server = Server::dev(&[]);
    // 60 heads of 700 kB that never end: 42 MB, of which one network may have four.
    let mut held: Vec<_> = (0..60)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            let head = format!(
                "GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}",
                "x".repeat(700_000)
            );
            let _ = stream.write_all(head.as_bytes());
            stream
        })
        .collect();
    // Those that do not fit are told so or cut off; of the others nothing is heard, until they have taken too long.
    let deadline = Instant::now() + Duration::from_secs(10);
    while held.len() > 6 {
        assert!(Instant::now() < deadline, "{} are held", held.len());
        held.retain_mut(|stream| {
            let wait = Some(Duration::from_millis(10));
            stream.set_read_timeout(wait).unwrap();
            let heard = stream.read(&mut [0; 12]);
            heard.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        });
    }
    assert!(!held.is_empty(), "a long head fits");
    let resident = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap()
            .to_owned();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<usize>()
            .unwrap()
    };
    assert!(
        resident(server.id()) < 200_000,
        "{} kB",
        resident(server.id())
    );
    assert_eq!(server.get("/").body, "OK", "a usual request is answered");
    drop(held);
}

/// A server in a shell that has been told this limit of open files, once it is ready: its log, and its limits.
fn with_open_files(limit: &str) -> (String, String) {
    use std::os::unix::process::CommandExt;
    let mut shell = std::process::Command::new("sh");
    let text = format!(
        "ulimit {limit}; exec {} serve --dev",
        env!("CARGO_BIN_EXE_conclave")
    );
    shell.args(["-c", &text]).process_group(0);
    for (name, value) in [
        ("HTTP_PORT", "0"),
        ("MEDIA_PORT", "0"),
        ("MEDIA_TCP_PORT", "0"),
        ("METRICS_ENABLED", "false"),
    ] {
        shell.env(format!("CONCLAVE_{name}"), value);
    }
    let mut shell = shell
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut log = String::new();
    let mut byte = [0];
    while !log.contains(" ready ") && shell.stderr.as_mut().unwrap().read(&mut byte).unwrap() == 1 {
        log.push(byte[0] as char);
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", shell.id())).unwrap();
    shell.kill().unwrap();
    shell.wait().unwrap();
    (log, limits)
}

#[test]
fn the_limit_of_open_files_is_raised_and_a_low_one_is_said() {
    let (_, limits) = with_open_files("-S -n 300");
    let mut lines = limits.lines();
    let line = lines.find(|line| line.starts_with("Max open files"));
    let figures: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(figures[3], figures[4], "{limits}");
    // And where there may be no more.
    let (log, _) = with_open_files("-n 1000");
    assert!(log.contains("fewer files open"), "{log}");
}

#[test]
fn a_token_of_a_megabyte_is_refused_and_the_next_request_is_answered() {
    let server = Server::dev(&[]);
    let large = "x".repeat((1 << 20) + 1);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "GET /rtc/v1/validate HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {large}\r\n\r\n"
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
