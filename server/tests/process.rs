//! The process: what it says when it cannot start, and how it ends.

mod support;

use std::{fs, net::TcpListener, net::UdpSocket, path::PathBuf};

use support::{Server, request, run_to_end};

/// A file of this test's own, removed with it.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("conclave-{}-{name}.toml", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_used_port_is_one_clear_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, text) = run_to_end(
        &["--dev"],
        &[
            ("CONCLAVE_HTTP_PORT", &port),
            ("CONCLAVE_LOG_FILTER", "off"),
        ],
    );
    assert_eq!(code, Some(1));
    let expected = format!("conclave: cannot listen on 127.0.0.1:{port}: Address already in use");
    assert!(
        text.starts_with(&expected) && text.lines().count() == 1,
        "{text}"
    );
}

#[test]
fn a_used_media_port_is_one_clear_sentence() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, text) = run_to_end(
        &["--dev"],
        &[
            ("CONCLAVE_MEDIA_PORT", &port),
            ("CONCLAVE_LOG_FILTER", "off"),
        ],
    );
    assert_eq!(code, Some(1));
    assert!(
        text.contains(&format!(
            "cannot listen on UDP port {port}: Address already in use"
        )),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn an_unknown_key_names_its_line() {
    let file = File::new("unknown", "[http]\nport = 1\nprot = 2\n");
    let path = file.0.to_str().unwrap();
    let (code, text) = run_to_end(&["--config", path], &[]);
    assert_eq!(code, Some(1));
    assert!(
        text.contains(&format!("{path}, line 3: unknown field `prot`")),
        "{text}"
    );
}

#[test]
fn an_empty_file_is_a_working_node() {
    let file = File::new("empty", "");
    let server = Server::start(&["--config", file.0.to_str().unwrap()], &[]);
    assert_eq!(server.get("/").body, "OK");
    server.wait_for_log("there is no API key");
}

#[test]
fn reachable_development_mode_warns() {
    use std::io::Read;
    let server = std::process::Command::new(env!("CARGO_BIN_EXE_conclave"))
        .args(["serve", "--dev", "--bind", "0.0.0.0"])
        .envs([
            ("CONCLAVE_HTTP_PORT", "0"),
            ("CONCLAVE_MEDIA_PORT", "0"),
            ("CONCLAVE_METRICS_ENABLED", "false"),
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut server = server.unwrap();
    let mut text = String::new();
    let mut byte = [0];
    // Its output does not end while it runs.
    while !text.contains("WARNING") && server.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1
    {
        text.push(byte[0] as char);
    }
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(text.contains("WARNING"), "{text}");
}

#[test]
fn sigterm_ends_an_idle_server_with_success() {
    let server = Server::dev(&[]);
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped") && !log.contains("ERROR"), "{log}");
}

#[test]
fn figures_are_on_their_own_port_only() {
    let server = Server::dev(&[]);
    server.wait_for_log("metrics_port=Some(");
    let log = server.log();
    let port: u16 = log
        .split("metrics_port=Some(")
        .nth(1)
        .unwrap()
        .split(')')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let answer = request(([127, 0, 0, 1], port).into(), "GET", "/metrics", &[], "");
    assert_eq!(answer.status, 200);
    for line in [
        "conclave_rooms 0",
        "conclave_participants{shard=\"0\"} 0",
        "conclave_packets_in_total{shard=\"0\"}",
        "# EOF",
    ] {
        assert!(
            answer.body.contains(line),
            "{line} is missing:\n{}",
            answer.body
        );
    }
    assert_eq!(server.get("/metrics").status, 404);
}

#[test]
fn secrets_do_not_reach_the_log() {
    let file = File::new("secret", "[keys]\nmine = \"hush-hush\"\n");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_conclave"))
        .args(["check-config", file.0.to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("mine") && !text.contains("hush"),
        "{text}"
    );
}

#[test]
fn a_token_of_the_command_line_validates() {
    let server = Server::dev(&[]);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_conclave"))
        .args([
            "token",
            "create",
            "--room",
            "r",
            "--identity",
            "i",
            "--valid-for",
            "1h",
        ])
        .output()
        .unwrap();
    let token = String::from_utf8(output.stdout).unwrap();
    let answer = server.get(&format!("/rtc/v1/validate?access_token={}", token.trim()));
    // Past the token: what is missing is the join request.
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (400, "join_request is required")
    );
}
