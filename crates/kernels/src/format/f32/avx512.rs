//! F32 with AVX-512.

use std::arch::x86_64::*;

use crate::dot::avx512::{Floats, load64};

/// See [`Floats`].
pub struct Values;

impl Floats for Values {
    const BYTES: usize = 4;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn sixteen(bytes: &[u8]) -> __m512 {
        _mm512_castsi512_ps(load64(bytes, 0))
    }
}
