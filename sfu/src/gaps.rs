//! Numbers left out on purpose: a stream whose layers are filtered is renumbered so that only real losses show.

/// The numbers that were left out: which of the last `64 * WORDS` numbers of a growing series, and how many before
/// those.
#[derive(Debug, Clone, Copy)]
pub struct Gaps<const WORDS: usize> {
    first: u64,
    /// The highest number seen; `first - 1` at the beginning.
    highest: u64,
    left_out: u64,
    /// Bits of the numbers left out: number `n` is bit `n % 64` of word `n / 64 % WORDS`.
    bits: [u64; WORDS],
}

impl<const WORDS: usize> Gaps<WORDS> {
    const WINDOW: u64 = 64 * WORDS as u64;

    /// A series that begins with `first`, which is not 0.
    pub fn new(first: u64) -> Self {
        Self {
            first,
            highest: first.wrapping_sub(1),
            left_out: 0,
            bits: [0; WORDS],
        }
    }

    /// The highest number seen.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// The series has come to `number`.
    pub fn advance(&mut self, number: u64) {
        if number <= self.highest {
            return;
        }
        if self.left_out != 0 {
            if number - self.highest >= Self::WINDOW {
                self.bits = [0; WORDS];
            } else {
                (self.highest + 1..=number)
                    .for_each(|n| self.bits[Self::word(n)] &= !(1 << (n % 64)));
            }
        }
        self.highest = number;
    }

    /// `number` is left out. False, and nothing changes, when the series has passed it.
    pub fn leave_out(&mut self, number: u64) -> bool {
        if number <= self.highest {
            return false;
        }
        self.advance(number);
        self.bits[Self::word(number)] |= 1 << (number % 64);
        self.left_out += 1;
        true
    }

    /// Whether `number` was left out, as far as is remembered.
    pub fn contains(&self, number: u64) -> bool {
        self.remembers(number) && self.bits[Self::word(number)] >> (number % 64) & 1 != 0
    }

    /// Number of those left out before `number`; `None` when that is forgotten.
    pub fn before(&self, number: u64) -> Option<u64> {
        if self.left_out == 0 || number > self.highest {
            return Some(self.left_out);
        }
        if !self.remembers(number) {
            return None;
        }
        let mut since = 0;
        let mut n = number;
        while n <= self.highest {
            let rest = self.bits[Self::word(n)] >> (n % 64);
            let len = (64 - n % 64).min(self.highest - n + 1);
            since += u64::from((rest & (u64::MAX >> (64 - len))).count_ones());
            n += len;
        }
        Some(self.left_out.saturating_sub(since))
    }

    /// The number that is the `nth` (from 0) of those not left out; `None` when that is forgotten.
    pub fn nth(&self, nth: u64) -> Option<u64> {
        if self.left_out == 0 {
            return self.first.checked_add(nth);
        }
        let mut number = self.highest + 1;
        let mut kept_before = number - self.first - self.left_out;
        while kept_before > nth {
            number -= 1;
            if !self.remembers(number) {
                return None;
            }
            kept_before -= u64::from(!self.contains(number));
        }
        // Beyond the highest, nothing is left out yet.
        Some(number + (nth - kept_before))
    }

    fn remembers(&self, number: u64) -> bool {
        (self.first..=self.highest).contains(&number) && self.highest - number < Self::WINDOW
    }

    fn word(number: u64) -> usize {
        (number / 64) as usize % WORDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_remembered_agrees_with_a_list(
            first in 1u64..1000, steps in proptest::collection::vec((1u64..40, any::<bool>()), 0..100),
        ) {
            let mut gaps = Gaps::<4>::new(first);
            let (mut at, mut out) = (first - 1, Vec::new());
            for (step, leave_out) in steps {
                at += step;
                if leave_out {
                    prop_assert!(gaps.leave_out(at) && !gaps.leave_out(at));
                    out.push(at);
                } else {
                    gaps.advance(at);
                }
            }
            prop_assert_eq!(gaps.highest(), at);
            let kept: Vec<_> = (first..at + 5).filter(|n| !out.contains(n)).collect();
            for number in first..at + 5 {
                let before = out.iter().filter(|n| **n < number).count() as u64;
                let recent = number + 256 > at;
                match gaps.before(number) {
                    Some(found) => prop_assert_eq!(found, before),
                    None => prop_assert!(!recent),
                }
                if recent {
                    prop_assert_eq!(gaps.contains(number), out.contains(&number));
                }
            }
            for (nth, number) in kept.iter().enumerate() {
                match gaps.nth(nth as u64) {
                    Some(found) => prop_assert_eq!(found, *number),
                    None => prop_assert!(number + 256 <= at + 1),
                }
            }
        }
    }
}
