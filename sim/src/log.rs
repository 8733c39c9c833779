//! The log of a run: lines, a digest of them, and log lines of the code under test.

use std::{cell::RefCell, fmt::Write};

use tracing::{Event, Level, Metadata, Subscriber, field::Visit, span};

use crate::os;

thread_local! {
    static ERRORS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// The log of one run.
#[derive(Debug)]
pub struct Log {
    digest: u64,
    verbose: bool,
    pub lines: u64,
}

impl Log {
    /// An empty log; `verbose` prints its lines.
    pub fn new(verbose: bool) -> Self {
        ERRORS.take();
        Self {
            digest: 0xcbf2_9ce4_8422_2325,
            verbose,
            lines: 0,
        }
    }

    /// Adds a line.
    pub fn note(&mut self, line: &str) {
        self.count(line.as_bytes());
        self.lines += 1;
        if self.verbose {
            println!("{:9.4} {line}", os::elapsed().as_secs_f64());
        }
    }

    /// Adds bytes that are too frequent for a line to the digest.
    pub fn count(&mut self, bytes: &[u8]) {
        let time = os::elapsed().as_nanos() as u64;
        for byte in time.to_le_bytes().iter().chain(bytes) {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The digest of everything so far (FNV-1a).
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The ERROR lines of the code under test.
    pub fn errors(&self) -> Vec<String> {
        ERRORS.with_borrow(Clone::clone)
    }
}

/// A subscriber to log lines of the code under test on this thread.
pub struct Listener {
    /// The least severe level that is printed; errors are kept in any case.
    pub print: Option<Level>,
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.print.unwrap_or(Level::ERROR)
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.print.unwrap_or(Level::ERROR).into())
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line(format!("{} {}:", metadata.level(), metadata.target()));
        event.record(&mut line);
        let at = os::elapsed().as_secs_f64();
        if self.print.is_some() {
            println!("{at:9.4}     {}", line.0);
        }
        if *metadata.level() == Level::ERROR {
            ERRORS.with_borrow_mut(|errors| errors.push(format!("{at:.4} {}", line.0)));
        }
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        // Writing into a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
