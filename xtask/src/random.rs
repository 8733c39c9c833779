//! Random numbers that are the same for the same seed, on every machine and in every version.

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator whose numbers depend on `seed` only.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for one thing among many (a packet, a direction): its numbers do not depend on how many numbers
    /// were drawn for the others, so that what happens to packet 700 is the same however packets interleave.
    pub fn of(seed: u64, stream: u64, index: u64) -> Self {
        let mut mixed = Self(seed ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let base = mixed.next();
        Self(base ^ index.wrapping_mul(0xa076_1d64_78bd_642f))
    }

    /// The next 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0. The bias is below 2^-32 for the limits used here.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// A number from 0 (included) to 1 (excluded).
    pub fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// Fills the slice with random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let mut a = Random::of(7, 1, 700);
        let mut b = Random::of(7, 1, 700);
        assert_eq!(a.next(), b.next());
        assert_ne!(Random::of(7, 1, 701).next(), Random::of(7, 1, 700).next());
        assert_ne!(Random::of(7, 2, 700).next(), Random::of(7, 1, 700).next());
    }

    #[test]
    fn one_packet_in_twenty_is_lost_at_five_percent() {
        let lost = (0..100_000)
            .filter(|&index| Random::of(42, 0, index).chance(0.05))
            .count();
        assert!((4_800..5_200).contains(&lost), "{lost}");
    }
}
