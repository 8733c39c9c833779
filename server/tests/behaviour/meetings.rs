//! Meetings by link: who may start and enter them, and what strangers, guests that were removed, and pages of other sites
//! get.

use std::{fs, path::PathBuf};

use crate::support::{Answer, JSON, Server, now, signed};
use protocol::{
    livekit::JoinRequest,
    signal::encode_join_request,
    token::{Grant, VideoGrant},
};
use serde_json::Value;

/// A folder of this test's own, removed with it, and the settings of its servers.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("conclave-by-link-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A server outside development mode, with these settings of meetings.
    fn server(&self, settings: &[(&str, &str)]) -> Server {
        let file = self.0.join("meetings.db");
        let mut environment = vec![
            (
                "CONCLAVE_KEYS",
                "app: hush-hush-hush-hush-hush-hush-hush-hush",
            ),
            ("CONCLAVE_MEDIA_ADDRESSES", "['127.0.0.1']"),
            ("CONCLAVE_MEETINGS_FILE", file.to_str().unwrap()),
        ];
        environment.extend(settings);
        Server::start(&["--bind", "127.0.0.1"], &environment)
    }

    fn open(&self) -> Server {
        self.server(&[
            ("CONCLAVE_MEETINGS_START", "anyone"),
            ("CONCLAVE_MEETINGS_JOIN", "link"),
        ])
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("no JSON: {answer:?}"))
}

fn start(server: &Server) -> String {
    let answer = server.request("POST", "/api/v1/rooms", &[JSON], "{}");
    assert_eq!(answer.status, 201, "{answer:?}");
    json(&answer)["slug"].as_str().unwrap().to_owned()
}

fn enter(server: &Server, slug: &str, cookie: &str) -> Answer {
    let target = format!("/api/v1/rooms/{slug}/enter");
    let cookie = ("Cookie", cookie);
    server.request(
        "POST",
        &target,
        &[JSON, cookie],
        r#"{"name":"Zoë","tab":"t"}"#,
    )
}

/// `name=value` of the cookie that was set.
fn cookie(answer: &Answer) -> String {
    let line = answer.header("set-cookie");
    line.split(';').next().unwrap().to_owned()
}

fn token(answer: &Answer) -> String {
    json(answer)["token"].as_str().unwrap().to_owned()
}

/// What a token says.
fn claims(token: &str) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn validate(server: &Server, token: &str) -> (u16, String) {
    let request = encode_join_request(&JoinRequest::default());
    let target = format!("/rtc/v1/validate?access_token={token}&join_request={request}");
    let answer = server.get(&target);
    (answer.status, answer.body)
}

/// A call of the server API by the application.
fn call(server: &Server, method: &str, room: &str, body: &str) -> Answer {
    let video = VideoGrant {
        room_create: true,
        room_admin: true,
        room: room.to_owned(),
        ..VideoGrant::default()
    };
    let grant = Grant {
        api_key: "app".to_owned(),
        video: Some(video),
        ..Grant::default()
    };
    let token = signed(&grant, "hush-hush-hush-hush-hush-hush-hush-hush", now());
    let bearer = format!("Bearer {token}");
    let target = format!("/twirp/livekit.RoomService/{method}");
    server.request("POST", &target, &[JSON, ("Authorization", &bearer)], body)
}

fn refused(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let json = json(answer);
    assert_eq!(
        (&json["state"], &json["reason"]),
        (&"refused".into(), &reason.into())
    );
    assert!(
        json["error"].is_string() && json.get("token").is_none(),
        "{json}"
    );
    assert_eq!(
        answer.header("set-cookie"),
        "",
        "who is refused gets no cookie"
    );
}

#[test]
fn by_default_meetings_are_neither_started_nor_entered_by_link() {
    let folder = Folder::new();
    let server = folder.server(&[]);
    let settings = json(&server.get("/api/v1/config"));
    assert_eq!(
        settings,
        serde_json::json!({"start": "nobody", "join": "token", "development": false})
    );
    let answer = server.request("POST", "/api/v1/rooms", &[JSON], "{}");
    refused(&answer, 403, "start-not-allowed");
    refused(&enter(&server, "abcd-efgh-jkm", ""), 403, "token-required");
    assert!(!folder.0.join("meetings.db").exists());
}

