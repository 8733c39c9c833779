//! The packet indices of an outgoing stream that were used for sealing.
//!
//! Two packets that differ in anything, sealed under one index, have one nonce: with AES-GCM the authentication key of
//! the subscriber's whole association follows from them (RFC 7714, section 10). Other code keeps indices from
//! repeating, partly by numbers that a publisher chooses. They are checked once more here, where packets are sealed.

/// Number of indices that are remembered. None older than that is sealed: histories are shorter.
const WINDOW: u64 = 1024;

const WORDS: usize = (WINDOW / 64) as usize;

/// The used packet indices of one outgoing stream: each is taken once.
#[derive(Debug, Clone, Default)]
pub struct SealedIndices {
    /// One above the highest index that was taken.
    next: u64,
    /// Bits of the taken indices: index `n` is bit `n % 64` of word `n / 64 % WORDS`.
    taken: [u64; WORDS],
}

impl SealedIndices {
    /// Takes an index. False when the index was taken before, or is too old to be known.
    pub fn take(&mut self, index: u64) -> bool {
        if index >= self.next {
            if index - self.next >= WINDOW {
                self.taken = [0; WORDS];
            } else {
                (self.next..=index).for_each(|new| *self.word(new) &= !(1 << (new % 64)));
            }
            self.next = index.saturating_add(1);
        } else if self.next - index > WINDOW {
            return false;
        }
        let bit = 1 << (index % 64);
        let word = self.word(index);
        let is_free = *word & bit == 0;
        *word |= bit;
        is_free
    }

    fn word(&mut self, index: u64) -> &mut u64 {
        &mut self.taken[(index / 64) as usize % WORDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_is_older_than_the_window_is_never_taken() {
        let mut sealed = SealedIndices::default();
        assert!(sealed.take(5) && sealed.take(4));
        assert!(sealed.take(WINDOW + 4));
        // 5 is the oldest that is remembered, and was taken; 6 was not.
        assert!(!sealed.take(5) && sealed.take(6) && !sealed.take(6));
        assert!(!sealed.take(3), "free, but who knows");
        assert!(sealed.take(u64::MAX - 1) && !sealed.take(u64::MAX - 1));
        assert!(!sealed.take(0));
    }

    proptest! {
        #[test]
        fn no_index_is_taken_twice_and_none_within_the_window_is_refused(
            steps in proptest::collection::vec(-1100i64..40, 1..600),
            jump in 0u64..5000,
        ) {
            let (mut sealed, mut taken, mut highest) = (SealedIndices::default(), BTreeSet::new(), 0u64);
            for (i, step) in steps.iter().enumerate() {
                let index = highest.saturating_add_signed(*step) + if i == 300 { jump } else { 0 };
                highest = highest.max(index);
                let is_new = !taken.contains(&index);
                let is_known = highest - index < WINDOW;
                prop_assert_eq!(sealed.take(index), is_new && is_known, "{}", index);
                if is_known {
                    taken.insert(index);
                }
            }
        }
    }
}
