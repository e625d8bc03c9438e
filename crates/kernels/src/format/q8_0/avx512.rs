//! Q8_0 with AVX-512. The other sign bit makes a signed byte an unsigned one that is 128 too large.

use std::arch::x86_64::*;

use crate::dot::avx512::{Blocks32, load32};

/// See [`Blocks32`].
pub struct Blocks;

impl Blocks32 for Blocks {
    const BYTES: usize = 34;
    const BIAS: i32 = 128;
    const OFFSET: bool = false;
    const SMALL: bool = false;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn codes(two: &[u8]) -> __m512i {
        let two = &two[..2 * Self::BYTES];
        let codes = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(load32(two, 2)), load32(two, Self::BYTES + 2));
        _mm512_xor_si512(codes, _mm512_set1_epi8(-128))
    }
}
