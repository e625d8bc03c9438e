//! MXFP4 with AVX-512. The table is one shuffle; it holds the values with a bias of 12.

use std::arch::x86_64::*;

use super::{VALUES, scale};
use crate::dot::avx512::{Blocks32, GROUP, nibbles};
use crate::format::avx512::{biased, look_up};

/// See [`Blocks32`].
pub struct Blocks;

impl Blocks32 for Blocks {
    const BYTES: usize = 17;
    const BIAS: i32 = 12;
    const OFFSET: bool = false;
    const SMALL: bool = true;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn codes(two: &[u8]) -> __m512i {
        let two = &two[..2 * Self::BYTES];
        look_up(&const { biased(&VALUES, 12) }, nibbles(two, Self::BYTES, 1))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn scales(blocks: &[u8]) -> [__m512; 2] {
        let mut d = [0f32; GROUP];
        for (d, block) in d.iter_mut().zip(blocks.chunks_exact(Self::BYTES)) {
            *d = scale(block[0]);
        }
        // SAFETY: sixteen floats; the load has no alignment.
        [unsafe { _mm512_loadu_ps(d.as_ptr()) }, _mm512_setzero_ps()]
    }
}
