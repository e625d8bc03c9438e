//! F16 with AVX-512.

use std::arch::x86_64::*;

use crate::dot::avx512::{Floats, load32};

/// See [`Floats`].
pub struct Values;

impl Floats for Values {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn sixteen(bytes: &[u8]) -> __m512 {
        _mm512_cvtph_ps(load32(bytes, 0))
    }
}
