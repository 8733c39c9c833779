//! Data-parallel leaves of the packet path, each with a scalar twin that says what it does.
//!
//! The unit is a block of 64 subscribers or 64 packets: one `u64` of bits.

/// Bit `i` is set where `layers[i] == layer`.
#[inline]
pub fn match_layer(layers: &[u8; 64], layer: u8) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        match_layer_sse2(layers, layer)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        match_layer_scalar(layers, layer)
    }
}

/// Scalar twin of [`match_layer`].
#[cfg(any(test, not(target_arch = "x86_64")))]
fn match_layer_scalar(layers: &[u8; 64], layer: u8) -> u64 {
    layers
        .iter()
        .enumerate()
        .fold(0, |mask, (i, l)| mask | (u64::from(*l == layer) << i))
}

/// SSE2 belongs to every x86-64 processor, so nothing has to be detected; four compares serve 64 subscribers.
#[cfg(target_arch = "x86_64")]
#[inline]
fn match_layer_sse2(layers: &[u8; 64], layer: u8) -> u64 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8,
    };
    let mut mask = 0;
    for (i, lane) in layers.as_chunks::<16>().0.iter().enumerate() {
        // SAFETY: `lane` is 16 readable bytes, the load is unaligned, and SSE2 is part of x86-64.
        let equal = unsafe {
            let lane = _mm_loadu_si128(lane.as_ptr().cast::<__m128i>());
            _mm_movemask_epi8(_mm_cmpeq_epi8(lane, _mm_set1_epi8(layer as i8)))
        };
        mask |= u64::from(equal as u16) << (16 * i);
    }
    mask
}

/// Turns rows (one per packet: which subscribers) into columns (one per subscriber: which packets), in place.
/// Bit `j` of row `i` becomes bit `i` of row `j`.
///
/// Six rounds of swapping ever smaller off-diagonal blocks; the compiler vectorises the inner loop.
pub fn transpose(rows: &mut [u64; 64]) {
    let mut width = 32;
    let mut mask = u64::MAX >> 32;
    while width != 0 {
        let mut base = 0;
        while base < 64 {
            for i in base..base + width {
                let swap = ((rows[i] >> width) ^ rows[i + width]) & mask;
                rows[i] ^= swap << width;
                rows[i + width] ^= swap;
            }
            base += 2 * width;
        }
        width /= 2;
        mask ^= mask << width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_twins_find_the_same_subscribers(layers in prop::array::uniform32(0u8..4), layer in 0u8..4) {
            let mut block = [0xff; 64];
            block[..32].copy_from_slice(&layers);
            prop_assert_eq!(match_layer(&block, layer), match_layer_scalar(&block, layer));
        }

        #[test]
        fn a_transposed_bit_is_found_at_its_mirror(seed in prop::array::uniform32(any::<u64>()), i in 0usize..64, j in 0usize..64) {
            let mut rows = [0; 64];
            rows[..32].copy_from_slice(&seed);
            rows[32..].copy_from_slice(&seed.map(|row| row.rotate_left(7)));
            let before = rows;
            transpose(&mut rows);
            prop_assert_eq!(rows[j] >> i & 1, before[i] >> j & 1);
            transpose(&mut rows);
            prop_assert_eq!(rows, before);
        }
    }
}
