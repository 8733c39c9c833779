//! `cargo xtask bench`: the figures of the project, in one run. Tables on standard output, files in `target/bench/`.

use std::{
    error::Error,
    fs,
    net::{TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

/// Receivers of the join bench: enough for a median.
const RECEIVERS: &str = "12";

/// A server that ends with the bench, whatever happens.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs all benches.
pub fn run() -> Result<(), Box<dyn Error>> {
    let target =
        PathBuf::from(std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into()));
    fs::create_dir_all("target/bench")?;
    cargo(&["bench", "-p", "server", "--bench", "forward"])?;
    cargo(&["bench", "-p", "server", "--bench", "negotiation"])?;
    cargo(&["bench", "-p", "server", "--bench", "turns"])?;
    cargo(&["bench", "-p", "server", "--bench", "crowd"])?;
    cargo(&[
        "build",
        "--profile",
        "bench",
        "-p",
        "server",
        "--bin",
        "conclave",
    ])?;
    cargo(&[
        "build",
        "--profile",
        "bench",
        "-p",
        "client",
        "--example",
        "probe",
    ])?;

    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let media = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let _server = Server(
        Command::new(target.join("release/conclave"))
            .args(["serve", "--dev"])
            .env("CONCLAVE_HTTP_PORT", port.to_string())
            .env("CONCLAVE_MEDIA_PORT", media.to_string())
            .env("CONCLAVE_MEDIA_TCP", "false")
            .env("CONCLAVE_MEDIA_SHARDS", "1")
            .env("CONCLAVE_METRICS_ADDRESS", metrics.to_string())
            .stdout(Stdio::null())
            .spawn()?,
    );
    for _ in 0..100 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    println!("\nA native client's time from connect():");
    let probe = Command::new(target.join("release/examples/probe"))
        .args([&format!("ws://127.0.0.1:{port}"), RECEIVERS])
        .stderr(Stdio::inherit())
        .output()?;
    let table = String::from_utf8_lossy(&probe.stdout);
    print!("{table}");
    fs::write("target/bench/join.txt", table.as_bytes())?;
    match probe.status.success() {
        true => Ok(()),
        false => Err("the join bench failed".into()),
    }
}

fn cargo(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let status = Command::new(env!("CARGO")).args(arguments).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("cargo {} failed", arguments.join(" ")).into()),
    }
}
