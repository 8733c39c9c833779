//! Every message and method that the code names has a row in `docs/protocol.md`.

use std::path::Path;

/// The table.
pub const TABLE: &str = "docs/protocol.md";

/// Where signal messages are named, and with what before them.
const MESSAGES: [(&str, &str); 2] = [
    ("signaling/src/room.rs", "M::"),
    ("signaling/src/session.rs", "signal_response::Message::"),
];

/// Where the methods of the server API are.
const METHODS: &str = "server/src/edge";

/// The breaches of this repository.
pub fn check(root: &Path) -> Vec<String> {
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap_or_default();
    let mut names = Vec::new();
    for (file, before) in MESSAGES {
        names.extend(messages(&read(file), before));
    }
    let edge = std::fs::read_dir(root.join(METHODS)).into_iter().flatten();
    for file in edge.flatten() {
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        names.extend(methods(&text));
    }
    breaches(&read(TABLE), &names)
}

fn breaches(table: &str, names: &[String]) -> Vec<String> {
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
    let has_row = |name: &String| {
        let quoted = format!("`{name}`");
        rows.iter().any(|row| row.contains(&quoted))
    };
    let missing = names.iter().filter(|name| !has_row(name));
    let mut breaches: Vec<String> = missing
        .map(|name| format!("{TABLE}: no row for `{name}`"))
        .collect();
    if names.is_empty() {
        breaches.push(format!("{TABLE}: no message was found in the code"));
    }
    breaches.dedup();
    breaches
}

/// `M::AddTrack(…)` → `add_track`
fn messages(text: &str, before: &str) -> Vec<String> {
    let variants = text.split(before).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric());
        &rest[..end.unwrap_or(rest.len())]
    });
    variants
        .filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(snake_case)
        .collect()
}

/// `method("CreateRoom", …` → `CreateRoom`
fn methods(text: &str) -> Vec<String> {
    let names = text.split("method(\"").skip(1);
    names
        .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
        .collect()
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_a_row_is_a_breach() {
        let code = "M::AddTrack(request) => x, M::Ping(_) | M::PingReq(_) => {}";
        let names = messages(code, "M::");
        assert_eq!(names, ["add_track", "ping", "ping_req"]);
        let table = "| `add_track` | done |\n| `ping`, `ping_req` | done |\n";
        assert_eq!(breaches(table, &names), [""; 0]);
        assert_eq!(
            breaches("`ping` in a sentence\n| `add_track` |", &names).len(),
            2
        );
        assert_eq!(breaches(table, &[]).len(), 1);
        assert_eq!(methods("method(\"CreateRoom\", Right::X)"), ["CreateRoom"]);
    }
}
