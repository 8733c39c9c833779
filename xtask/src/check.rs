//! The invariants of ARCHITECTURE.md that a text search can prove. Each is an absence.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use crate::{
    protocol, security,
    source::{Source, sources},
    structure,
};

/// Crates that know no runtime, socket, file, clock, thread, lock or global randomness.
const PURE: [&str; 6] = ["protocol", "sfu", "e2ee", "turn", "signaling", "node"];

/// What the code of a pure crate never names.
const IMPURE: [&str; 22] = [
    "tokio",
    "std::fs",
    "std::io::stdin",
    "std::thread",
    "std::process",
    "std::env",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "Instant::now",
    "SystemTime::now",
    "thread::spawn",
    "Mutex",
    "RwLock",
    "Condvar",
    "static mut",
    "thread_local",
    "rand::rng",
    "rand::random",
    "thread_rng",
    "OsRng",
    "println",
];

/// A name that only the given places may say.
const CONFINED: [(&str, &[&str]); 12] = [
    ("is::", &["sfu/src/transport.rs", "sfu/src/transport/"]),
    // Making the certificate needs the system's random numbers, which the engine does not know.
    (
        "dimpl",
        &[
            "sfu/src/transport.rs",
            "sfu/src/transport/",
            "server/src/media.rs",
            "client/src/dtls.rs",
            "sim/src/lib.rs",
            "fuzz/src/media.rs",
        ],
    ),
    (
        "sctp_proto",
        &["sfu/src/transport.rs", "sfu/src/transport/"],
    ),
    ("str0m", &["client/"]),
    ("openmls", &["e2ee/"]),
    ("sframe", &["e2ee/"]),
    ("axum", &["server/src/edge.rs", "server/src/edge/"]),
    (
        "sqlx",
        &[
            "server/src/database.rs",
            "server/src/groups/store.rs",
            "server/src/webhooks/outbox.rs",
            "server/src/meetings/store.rs",
        ],
    ),
    // What goes where is decided in one place, which the server and the simulator share. Fuzzing, and a crowd without
    // its media, feed a room alone.
    (
        "RoomOutput",
        &[
            "node/src/hosted_room.rs",
            "signaling/",
            "fuzz/",
            "sim/src/crowd.rs",
        ],
    ),
    (
        "Room::new",
        &[
            "node/src/hosted_room.rs",
            "signaling/",
            "fuzz/",
            "sim/src/crowd.rs",
        ],
    ),
    (
        "Negotiator::new",
        &["node/src/hosted_room.rs", "sfu/", "fuzz/"],
    ),
    ("Shard::new", &["node/src/hosted_shard.rs", "sfu/", "fuzz/"]),
];

/// Leaf modules that may be `unsafe`: vector instructions, system calls, and calls of libsrtp.
const UNSAFE: [&str; 5] = [
    "sfu/src/simd.rs",
    "server/src/udp.rs",
    "server/src/udp/",
    "sim/src/os.rs",
    "interop/src/libsrtp.rs",
];

/// Lines of a file without its tests. The design aims at 700; a tenth more is not worth a red build.
const FILE: usize = 770;

/// Prints every breach; an error where there is one.
pub fn run() -> Result<(), Box<dyn Error>> {
    let root = root();
    let mut breaches = Vec::new();
    let mut files = 0;
    for member in members(&root)? {
        let all = sources(&root, &member)?;
        files += all.len();
        for source in &all {
            breaches.extend(check(source));
        }
        breaches.extend(structure::check(&member, &all));
    }
    for lock in ["web-client", "tests"] {
        breaches.extend(hosts(&root, &format!("{lock}/package-lock.json")));
    }
    breaches.extend(security::check(&root));
    breaches.extend(protocol::check(&root));
    for breach in &breaches {
        println!("{breach}");
    }
    match breaches.len() {
        0 => {
            println!("invariants: {files} files, no breach");
            Ok(())
        }
        many => Err(format!("{many} breaches of ARCHITECTURE.md's invariants").into()),
    }
}

