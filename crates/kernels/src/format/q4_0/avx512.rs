//! Q4_0 with AVX-512. The codes are read with their bias of 8.

use std::arch::x86_64::__m512i;

use crate::dot::avx512::{Blocks32, nibbles};

/// See [`Blocks32`]; for CPUs with GFNI, or for all.
pub struct Blocks<const GFNI: bool>;

impl<const GFNI: bool> Blocks32 for Blocks<GFNI> {
    const BYTES: usize = 18;
    const BIAS: i32 = 8;
    const OFFSET: bool = false;
    const SMALL: bool = true;
    const NIBBLES: bool = true;
    const GFNI: bool = GFNI;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn codes(two: &[u8]) -> __m512i {
        let two = &two[..2 * Self::BYTES];
        nibbles(two, Self::BYTES, 2)
    }
}
