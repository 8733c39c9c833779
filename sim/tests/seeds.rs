//! Two hundred runs, and those that once failed.

/// Runs the seeds and says of which people would complain.
fn run(seeds: impl IntoIterator<Item = u64>) {
    let mut complaints = Vec::new();
    for seed in seeds {
        let outcome = sim::run(seed, None);
        let of = |complaint| format!("seed {seed}: {complaint}");
        complaints.extend(outcome.complaints.into_iter().map(of));
    }
    assert!(
        complaints.is_empty(),
        "SEED=n cargo run -p sim shows what happened:\n{}",
        complaints.join("\n")
    );
}

#[test]
fn seeds_0_to_24() {
    run(0..25);
}

#[test]
fn seeds_25_to_49() {
    run(25..50);
}

#[test]
fn seeds_50_to_74() {
    run(50..75);
}

#[test]
fn seeds_75_to_99() {
    run(75..100);
}

#[test]
fn seeds_100_to_124() {
    run(100..125);
}

#[test]
fn seeds_125_to_149() {
    run(125..150);
}

#[test]
fn seeds_150_to_174() {
    run(150..175);
}

#[test]
fn seeds_175_to_199() {
    run(175..200);
}

/// Found among the above, each with what it found:
/// - 13: a mute that was lost with its WebSocket was never repeated by our client.
/// - 54: after a NAT rebinding the server sent to the old address for a quarter of a minute.
/// - 3: data messages came as late after a cut as the cut had lasted.
/// - 124: a track muted before its `track_published` stayed unmuted for the others.
/// - 191: a track announced over a WebSocket that was dying was never announced again.
#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 13, 124] {
        assert_eq!(sim::run(seed, None), sim::run(seed, None));
    }
}
