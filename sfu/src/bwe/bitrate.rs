//! Bit rates, and what all estimates keep to.

/// Bits per second.
pub type Bitrate = u64;

/// The rate assumed of a network that nobody has measured yet: all layers of a handful of people. A slower one is found
/// out within two or three feedbacks.
pub const INITIAL: Bitrate = 5_000_000;

/// The lowest estimate: one voice.
pub const LOWEST: Bitrate = 40_000;

/// The highest estimate: more than any meeting needs.
pub const HIGHEST: Bitrate = 100_000_000;
