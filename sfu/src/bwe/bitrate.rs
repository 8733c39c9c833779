//! Bit rates, and what all estimates keep to.

/// Bits per second.
pub type Bitrate = u64;

/// Assumed of a network nobody has measured yet: all layers of a handful of people. A slower one is found out within
/// two or three feedbacks.
pub const INITIAL: Bitrate = 5_000_000;

/// Never below: one voice.
pub const LOWEST: Bitrate = 40_000;

/// Never above: what nobody's meeting needs.
pub const HIGHEST: Bitrate = 100_000_000;
