//! The bit rate of a stream.

use std::time::{Duration, Instant};

use crate::bwe::Bitrate;

/// A meter of bytes per time, over the last second or so.
#[derive(Debug, Default)]
pub struct RateMeter {
    began: Option<Instant>,
    bytes: u64,
    bitrate: Option<Bitrate>,
}

impl RateMeter {
    /// The span of one figure. A key frame in every window would be worse than none in most.
    const WINDOW: Duration = Duration::from_secs(1);

    /// The header, tag and extensions that a subscriber's packet has beside the payload, bytes.
    const OVERHEAD: usize = 36;

    /// A packet with `len` bytes of payload arrived.
    pub fn add(&mut self, len: usize, now: Instant) {
        self.add_bytes(len + Self::OVERHEAD, now);
    }

    /// `len` bytes arrived within a packet that is counted elsewhere.
    pub fn add_bytes(&mut self, len: usize, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let elapsed = now.saturating_duration_since(began);
        if elapsed >= Self::WINDOW {
            let measured = (self.bytes as f64 * 8.0 / elapsed.as_secs_f64()) as Bitrate;
            // Half of the old figure remains, so that one busy second does not turn everything over.
            self.bitrate = Some(
                self.bitrate
                    .map_or(measured, |known| (known + measured) / 2),
            );
            (self.began, self.bytes) = (Some(now), 0);
        }
        self.bytes += len as u64;
    }

    /// The rate in bits per second.
    pub fn bitrate(&self, now: Instant) -> Bitrate {
        self.bitrate.unwrap_or_else(|| {
            let elapsed = self
                .began
                .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
            (self.bytes as f64 * 8.0 / elapsed.max(Self::WINDOW / 2).as_secs_f64()) as Bitrate
        })
    }
}
