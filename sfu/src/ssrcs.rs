//! SSRCs of the streams to one client.

/// The source of SSRCs for one peer's subscriptions. No SSRC is given twice: two streams with one SSRC under one key
/// would share nonces (RFC 7714, section 10).
#[derive(Debug)]
pub struct Ssrcs(u32);

impl Ssrcs {
    /// The step from one SSRC to the next: odd, so that the sequence meets every number once, and with bits all over,
    /// so that neighbours look unlike.
    const STEP: u32 = 0x9e37_79b9;

    /// A source that begins at a random number.
    pub fn new(start: u32) -> Self {
        Self(start)
    }

    /// The next SSRC; never 0.
    pub fn fresh(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(Self::STEP);
        if self.0 == 0 {
            self.0 = Self::STEP;
        }
        self.0
    }
}
