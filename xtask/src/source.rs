//! Rust sources as the checks see them: code without comments, strings and test modules.

use std::path::{Path, PathBuf};

/// One source file.
pub struct Source {
    /// Path from the root of the repository, with `/`.
    pub path: String,
    /// Its lines, comments and the contents of strings blanked, up to the test module.
    pub code: Vec<String>,
    /// Lines of the file before its test module, comments included.
    pub lines: usize,
}

impl Source {
    /// Reads a text; `path` is only a name.
    pub fn new(path: &str, text: &str) -> Self {
        let end = test_module(text);
        Self {
            path: path.to_owned(),
            code: blank(&text[..end]).lines().map(str::to_owned).collect(),
            lines: text[..end].lines().count(),
        }
    }

    /// The numbers (from 1) of the lines that contain `word` as a whole path or identifier.
    pub fn lines_with<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let hits = |line: &String| contains_word(line, word);
        let numbered = self.code.iter().enumerate();
        numbered
            .filter(move |(_, line)| hits(line))
            .map(|(index, _)| index + 1)
    }
}

/// All Rust files below `folder`, by path. Files that hold nothing but tests (`tests.rs`, `tests/`, `benches/`,
/// `examples/`) are left out.
pub fn sources(root: &Path, folder: &str) -> std::io::Result<Vec<Source>> {
    let mut paths = Vec::new();
    collect(&root.join(folder), &mut paths)?;
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let name = path.strip_prefix(root).unwrap_or(&path);
        let name = name.to_string_lossy().replace('\\', "/");
        all.push(Source::new(&name, &std::fs::read_to_string(&path)?));
    }
    Ok(all)
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !matches!(
                &*name,
                "target" | "tests" | "benches" | "examples" | "node_modules"
            ) {
                collect(&path, into)?;
            }
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            into.push(path);
        }
    }
    Ok(())
}

/// Where the module of unit tests begins: it closes a file.
fn test_module(text: &str) -> usize {
    let mut from = 0;
    while let Some(found) = text[from..].find("#[cfg(test)]") {
        let at = from + found;
        let after = past_attributes(&text[at..]);
        let starts_line = text[..at].ends_with('\n') || at == 0;
        if starts_line && after.starts_with("mod ") && opens(after) {
            return at;
        }
        from = at + 1;
    }
    text.len()
}

/// What follows the attributes and comments at the beginning.
fn past_attributes(text: &str) -> &str {
    let mut rest = text.trim_start();
    while rest.starts_with("#[") || rest.starts_with("//") {
        rest = rest
            .split_once('\n')
            .map_or("", |(_, after)| after)
            .trim_start();
    }
    rest
}

/// Whether a module has its body here rather than in another file.
fn opens(module: &str) -> bool {
    module
        .find(['{', ';'])
        .is_some_and(|at| module[at..].starts_with('{'))
}

/// The text with comments and the contents of string literals replaced by spaces; line breaks stay.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if first == '"' {
            string(rest)
        } else if let Some(len) = raw_string(rest, out.chars().last()) {
            len
        } else if first == '\'' {
            character(rest)
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        out.extend(
            rest[..len]
                .chars()
                .map(|c| if c == '\n' { '\n' } else { ' ' }),
        );
        rest = &rest[len..];
    }
    out
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string(text: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(is_word) && before != Some('b') {
        return None;
    }
    let hashes = text.strip_prefix('r')?;
    let count = hashes.chars().take_while(|&c| c == '#').count();
    let body = hashes[count..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(count));
    let len = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(2 + count + len)
}

/// A character literal, or the quote alone where it begins a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[2..]
            .find('\'')
            .map_or(text.len(), |at| at + 3)
            .max(4)
            .min(text.len()),
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `word` stands in the line on its own: `is::` in `use is::Ice` but not in `this::x` or `crate::is::x`. A type
/// (`Shard::new`) may have a path before it.
fn contains_word(line: &str, word: &str) -> bool {
    let is_type = word.starts_with(char::is_uppercase);
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let open = |c: Option<char>| !c.is_some_and(is_word);
        open(before) && (is_type || before != Some(':')) && (word.ends_with(':') || open(after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, word: &str) -> Vec<usize> {
        Source::new("x.rs", text).lines_with(word).collect()
    }

    #[test]
    fn a_word_in_a_comment_or_a_string_is_not_code() {
        let text = "// str0m\n/* str0m /* str0m */ */ let a = \"str0m\\\" str0m\";\nlet c = r#\"str0m\"#;\nuse str0m::Rtc;\n";
        assert_eq!(lines(text, "str0m"), [4]);
    }

    #[test]
    fn quotes_and_lifetimes_do_not_hide_code() {
        let text = "fn a<'a>(x: &'a str) { b('\"', '\\'', '\\u{1f600}') }\nuse axum::Router;\n";
        assert_eq!(lines(text, "axum"), [2]);
    }

    #[test]
    fn a_crate_with_a_short_name_is_found_as_a_path_only() {
        let text = "use is::IceAgent;\nlet this = is_ok();\nthis::that();\nuse crate::is::x;\n";
        assert_eq!(lines(text, "is::"), [1]);
    }

    #[test]
    fn the_test_module_does_not_count() {
        let text =
            "fn a() {}\n#[cfg(test)]\nuse b;\n#[cfg(test)]\nmod tests {\n    use tokio::time;\n}\n";
        let source = Source::new("x.rs", text);
        assert_eq!(source.lines, 3);
        assert_eq!(source.lines_with("tokio").count(), 0);
    }
}
