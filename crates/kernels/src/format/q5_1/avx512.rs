//! Q5_1 with AVX-512.

use std::arch::x86_64::*;

use crate::dot::avx512::{Blocks32, bits, nibbles};

/// See [`Blocks32`].
pub struct Blocks;

impl Blocks32 for Blocks {
    const BYTES: usize = 24;
    const BIAS: i32 = 0;
    const OFFSET: bool = true;
    const SMALL: bool = true;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn codes(two: &[u8]) -> __m512i {
        let two = &two[..2 * Self::BYTES];
        let low = nibbles(two, Self::BYTES, 8);
        _mm512_mask_add_epi8(low, bits(two, Self::BYTES, 4), low, _mm512_set1_epi8(16))
    }
}
