//! Which file names which: in the two cores nothing runs in a circle, and only its own verbs know the central noun.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// Crates whose files form no circle, with the noun that owns the rest: its file and folder are the only ones that name it.
const CORES: [(&str, &str); 2] = [("sfu", "Shard"), ("signaling", "Room")];

/// The breaches of all files of one member of the workspace.
pub fn check(member: &str, sources: &[Source]) -> Vec<String> {
    let Some((_, noun)) = CORES.iter().find(|(core, _)| *core == member) else {
        return Vec::new();
    };
    let crate_ = Crate::new(member, sources);
    let mut breaches = crate_.foreign(noun);
    breaches.extend(crate_.circles().into_iter().map(|circle| {
        let files: Vec<_> = circle.iter().map(|path| path.as_str()).collect();
        format!("{}: a circle of files: {}", files[0], files.join(", "))
    }));
    breaches
}

/// The modules of one crate, and which of them name which.
struct Crate<'a> {
    /// By module path: `""` is the root, `"shard::relay"` a file.
    files: BTreeMap<String, &'a Source>,
    arrows: BTreeMap<String, BTreeSet<String>>,
}

impl<'a> Crate<'a> {
    fn new(member: &str, sources: &'a [Source]) -> Self {
        let root = format!("{member}/src/");
        let files: BTreeMap<_, _> = sources
            .iter()
            .filter_map(|source| {
                let path = source.path.strip_prefix(&root)?.strip_suffix(".rs")?;
                let module = if path == "lib" { "" } else { path };
                Some((module.replace('/', "::"), source))
            })
            .collect();
        let arrows = files
            .iter()
            .map(|(module, source)| (module.clone(), named_by(module, source, &files)))
            .collect();
        Self { files, arrows }
    }

    /// Files that name the central noun and are not its own, or name anything by way of the root.
    fn foreign(&self, noun: &str) -> Vec<String> {
        let home = noun.to_lowercase();
        let below = format!("{home}::");
        let is_home = |module: &String| *module == home || module.starts_with(&below);
        let mut breaches = Vec::new();
        for (module, named) in self.arrows.iter().filter(|(module, _)| !module.is_empty()) {
            let path = &self.files[module].path;
            if let Some(other) = named.iter().find(|named| is_home(named))
                && !is_home(module)
            {
                let other = &self.files[other].path;
                breaches.push(format!(
                    "{path}: names {other}: what `{noun}` does is in {home}.rs and {home}/, and nothing else knows it"
                ));
            }
            if named.contains("") {
                breaches.push(format!(
                    "{path}: names something by way of lib.rs: name the file that has it"
                ));
            }
        }
        breaches
    }

    /// Groups of files each of which leads to each other.
    fn circles(&self) -> Vec<Vec<String>> {
        let reached: BTreeMap<_, _> = self
            .arrows
            .keys()
            .map(|module| (module, self.reached_from(module)))
            .collect();
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for (module, from_it) in &reached {
            if seen.contains(module) || !from_it.contains(*module) {
                continue;
            }
            let circle = from_it
                .iter()
                .filter(|other| reached[*other].contains(*module));
            let circle: Vec<_> = circle.collect();
            seen.extend(circle.iter().copied());
            let paths = circle.iter().map(|module| self.files[*module].path.clone());
            circles.push(paths.collect());
        }
        circles
    }

    fn reached_from(&self, module: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<_> = self.arrows[module].iter().collect();
        while let Some(module) = next.pop() {
            // The root names all; what it gives on is named where it is.
            if !module.is_empty() && reached.insert(module.clone()) {
                next.extend(&self.arrows[module]);
            }
        }
        reached
    }
}

/// The files that one file names: by `crate::`, `self::`, `super::`, or by the name of a child.
fn named_by(module: &str, source: &Source, files: &BTreeMap<String, &Source>) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    let code = source.code.join("\n");
    let words = words(&code);
    let mut rest = words.as_slice();
    let mut before = "";
    while let [word, after @ ..] = rest {
        let continues = matches!(before, "::" | ".");
        let child = join(module, word);
        let start = match *word {
            "crate" => Some(String::new()),
            "self" => Some(module.to_owned()),
            "super" => Some(parent(module)),
            _ => Some(child).filter(|child| files.contains_key(child)),
        };
        before = word;
        rest = match (start, after) {
            (Some(start), ["::", path @ ..]) if !continues => {
                follow(&start, path, files, &mut named)
            }
            _ => after,
        };
    }
    named.remove(module);
    named
}