/// The breaches of one file, each with its place.
fn check(source: &Source) -> Vec<String> {
    let path = &source.path;
    let mut breaches = Vec::new();
    let mut forbid = |word: &str, why: &str| {
        for line in source.lines_with(word) {
            breaches.push(format!("{path}:{line}: `{word}`: {why}"));
        }
    };
    if PURE
        .iter()
        .any(|member| path.starts_with(&format!("{member}/")))
    {
        for word in IMPURE {
            forbid(
                word,
                "this crate is pure: time, randomness and bytes are arguments",
            );
        }
    }
    for (word, places) in CONFINED {
        if !places.iter().any(|place| path.starts_with(place)) {
            forbid(word, &format!("only {} may name it", places[0]));
        }
    }
    if !UNSAFE.iter().any(|place| path.starts_with(place)) {
        forbid(
            "unsafe",
            "only leaf modules named in xtask/src/check.rs are unsafe",
        );
    }
    if source.lines > FILE {
        breaches.push(format!(
            "{path}: {} lines without tests: split it by groups of verbs",
            source.lines
        ));
    }
    breaches
}

/// A lock file names packages and their hashes; where they come from is the user's setting.
fn hosts(root: &Path, path: &str) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(root.join(path)) else {
        return vec![format!("{path}: cannot be read")];
    };
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| line.contains("\"resolved\": \"http"))
        .map(|(index, _)| format!("{path}:{}: names a registry's host", index + 1))
        .collect()
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The folders of the workspace, from its `members` line.
fn members(root: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let list = manifest
        .split_once("members = [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .ok_or("no list of members in Cargo.toml")?
        .0;
    let names = list.split(',').map(|name| name.trim().trim_matches('"'));
    Ok(names
        .filter(|name| !name.is_empty() && *name != "xtask")
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(path: &str, text: &str) -> usize {
        check(&Source::new(path, text)).len()
    }

    #[test]
    fn a_clock_in_a_pure_crate_is_a_breach_and_in_the_server_is_not() {
        let text = "fn a() -> Instant { Instant::now() }\n";
        assert_eq!(breaches("sfu/src/shard.rs", text), 1);
        assert_eq!(breaches("server/src/shell.rs", text), 0);
    }

    #[test]
    fn a_confined_crate_is_named_at_home_only() {
        let text = "use dimpl::Dtls;\n";
        assert_eq!(breaches("sfu/src/transport.rs", text), 0);
        assert_eq!(breaches("sfu/src/shard.rs", text), 1);
        assert_eq!(breaches("server/src/main.rs", "use axum::Router;\n"), 1);
        assert_eq!(breaches("server/src/edge/ws.rs", "use axum::Router;\n"), 0);
    }

    #[test]
    fn only_the_switchboard_says_where_outputs_of_a_room_go() {
        let text = "fn route(output: RoomOutput) {\n    match output {\n        RoomOutput::Closed => {}\n    }\n}\n";
        for path in ["server/src/rooms.rs", "sim/src/server/room.rs"] {
            assert_eq!(breaches(path, text), 2, "{path}");
            assert_eq!(breaches(path, "fn a() { Negotiator::new(c, s) }\n"), 1);
            assert_eq!(breaches(path, "fn a() { sfu::Shard::new(c) }\n"), 1);
            assert_eq!(breaches(path, "fn a() { HostedShard::new(c) }\n"), 0);
        }
        assert_eq!(breaches("node/src/hosted_room.rs", text), 0);
    }

    #[test]
    fn unsafe_code_outside_the_leaves_is_a_breach() {
        let text = "fn a(p: *const u8) -> u8 { unsafe { *p } }\n";
        assert_eq!(breaches("sfu/src/simd.rs", text), 0);
        assert_eq!(breaches("sfu/src/fanout.rs", text), 1);
    }

    #[test]
    fn a_file_that_grew_too_long_is_a_breach_but_its_tests_are_free() {
        let long = "// a line\n".repeat(FILE + 1);
        assert_eq!(breaches("sfu/src/shard.rs", &long), 1);
        let tested = format!("// a line\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert_eq!(breaches("sfu/src/shard.rs", &tested), 0);
    }
}
