//! The turns of a media thread, and their durations: datagrams that come during a turn wait for its end.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Upper ends of the histogram's buckets, seconds. The aim is 2 ms, whatever a participant sends.
pub const BOUNDS: [f64; 8] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016,
];

/// A histogram of the processor time of all turns so far. One thread writes, others read.
#[derive(Debug, Default)]
pub struct TurnTimes {
    /// Number of turns in each bucket; the last one has the longer ones.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl TurnTimes {
    /// Counts a turn that took this much processor time.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound);
        self.buckets[bucket.unwrap_or(BOUNDS.len())].fetch_add(1, Relaxed);
        self.nanos.fetch_add(took.as_nanos() as u64, Relaxed);
    }

    /// Time of all turns in seconds, their number, and how many of them were in each bucket. The bound of the last one is
    /// `f64::MAX`, which the encoder writes as `+Inf`.
    pub fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let counts = self.buckets.each_ref().map(|count| count.load(Relaxed));
        let bounds = BOUNDS.into_iter().chain([f64::MAX]);
        (
            self.nanos.load(Relaxed) as f64 / 1e9,
            counts.iter().sum(),
            bounds.zip(counts).collect(),
        )
    }
}

/// The processor time that this thread has had so far.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither part is negative for a clock that begins with the thread.
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_by_what_they_took() {
        let turns = TurnTimes::default();
        for micros in [1, 100, 101, 1999, 2001, 1_000_000] {
            turns.observe(Duration::from_micros(micros));
        }
        let (sum, count, buckets) = turns.read();
        assert!((sum - 1.004_202).abs() < 1e-9, "{sum}");
        assert_eq!(count, 6);
        let counts: Vec<_> = buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 1, 1, 0, 0, 1]);
    }

    #[test]
    fn the_clock_of_a_thread_runs_while_it_works_and_stands_while_it_sleeps() {
        let began = thread_time();
        std::thread::sleep(Duration::from_millis(30));
        assert!(thread_time() - began < Duration::from_millis(20));
        let mut sum = 0_u64;
        while thread_time() - began < Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }
}
