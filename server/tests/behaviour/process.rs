//! The process: what it says when it cannot start, and how it ends.

use std::{fs, net::TcpListener, net::UdpSocket, path::PathBuf};

use crate::support::{Server, request, run_to_end};

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
        "conclave_shard_turn_cpu_seconds_bucket{le=\"+Inf\",shard=\"0\"}",
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
    let secret = "hush-hush-hush-hush-hush-hush-hush-hush";
    let hook = "http://lovelace:pass-word@hook.example.org:8443/in?key=bearer-of-secrets";
    let text = format!("[keys]\nmine = \"{secret}\"\n[webhook]\nurls = [\"{hook}\"]\n");
    let file = File::new("secret", &text);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_conclave"))
        .args(["check-config", file.0.to_str().unwrap()])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && printed.contains("mine"),
        "{printed}"
    );
    let database = std::env::temp_dir().join(format!("conclave-{}-hooks.db", std::process::id()));
    let server = Server::start(
        &["--config", file.0.to_str().unwrap()],
        &[("CONCLAVE_WEBHOOK_FILE", database.to_str().unwrap())],
    );
    server.wait_for_log("ready");
    for text in [printed, server.log()] {
        assert!(text.contains("http://hook.example.org:8443"), "{text}");
        for word in ["hush", "lovelace", "pass-word", "bearer"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
    drop(server);
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", database.display()));
    }
}

#[test]
fn a_short_secret_is_refused_except_for_development() {
    for (length, is_taken) in [(1, false), (31, false), (32, true)] {
        let file = File::new(
            "short",
            &format!("[keys]\nmine = \"{}\"\n", "s".repeat(length)),
        );
        let path = file.0.to_str().unwrap();
        let check = std::process::Command::new(env!("CARGO_BIN_EXE_conclave"))
            .args(["check-config", path])
            .output()
            .unwrap();
        assert_eq!(check.status.success(), is_taken, "{length}");
        if !is_taken {
            let (code, text) = run_to_end(&["--config", path], &[]);
            assert_eq!(code, Some(1));
            assert!(
                text.contains("the secret of API key mine is shorter than 32 bytes"),
                "{text}"
            );
            assert!(!text.contains("sss"), "{text}");
        }
    }
    let server = Server::dev(&[("CONCLAVE_KEYS", "mine: short")]);
    assert_eq!(server.get("/").body, "OK");
}

#[test]
fn a_configuration_is_checked_with_its_filter_and_the_files_it_names() {
    for (name, text, why) in [
        ("filter", "[log]\nfilter = \"a=b=c\"\n", "log.filter"),
        (
            "certificate",
            "[tls]\ncertificate = \"/nowhere/cert.pem\"\nkey = \"/nowhere/key.pem\"\n",
            "cannot read tls.certificate /nowhere/cert.pem",
        ),
    ] {
        let file = File::new(name, text);
        let check = std::process::Command::new(env!("CARGO_BIN_EXE_conclave"))
            .args(["check-config", file.0.to_str().unwrap()])
            .output()
            .unwrap();
        let said = String::from_utf8(check.stderr).unwrap();
        assert!(!check.status.success() && said.contains(why), "{said}");
    }
}

#[test]
fn the_secret_for_a_token_comes_from_a_file_or_from_the_environment() {
    let secret = "hush-hush-hush-hush-hush-hush-hush-hush";
    let file = File::new("api-secret", &format!("{secret}\n"));
    let create = |more: &[&str], environment: &[(&str, &str)]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_conclave"))
            .args([
                "token",
                "create",
                "--room",
                "r",
                "--identity",
                "i",
                "--api-key",
                "mine",
            ])
            .args(more)
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let keys = protocol::token::Keys::new([("mine", secret)]);
    let valid = |(success, token): (bool, String)| {
        success && protocol::token::verify(token.trim(), &keys, crate::support::now()).is_ok()
    };
    let path = file.0.to_str().unwrap();
    assert!(valid(create(&["--api-secret-file", path], &[])));
    assert!(valid(create(&[], &[("CONCLAVE_API_SECRET", secret)])));
    // Everybody on the machine could read it.
    assert!(!create(&["--api-secret", secret], &[]).0);
    assert!(!create(&[], &[]).0);
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
