//! IQ4_NL with AVX-512. The table is one shuffle; it holds the values with a bias of 128.

use std::arch::x86_64::__m512i;

use crate::dot::avx512::{Blocks32, nibbles};
use crate::format::avx512::{biased, look_up};
use crate::format::common::IQ4_VALUES;

/// See [`Blocks32`].
pub struct Blocks;

impl Blocks32 for Blocks {
    const BYTES: usize = 18;
    const BIAS: i32 = 128;
    const OFFSET: bool = false;
    const SMALL: bool = false;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn codes(two: &[u8]) -> __m512i {
        let two = &two[..2 * Self::BYTES];
        look_up(&const { biased(&IQ4_VALUES, 128) }, nibbles(two, Self::BYTES, 2))
    }
}