#[test]
fn each_setting_allows_what_it_says() {
    let folder = Folder::new();
    let slug = start(&folder.open());
    // Old meetings are still entered where no new ones are started.
    let server = folder.server(&[("CONCLAVE_MEETINGS_JOIN", "link")]);
    let answer = server.request("POST", "/api/v1/rooms", &[JSON], "");
    refused(&answer, 403, "start-not-allowed");
    assert_eq!(enter(&server, &slug, "").status, 200);
    drop(server);
    // And the other way round nobody enters.
    let settings = [
        ("CONCLAVE_MEETINGS_START", "anyone"),
        ("CONCLAVE_MEETINGS_JOIN", "token"),
    ];
    let server = folder.server(&settings);
    server.wait_for_log("meetings.join lets nobody enter it by link");
    let slug = start(&server);
    refused(&enter(&server, &slug, ""), 403, "token-required");
}

#[test]
fn a_meeting_by_link_is_entered_under_a_name_and_outlives_a_restart() {
    let folder = Folder::new();
    let server = folder.open();
    let slug = start(&server);
    let answer = enter(&server, &slug, "");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "",
        "for our pages only"
    );
    let admitted = json(&answer);
    assert_eq!(admitted["state"], "admitted");
    assert_eq!(admitted["url"], format!("ws://{}", server.address));
    let claims = claims(&token(&answer));
    assert_eq!(
        (&claims["name"], &claims["video"]["room"]),
        (&"Zoë".into(), &slug.as_str().into())
    );
    for right in [
        "roomAdmin",
        "roomCreate",
        "roomList",
        "roomRecord",
        "ingressAdmin",
    ] {
        assert_eq!(
            claims["video"].get(right),
            None,
            "a guest has no right but to join"
        );
    }
    assert_eq!(
        validate(&server, &token(&answer)),
        (200, "success".to_owned())
    );
    let cookie = cookie(&answer);
    let identity = claims["sub"].clone();
    drop(server);

    let server = folder.open();
    let again = enter(&server, &slug, &cookie);
    assert_eq!(
        self::claims(&token(&again))["sub"],
        identity,
        "the same guest"
    );
    // Nobody who is in needs to enter again: the token is still good.
    assert_eq!(validate(&server, &token(&answer)).0, 200);
    let other = enter(&server, &slug, "");
    assert_ne!(self::claims(&token(&other))["sub"], identity);
    // The body may be missing altogether.
    let target = format!("/api/v1/rooms/{slug}/enter");
    assert_eq!(server.request("POST", &target, &[], "").status, 200);
}

#[test]
fn a_meeting_by_link_opens_its_room_where_rooms_are_not_opened_by_who_joins() {
    let folder = Folder::new();
    let server = folder.server(&[
        ("CONCLAVE_MEETINGS_START", "anyone"),
        ("CONCLAVE_ROOM_AUTO_CREATE", "false"),
    ]);
    let slug = start(&server);
    let guest = enter(&server, &slug, "");
    assert_eq!(validate(&server, &token(&guest)).0, 200);
    // Nothing else is opened by a stranger.
    refused(&enter(&server, "standup", ""), 404, "unknown");
}

