//! Every committed seed is run through its target: none may fail, in any build.

use std::{collections::BTreeSet, fs, path::Path};

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), fs::read(&path).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_seed_of_every_target_is_taken() {
    for (target, run) in fuzz::TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{target} has no seeds");
        for (path, bytes) in seeds {
            println!("{path}");
            run(&bytes);
            // And cut short, where parsers go wrong.
            for len in 0..bytes.len().min(64) {
                run(&bytes[..len]);
                run(&bytes[bytes.len() - len..]);
            }
        }
    }
}

/// As a fuzzer without feedback would: `MUTATIONS=100000 cargo test -p fuzz --test replay changed`.
#[test]
fn every_seed_is_taken_when_it_is_changed() {
    let wanted = std::env::var("MUTATIONS")
        .ok()
        .and_then(|text| text.parse().ok());
    let only = std::env::var("TARGET").ok();
    for (target, run) in fuzz::TARGETS {
        if only.as_ref().is_some_and(|only| only != target) {
            continue;
        }
        let seeds = seeds(target);
        for round in 0..wanted.unwrap_or(200) {
            let mut random = fastrand::Rng::with_seed(round);
            let (path, bytes) = &seeds[round as usize % seeds.len()];
            let mut bytes = bytes.clone();
            for _ in 0..random.usize(1..6) {
                change(&mut bytes, &seeds, &mut random);
            }
            println!("round {round} of {target}: {path}");
            run(&bytes);
        }
    }
}

fn change(bytes: &mut Vec<u8>, seeds: &[(String, Vec<u8>)], random: &mut fastrand::Rng) {
    let at = random.usize(..=bytes.len());
    let len = random.usize(..=16).min(bytes.len() - at);
    match random.u8(..6) {
        0 => bytes.drain(at..at + len).for_each(drop),
        1 => {
            let again = bytes[at..at + len].to_vec();
            bytes.splice(at..at, again).for_each(drop);
        }
        2 => {
            let (_, other) = &seeds[random.usize(..seeds.len())];
            let from = random.usize(..=other.len());
            let piece = &other[from..other.len().min(from + len)];
            bytes
                .splice(at..at + len, piece.iter().copied())
                .for_each(drop);
        }
        3 => bytes[at..at + len].fill([0, 0xff, 0x7f, 0x80, b'9', b' '][random.usize(..6)]),
        4 => bytes[at..at + len]
            .iter_mut()
            .for_each(|byte| *byte = random.u8(..)),
        _ if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        _ => bytes.push(random.u8(..)),
    }
}

#[test]
fn every_target_has_a_fuzzer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer/fuzz_targets");
    let names = fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        path.file_stem().unwrap().to_string_lossy().into_owned()
    });
    let expected = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned());
    assert_eq!(names.collect::<BTreeSet<_>>(), expected.collect());
}
