//! `sim COUNT [FIRST]` runs COUNT seeds, two at a time, and sums up; `SEED=n sim` runs one and prints what happens.

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

fn main() -> ExitCode {
    let number = |text: String| text.parse::<u64>().ok();
    if let Some(seed) = std::env::var("SEED").ok().and_then(number) {
        return one(seed);
    }
    let mut arguments = std::env::args().skip(1).filter_map(number);
    let count = arguments.next().unwrap_or(200);
    sweep(arguments.next().unwrap_or(0), count)
}

fn one(seed: u64) -> ExitCode {
    let level = match std::env::var("LEVEL").as_deref() {
        Ok("trace") => tracing::Level::TRACE,
        Ok("debug") => tracing::Level::DEBUG,
        Ok("info") => tracing::Level::INFO,
        _ => tracing::Level::WARN,
    };
    let outcome = sim::run(seed, Some(level));
    for complaint in &outcome.complaints {
        println!("seed {seed}: {complaint}");
    }
    println!(
        "seed {seed}: {} complaints, {:.1} s of virtual time, digest {:016x}",
        outcome.complaints.len(),
        outcome.lasted.as_secs_f64(),
        outcome.digest
    );
    ExitCode::from(u8::from(!outcome.complaints.is_empty()))
}

fn sweep(first: u64, count: u64) -> ExitCode {
    let started = Instant::now();
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    let done = AtomicU64::new(0);
    let met = Mutex::new(sim::Met::default());
    let (virtual_ms, slowest) = (AtomicU64::new(0), Mutex::new((Duration::ZERO, 0)));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let outcome = sim::run(seed, None);
                    virtual_ms.fetch_add(outcome.lasted.as_millis() as u64, Relaxed);
                    if let Ok(mut met) = met.lock() {
                        met.add(outcome.met);
                    }
                    if let Ok(mut slowest) = slowest.lock() {
                        *slowest = (*slowest).max((outcome.recovery, seed));
                    }
                    if !outcome.complaints.is_empty() {
                        println!(
                            "seed {seed} failed:\n    {}",
                            outcome.complaints.join("\n    ")
                        );
                        if let Ok(mut failed) = failed.lock() {
                            failed.push(seed);
                        }
                    }
                    let done = done.fetch_add(1, Relaxed) + 1;
                    if done.is_multiple_of(100) {
                        println!(
                            "{done} of {count} after {:.0} s",
                            started.elapsed().as_secs_f64()
                        );
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_default();
    failed.sort_unstable();
    let (recovery, seed) = slowest.into_inner().unwrap_or_default();
    println!(
        "{count} seeds from {first}: {} failed; {:.0} s of virtual time in {:.0} s; slowest recovery {:.1} s (seed {seed})",
        failed.len(),
        virtual_ms.into_inner() as f64 / 1000.0,
        started.elapsed().as_secs_f64(),
        recovery.as_secs_f64()
    );
    println!("met: {:?}", met.into_inner().unwrap_or_default());
    if !failed.is_empty() {
        println!("failed: {failed:?}; run one again with: SEED=n cargo run -p sim");
    }
    ExitCode::from(u8::from(!failed.is_empty()))
}
