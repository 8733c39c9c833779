//! A server process of its own for each test, on ports that the system chooses, and the clients to ask it with.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use protocol::token::{Grant, Keys, VideoGrant, sign};

/// Long enough for a loaded machine; nothing waits for it to pass.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
pub struct Server {
    process: Child,
    /// Where it answers HTTP.
    pub address: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Server {
    /// `conclave serve --dev`, with further variables of the environment.
    pub fn dev(environment: &[(&str, &str)]) -> Self {
        Self::start(&["--dev"], environment)
    }

    /// `conclave serve` with `arguments`.
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut process = command(arguments, environment).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let reader = collect(process.stderr.take().unwrap(), log.clone());
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let port = line
            .trim()
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let Some(port) = port else {
            panic!(
                "the server did not start: {line:?}, {}",
                log.lock().unwrap()
            )
        };
        Self {
            process,
            address: SocketAddr::new([127, 0, 0, 1].into(), port),
            log,
            reader: Some(reader),
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it has logged `text`.
    pub fn wait_for_log(&self, text: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(
                std::time::Instant::now() < deadline,
                "{text:?} was never logged:\n{}",
                self.log()
            );
            std::thread::yield_now();
        }
    }

    /// Sends it a signal (`TERM`).
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.process.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for its end; everything it logged is in the result.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let status = self.process.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (status, self.log())
    }

    /// One HTTP request: status, head and body.
    pub fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        request(self.address, method, target, headers, body)
    }

    /// `GET target` without further headers.
    pub fn get(&self, target: &str) -> Answer {
        self.request("GET", target, &[], "")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server that is not expected to run: its exit code and what it said.
pub fn run_to_end(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = command(arguments, environment).output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conclave"));
    command
        .arg("serve")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
        .env("CONCLAVE_HTTP_PORT", "0")
        .env("CONCLAVE_MEDIA_PORT", "0")
        .env("CONCLAVE_MEDIA_TCP_PORT", "0")
        .env("CONCLAVE_MEDIA_SHARDS", "1");
    command.env("CONCLAVE_METRICS_ADDRESS", "127.0.0.1:0");
    command.envs(environment.iter().copied());
    command
}

fn collect(stderr: ChildStderr, log: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    })
}

/// Answer to an HTTP request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    /// As text, which it mostly is.
    pub body: String,
    pub bytes: Vec<u8>,
}

impl Answer {
    /// A header's value; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        let of = |line: &'_ str| {
            line.split_once(": ")
                .is_some_and(|(n, _)| n.eq_ignore_ascii_case(name))
        };
        self.head
            .lines()
            .find(|line| of(line))
            .and_then(|line| line.split_once(": "))
            .map_or("", |(_, value)| value)
    }
}

/// One HTTP/1.1 request on a connection of its own.
pub fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text =
        format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let bytes = answer[end + 4..].to_vec();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head: head.to_owned(),
        body: String::from_utf8_lossy(&bytes).into_owned(),
        bytes,
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A grant to join `room` as `identity`, of the development key.
pub fn grant(room: &str, identity: &str) -> Grant {
    let video = VideoGrant {
        room_join: true,
        room: room.to_owned(),
        ..VideoGrant::default()
    };
    Grant {
        api_key: "devkey".to_owned(),
        identity: identity.to_owned(),
        video: Some(video),
        ..Grant::default()
    }
}

/// The head of a request whose body is JSON.
pub const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A token with these rights, of the development key.
pub fn with(video: VideoGrant) -> String {
    let grant = Grant {
        api_key: "devkey".to_owned(),
        video: Some(video),
        ..Grant::default()
    };
    signed(&grant, "secret", now())
}

/// A token for `grant`, signed with `secret`, issued at `at`.
pub fn signed(grant: &Grant, secret: &str, at: u64) -> String {
    let keys = Keys::new([(grant.api_key.as_str(), secret)]);
    sign(grant, &keys, at, Some(Duration::from_secs(600))).unwrap()
}

/// A good token.
pub fn token(room: &str, identity: &str) -> String {
    signed(&grant(room, identity), "secret", now())
}
