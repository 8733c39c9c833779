//! Automation that is more than one line: `cargo xtask bench`, `check`, `impair`, `hammer`.

mod bench;
mod check;
mod hammer;
mod impair;
mod protocol;
mod random;
mod security;
mod source;
mod structure;

use std::process::ExitCode;

use clap::Parser;

/// Automation of this repository.
#[derive(Parser)]
enum Task {
    /// CPU and memory per forwarded packet, and times to the first picture.
    Bench,
    /// The invariants of ARCHITECTURE.md, read from the sources.
    Check,
    /// A UDP relay that loses, delays, reorders and duplicates by seed.
    Impair(impair::Options),
    /// Sends random and mutated datagrams at a media port.
    Hammer(hammer::Options),
}

fn main() -> ExitCode {
    let outcome = match Task::parse() {
        Task::Bench => bench::run(),
        Task::Check => check::run(),
        Task::Impair(options) => impair::run(&options),
        Task::Hammer(options) => hammer::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
