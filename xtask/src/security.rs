//! The tests that `docs/security-tests.md` names exist.

use std::path::Path;

/// The table.
pub const TABLE: &str = "docs/security-tests.md";

/// A breach for each test that the table names and that does not exist. `read` gives the text of a file of the
/// repository.
pub fn breaches(table: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut named = 0;
    for (index, line) in table.lines().enumerate() {
        for (file, test) in line.split('`').skip(1).step_by(2).filter_map(named_test) {
            named += 1;
            let exists = read(file).is_some_and(|text| contains(&text, file, test));
            if !exists {
                let number = index + 1;
                breaches.push(format!(
                    "{TABLE}:{number}: there is no test `{file}: {test}`"
                ));
            }
        }
    }
    if named == 0 {
        breaches.push(format!("{TABLE}: names no test"));
    }
    breaches
}

/// The table of this repository.
pub fn check(root: &Path) -> Vec<String> {
    let read = |file: &str| std::fs::read_to_string(root.join(file)).ok();
    breaches(&read(TABLE).unwrap_or_default(), read)
}

/// `file: test`.
fn named_test(text: &str) -> Option<(&str, &str)> {
    let (file, test) = text.split_once(": ")?;
    let is_source = file.ends_with(".rs") || file.ends_with(".js") || file.ends_with(".ts");
    is_source.then_some((file, test))
}

/// In Rust a function with an attribute before it, in JavaScript and TypeScript part of a test's title.
fn contains(text: &str, file: &str, test: &str) -> bool {
    let mut lines = text.lines();
    if file.ends_with(".js") {
        return lines.any(|line| line.contains("test(") && line.contains(test));
    }
    if file.ends_with(".ts") {
        let begins = |line: &str| line.trim_start().starts_with("it(");
        return lines.any(|line| begins(line) && line.contains(test));
    }
    let head = format!("fn {test}(");
    let all: Vec<_> = lines.collect();
    all.iter().enumerate().any(|(index, line)| {
        line.contains(&head)
            && index > 0
            && matches!(all[index - 1].trim(), "#[test]" | "#[tokio::test]")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_does_not_exist_is_a_breach() {
        let read = |file: &str| match file {
            "a.rs" => Some("#[test]\nfn it_holds() {}\nfn helper() {}\n".to_owned()),
            "a.test.js" => Some("await t.test(`${MANY} packets`, async () => {\n".to_owned()),
            "a.test.ts" => Some("  it('is cut out', () => {\n  await('a wait');\n".to_owned()),
            _ => None,
        };
        let of = |table: &str| breaches(table, read).len();
        assert_eq!(
            of(
                "| `a.rs: it_holds`, `a.test.js: packets`, `a.test.ts: is cut out` | `room.limit` |"
            ),
            0
        );
        assert_eq!(
            of(
                "`a.rs: helper` `a.rs: gone` `b.rs: it_holds` `a.test.js: other` `a.test.ts: a wait`"
            ),
            5
        );
        assert_eq!(of("nothing"), 1);
    }
}
