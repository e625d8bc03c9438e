//! Sixteen lanes in one register of AVX-512.

use std::arch::x86_64::*;

use super::Lanes;

/// One register.
#[derive(Clone, Copy)]
pub struct Avx512(__m512);

impl Lanes for Avx512 {
    const WIDE: usize = 8;
    const ROWS: usize = 4;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn splat(x: f32) -> Avx512 {
        Avx512(_mm512_set1_ps(x))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(x: &[f32; 16]) -> Avx512 {
        // SAFETY: the array holds 64 bytes; the load has no alignment.
        Avx512(unsafe { _mm512_loadu_ps(x.as_ptr()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load_f16(x: &[u8; 32]) -> Avx512 {
        // SAFETY: the array holds 32 bytes; the load has no alignment.
        Avx512(_mm512_cvtph_ps(unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store(self, to: &mut [f32; 16]) {
        // SAFETY: the array holds 64 bytes; the store has no alignment.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn add(self, other: Avx512) -> Avx512 {
        Avx512(_mm512_add_ps(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn mul(self, other: Avx512) -> Avx512 {
        Avx512(_mm512_mul_ps(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn round_f16(self) -> Avx512 {
        Avx512(_mm512_cvtph_ps(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0)))
    }

    /// The four sums share their instructions: halves of two rows lie in one register, then quarters of four.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn sums(four: [Avx512; 4]) -> [f32; 4] {
        let [a, b, c, d] = four.map(|x| x.0);
        // Lanes 8 apart: rows a and b, c and d.
        let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
        let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
        // 4 apart: a row in each quarter.
        let x = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
        let x = _mm512_add_ps(x, _mm512_permute_ps::<0xee>(x));
        let x = _mm512_add_ps(x, _mm512_permute_ps::<0x55>(x));
        let firsts = _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12), x);
        let mut sums = [0f32; 4];
        // SAFETY: the array holds 16 bytes; the store has no alignment.
        unsafe { _mm_storeu_ps(sums.as_mut_ptr(), _mm512_castps512_ps128(firsts)) };
        sums
    }
}