#[test]
fn no_guest_walks_into_an_applications_room_by_its_name() {
    let folder = Folder::new();
    let server = folder.open();
    let named = ["standup", "abcd-efgh-jkm"];
    for room in named {
        let created = call(
            &server,
            "CreateRoom",
            room,
            &format!(r#"{{"name":"{room}"}}"#),
        );
        assert_eq!(created.status, 200, "{created:?}");
        refused(&enter(&server, room, ""), 404, "unknown");
    }
    // Nor does anybody learn that it exists.
    let nowhere = enter(&server, "zzzz-zzzz-zzz", "");
    assert_eq!(nowhere.body, enter(&server, "standup", "").body);
    for odd in [
        "",
        "%2e%2e",
        "..",
        "a%20b",
        "standup/",
        "standup?x=1",
        "STANDUP",
        "a/b",
    ] {
        let answer = enter(&server, odd, "");
        assert!(
            answer.status >= 400 && !answer.body.contains("eyJ"),
            "{odd}: {answer:?}"
        );
    }
}

#[test]
fn who_was_removed_does_not_come_back() {
    let folder = Folder::new();
    let server = folder.open();
    let slug = start(&server);
    let first = enter(&server, &slug, "");
    let (cookie, old_token) = (cookie(&first), token(&first));
    let identity = claims(&old_token)["sub"].as_str().unwrap().to_owned();
    let body = format!(r#"{{"room":"{slug}","identity":"{identity}"}}"#);
    // Not there yet, or not any more: removed all the same.
    call(&server, "RemoveParticipant", &slug, &body);
    refused(&enter(&server, &slug, &cookie), 403, "removed");
    assert_eq!(
        validate(&server, &old_token),
        (401, "token was revoked".to_owned())
    );
    // From another window of the same browser; with a second cookie before it.
    let target = format!("/api/v1/rooms/{slug}/enter");
    let other_tab = server.request(
        "POST",
        &target,
        &[JSON, ("Cookie", &cookie)],
        r#"{"tab":"x"}"#,
    );
    refused(&other_tab, 403, "removed");
    let crowded = format!("theme=dark; conclave_guest=nonsense; {cookie}");
    refused(&enter(&server, &slug, &crowded), 403, "removed");
    assert_eq!(enter(&server, &slug, "").status, 200, "others may");
    drop(server);

    let server = folder.open();
    refused(&enter(&server, &slug, &cookie), 403, "removed");
    assert_eq!(validate(&server, &old_token).0, 401);
}

#[test]
fn how_many_are_in_a_meeting_is_told_to_whoever_could_enter_it_and_to_nobody_else() {
    let folder = Folder::new();
    let server = folder.open();
    let slug = start(&server);
    let look = |slug: &str, headers: &[(&str, &str)]| {
        server.request("GET", &format!("/api/v1/rooms/{slug}"), headers, "")
    };
    let answer = look(&slug, &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    // A number, and nothing else; who only looks gets no cookie.
    assert_eq!(json(&answer), serde_json::json!({"people": 0}));
    assert_eq!(answer.header("set-cookie"), "");
    assert_eq!(answer.header("cache-control"), "no-store");
    refused(&look("zzzz-zzzz-zzz", &[]), 404, "unknown");
    let cross = [("Sec-Fetch-Site", "cross-site")];
    refused(&look(&slug, &cross), 403, "cross-site");
    let target = format!("/api/v1/rooms/{slug}");
    refused(
        &server.request("POST", &target, &[JSON], "{}"),
        405,
        "malformed",
    );

    // An application's room is none of a stranger's business.
    call(&server, "CreateRoom", "standup", r#"{"name":"standup"}"#);
    refused(&look("standup", &[]), 404, "unknown");

    let guest = enter(&server, &slug, "");
    let identity = claims(&token(&guest))["sub"].as_str().unwrap().to_owned();
    let body = format!(r#"{{"room":"{slug}","identity":"{identity}"}}"#);
    call(&server, "RemoveParticipant", &slug, &body);
    let cookie = cookie(&guest);
    refused(&look(&slug, &[("Cookie", &cookie)]), 403, "removed");
    call(
        &server,
        "DeleteRoom",
        &slug,
        &format!(r#"{{"room":"{slug}"}}"#),
    );
    refused(&look(&slug, &[]), 410, "ended");
    drop(server);

    let server = folder.server(&[]);
    let answer = server.request("GET", &target, &[], "");
    refused(&answer, 403, "token-required");
}

#[test]
fn a_stranger_removes_and_ends_nothing() {
    let folder = Folder::new();
    let server = folder.open();
    let slug = start(&server);
    let guest = enter(&server, &slug, "");
    let identity = claims(&token(&guest))["sub"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {}", token(&guest));
    for (method, body) in [
        (
            "RemoveParticipant",
            format!(r#"{{"room":"{slug}","identity":"{identity}"}}"#),
        ),
        ("DeleteRoom", format!(r#"{{"room":"{slug}"}}"#)),
    ] {
        let target = format!("/twirp/livekit.RoomService/{method}");
        let own = server.request("POST", &target, &[JSON, ("Authorization", &bearer)], &body);
        assert_eq!(own.status, 401, "{method}");
        let elsewhere = call(&server, "RemoveParticipant", "another-room", &body);
        assert_eq!(elsewhere.status, 401, "a moderator of another room");
    }
    assert_eq!(enter(&server, &slug, &cookie(&guest)).status, 200);
}

#[test]
fn a_meeting_that_was_ended_for_everyone_stays_so() {
    let folder = Folder::new();
    let server = folder.open();
    let slug = start(&server);
    let guest = enter(&server, &slug, "");
    let body = format!(r#"{{"room":"{slug}"}}"#);
    // Nobody is in it: it is ended all the same.
    assert_eq!(call(&server, "DeleteRoom", &slug, &body).status, 200);
    refused(&enter(&server, &slug, &cookie(&guest)), 410, "ended");
    assert_eq!(validate(&server, &token(&guest)).0, 401);
    drop(server);
    let server = folder.open();
    refused(&enter(&server, &slug, ""), 410, "ended");
    let missing = call(&server, "DeleteRoom", "nothing", r#"{"room":"nothing"}"#);
    assert_eq!(missing.status, 404, "other rooms are as before");
}

#[test]
fn the_cookie_is_sent_to_this_service_only_and_no_page_reads_it() {
    let folder = Folder::new();
    let server = folder.open();
    let slug = start(&server);
    let target = format!("/api/v1/rooms/{slug}/enter");
    let plain = enter(&server, &slug, "");
    let line = plain.header("set-cookie");
    for attribute in [
        "Path=/api/v1/rooms",
        "HttpOnly",
        "SameSite=Strict",
        "Max-Age=",
    ] {
        assert!(line.contains(attribute), "{line}");
    }
    assert!(
        !line.contains("Secure") && !line.contains("Domain"),
        "{line}"
    );
    let proxied = server.request(
        "POST",
        &target,
        &[JSON, ("X-Forwarded-Proto", "https")],
        "{}",
    );
    assert!(proxied.header("set-cookie").contains("; Secure"));
    assert!(
        json(&proxied)["url"]
            .as_str()
            .unwrap()
            .starts_with("wss://")
    );
    // A proxy that says nothing and names us by another name: the browser knows where it is.
    let origin = ("Origin", "https://meet.example.org");
    let silent = [JSON, origin, ("Sec-Fetch-Site", "same-origin")];
    let silent = server.request("POST", &target, &silent, "{}");
    assert!(
        silent.header("set-cookie").contains("; Secure"),
        "{silent:?}"
    );
    assert_eq!(json(&silent)["url"], "wss://meet.example.org");
    // It is not in what others see.
    let value = cookie(&plain).split('=').nth(1).unwrap().to_owned();
    assert!(value.len() == 32 && !claims(&token(&plain)).to_string().contains(&value));
    // Whoever makes one up is nobody in particular: what is no cookie of ours is replaced.
    let forged = format!("conclave_guest={}", "z".repeat(32));
    let fresh = enter(&server, &slug, &forged);
    assert!(fresh.status == 200 && cookie(&fresh) != forged);
}

#[test]
fn pages_of_other_sites_start_and_enter_nothing() {
    let folder = Folder::new();
    let server = folder.open();
    let slug = start(&server);
    let host = server.address.to_string();
    let own = format!("http://{host}");
    let enter = format!("/api/v1/rooms/{slug}/enter");
    for target in ["/api/v1/rooms", &enter] {
        for foreign in [
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-site"),
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
        ] {
            let answer = server.request("POST", target, &[JSON, foreign], "{}");
            refused(&answer, 403, "cross-site");
            // Without a body no browser asks first.
            refused(
                &server.request("POST", target, &[foreign], ""),
                403,
                "cross-site",
            );
        }
        for ours in [("Sec-Fetch-Site", "same-origin"), ("Origin", own.as_str())] {
            let answer = server.request("POST", target, &[JSON, ours], "{}");
            assert!(answer.status < 300, "{answer:?}");
        }
        let preflight = [
            ("Origin", "https://evil.example"),
            ("Access-Control-Request-Method", "POST"),
        ];
        let answer = server.request("OPTIONS", target, &preflight, "");
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (405, "")
        );
    }
}

#[test]
fn what_is_no_sensible_request_is_refused_in_a_sentence() {
    let folder = Folder::new();
    let server = folder.open();
    let slug = start(&server);
    let target = format!("/api/v1/rooms/{slug}/enter");
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(257));
    let fits = format!(r#"{{"name":"{}"}}"#, "x".repeat(256));
    for (body, status, reason) in [
        ("nonsense", 400, "malformed"),
        ("[]", 400, "malformed"),
        (r#"["name"]"#, 400, "malformed"),
        (r#"{"name":7}"#, 400, "malformed"),
        ("\0", 400, "malformed"),
        (long.as_str(), 400, "name-too-long"),
        (&" ".repeat(5000), 413, "malformed"),
    ] {
        refused(
            &server.request("POST", &target, &[JSON], body),
            status,
            reason,
        );
    }
    assert_eq!(server.request("POST", &target, &[JSON], &fits).status, 200);
    let text = [("Content-Type", "text/plain")];
    refused(
        &server.request("POST", &target, &text, "{}"),
        415,
        "malformed",
    );
    for (method, target, allow) in [
        ("GET", target.as_str(), "POST"),
        ("GET", "/api/v1/rooms", "POST"),
        ("POST", "/api/v1/config", "GET, HEAD"),
        ("DELETE", target.as_str(), "POST"),
    ] {
        let answer = server.request(method, target, &[JSON], "");
        refused(&answer, 405, "malformed");
        assert_eq!(answer.header("allow"), allow);
    }
    for nothing in [
        "/api/",
        "/api/v1/rooms/",
        "/api/v1/rooms/x/y",
        "/api/v2/config",
        "/api/v1/config/x",
    ] {
        refused(&server.get(nothing), 404, "no-such-path");
    }
    assert_eq!(
        server.request("HEAD", "/api/v1/config", &[], "").status,
        200
    );
}

#[test]
fn codes_are_not_tried_out_whatever_address_is_claimed() {
    let folder = Folder::new();
    let server = folder.open();
    let slug = start(&server);
    let guess = |server: &Server, code: &str, from: &str| {
        let target = format!("/api/v1/rooms/{code}/enter");
        let forwarded = ("X-Forwarded-For", from);
        server.request("POST", &target, &[JSON, forwarded], "{}")
    };
    // The same wrong code is no further guess.
    let letters: Vec<char> = ('a'..='h').chain('p'..='z').chain(['j']).collect();
    let code = |n: usize| format!("aaaa-aaaa-aa{}", letters[n]);
    for n in 0..40 {
        let from = format!("192.0.2.{n}");
        refused(&guess(&server, &code(n / 2), &from), 404, "unknown");
    }
    let limited = guess(&server, &slug, "192.0.2.99");
    refused(&limited, 429, "too-many");
    let wait: u64 = limited.header("retry-after").parse().unwrap();
    assert!((1..=11).contains(&wait), "{wait}");
    drop(server);

    // Behind a proxy of ours each client has its own: the address that the proxy added, not one that the client wrote.
    let settings = [
        ("CONCLAVE_MEETINGS_START", "anyone"),
        ("CONCLAVE_HTTP_TRUSTED_PROXIES", "['127.0.0.1']"),
    ];
    let server = folder.server(&settings);
    for n in 0..20 {
        let forged = format!("203.0.113.{n}, 192.0.2.1:{n}, 127.0.0.1");
        refused(&guess(&server, &code(n), &forged), 404, "unknown");
    }
    refused(
        &guess(&server, &slug, "203.0.113.99, 192.0.2.1"),
        429,
        "too-many",
    );
    assert_eq!(guess(&server, &slug, "192.0.2.1, 192.0.2.2").status, 200);
}

#[test]
fn an_address_starts_n_meetings_and_not_one_more() {
    let folder = Folder::new();
    let server = folder.open();
    for _ in 0..30 {
        start(&server);
    }
    let answer = server.request("POST", "/api/v1/rooms", &[JSON], "{}");
    refused(&answer, 429, "too-many");
    assert!(!answer.header("retry-after").is_empty());
}

#[test]
fn neither_names_nor_cookies_nor_codes_reach_the_log() {
    let folder = Folder::new();
    let settings = [
        ("CONCLAVE_MEETINGS_START", "anyone"),
        ("CONCLAVE_LOG_FILTER", "trace"),
    ];
    let server = folder.server(&settings);
    let slug = start(&server);
    let answer = enter(&server, &slug, "");
    validate(&server, &token(&answer));
    server.signal("TERM");
    let secrets = [slug, cookie(&answer), token(&answer), "Zoë".to_owned()];
    let (_, log) = server.wait();
    for secret in &secrets {
        let ours = log
            .lines()
            .filter(|line| !line.contains("sqlx") && !line.contains("hyper"));
        assert!(
            !ours.into_iter().any(|line| line.contains(secret.as_str())),
            "{secret}"
        );
    }
}

#[test]
fn in_development_mode_anyone_starts_a_meeting_and_nothing_is_kept() {
    let server = Server::dev(&[]);
    let settings = json(&server.get("/api/v1/config"));
    assert_eq!(
        settings,
        serde_json::json!({"start": "anyone", "join": "link", "development": true})
    );
    let slug = start(&server);
    let answer = enter(&server, &slug, "");
    assert_eq!(
        validate(&server, &token(&answer)),
        (200, "success".to_owned())
    );
    // Joins of other rooms ask here first.
    for n in 0..30 {
        refused(&enter(&server, &format!("room-{n}"), ""), 404, "unknown");
    }
    assert_eq!(enter(&server, &slug, "").status, 200);
}

#[test]
fn who_may_not_enter_is_told_so_before_a_body_is_waited_for() {
    use std::io::{Read, Write};
    let folder = Folder::new();
    let server = folder.server(&[]);
    for target in ["/api/v1/rooms", "/api/v1/rooms/abcd-efgh-jkm/enter"] {
        let mut stream = std::net::TcpStream::connect(server.address).unwrap();
        // Less than a body is waited for.
        let timeout = std::time::Duration::from_secs(10);
        stream.set_read_timeout(Some(timeout)).unwrap();
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 403");
    }
}