/// Walks along one path, or the tree of a `use`, and notes the files in which its ends lie.
fn follow<'a, 'w>(
    start: &str,
    words: &'a [&'w str],
    files: &BTreeMap<String, &Source>,
    named: &mut BTreeSet<String>,
) -> &'a [&'w str] {
    let mut here = start.to_owned();
    let mut rest = words;
    loop {
        match rest {
            ["{", after @ ..] => {
                rest = after;
                loop {
                    rest = match rest {
                        ["}", after @ ..] => return after,
                        [",", after @ ..] => after,
                        [] => return rest,
                        _ => follow(&here, rest, files, named),
                    };
                }
            }
            ["super", "::", after @ ..] => {
                here = parent(&here);
                rest = after;
            }
            ["self", after @ ..] => {
                named.insert(here);
                return after;
            }
            [name, after @ ..] => {
                let below = join(&here, name);
                if files.contains_key(&below) {
                    here = below;
                } else {
                    named.insert(here.clone());
                    return past_path(after);
                }
                match after {
                    ["::", after @ ..] => rest = after,
                    _ => {
                        named.insert(here);
                        return past_path(after);
                    }
                }
            }
            [] => return rest,
        }
    }
}

/// What follows the rest of a path within one file, and its new name.
fn past_path<'a, 'w>(words: &'a [&'w str]) -> &'a [&'w str] {
    match words {
        ["::", "{", after @ ..] => {
            let mut depth = 1;
            let end = after.iter().position(|word| {
                depth += i32::from(*word == "{") - i32::from(*word == "}");
                depth == 0
            });
            end.map_or(&[], |end| &after[end + 1..])
        }
        ["::" | "as", _, after @ ..] => past_path(after),
        _ => words,
    }
}

fn join(module: &str, name: &str) -> String {
    match module {
        "" => name.to_owned(),
        module => format!("{module}::{name}"),
    }
}

fn parent(module: &str) -> String {
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    parent.to_owned()
}

/// Identifiers, `::`, and each other character by itself.
fn words(code: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = match first {
            c if c.is_alphanumeric() || c == '_' => rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        words.push(&rest[..len]);
        rest = rest[len..].trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> = files
            .iter()
            .map(|(path, text)| Source::new(path, text))
            .collect();
        check("sfu", &sources)
    }

    #[test]
    fn a_noun_that_names_the_shard_is_a_breach_and_its_verbs_are_not() {
        let text = "use crate::shard::Shard;\n";
        let shard = ("sfu/src/shard.rs", "pub struct Shard;\n");
        assert_eq!(breaches(&[shard, ("sfu/src/peer.rs", text)]).len(), 1);
        let facade = ("sfu/src/peer.rs", "use crate::Shard;\n");
        let lib = ("sfu/src/lib.rs", "pub use shard::Shard;\n");
        assert_eq!(breaches(&[lib, shard, facade]).len(), 1);
        let own = [
            ("sfu/src/shard/forward.rs", text),
            ("sfu/src/shard.rs", "pub struct Shard;\n"),
            ("sfu/src/lib.rs", "pub use shard::Shard;\n"),
            ("sfu/src/api.rs", "/// See [`Shard`](crate::Shard).\n"),
            ("sfu/src/keys.rs", "pub struct PeerKey;\n"),
        ];
        assert_eq!(breaches(&own), [""; 0]);
    }

    #[test]
    fn a_circle_is_found_however_its_files_name_each_other() {
        for (there, back) in [
            ("use crate::b::B;", "use crate::a::A;"),
            ("use crate::{b::{B, C}, c::D};", "fn f() -> super::a::A {}"),
            (
                "use crate::{c::{self, D as E}, b};",
                "use std::x; use crate::a::*;",
            ),
        ] {
            let files = [
                ("sfu/src/lib.rs", "mod a; mod b; mod c; pub use a::A;"),
                ("sfu/src/a.rs", there),
                ("sfu/src/b.rs", back),
                ("sfu/src/c.rs", "use crate::keys::K;"),
                ("sfu/src/keys.rs", "pub struct K;"),
            ];
            let found = breaches(&files);
            assert_eq!(found.len(), 1, "{there} {back}");
            assert!(
                found[0].ends_with("sfu/src/a.rs, sfu/src/b.rs"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_parent_and_its_child_are_a_circle_when_each_needs_the_other() {
        let child = ("sfu/src/a/b.rs", "use super::A;");
        let needs = ("sfu/src/a.rs", "mod b;\nuse b::B;\npub struct A(B);");
        let owns = ("sfu/src/a.rs", "mod b;\npub struct A;");
        assert_eq!(breaches(&[child, needs]).len(), 1);
        assert_eq!(breaches(&[child, owns]), [""; 0]);
    }

    #[test]
    fn what_is_named_in_a_test_or_a_comment_closes_no_circle() {
        let files = [
            ("sfu/src/a.rs", "use crate::b::B; // crate::c::C\n"),
            (
                "sfu/src/b.rs",
                "pub struct B;\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n",
            ),
        ];
        assert_eq!(breaches(&files), [""; 0]);
    }
}
