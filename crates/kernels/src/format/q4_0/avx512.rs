//! Q4_0 with AVX-512. The codes are read with their bias of 8.

use std::arch::x86_64::__m512i;

use crate::dot::avx512::{Blocks32, nibbles};

/// See [`Blocks32`].
pub struct Blocks;

impl Blocks32 for Blocks {
    const BYTES: usize = 18;
    const BIAS: i32 = 8;
    const OFFSET: bool = false;
    const SMALL: bool = true;
    const NIBBLES: bool = true;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn codes(two: &[u8]) -> __m512i {
        let two = &two[..2 * Self::BYTES];
        nibbles(two, Self::BYTES, 2)
    }
}
