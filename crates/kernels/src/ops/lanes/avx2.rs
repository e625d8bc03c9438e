//! Sixteen lanes in two registers of AVX2, with F16C for halves.

use std::arch::x86_64::*;

use super::Lanes;

/// Lanes 0 to 7 and 8 to 15.
#[derive(Clone, Copy)]
pub struct Avx2(__m256, __m256);

impl Lanes for Avx2 {
    const WIDE: usize = 4;
    const ROWS: usize = 1;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn splat(x: f32) -> Avx2 {
        Avx2(_mm256_set1_ps(x), _mm256_set1_ps(x))
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(x: &[f32; 16]) -> Avx2 {
        // SAFETY: the array holds 64 bytes; the loads have no alignment.
        unsafe { Avx2(_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))) }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load_f16(x: &[u8; 32]) -> Avx2 {
        // SAFETY: the array holds 32 bytes; the load has no alignment.
        let x = unsafe { _mm256_loadu_si256(x.as_ptr().cast()) };
        Avx2(_mm256_cvtph_ps(_mm256_castsi256_si128(x)), _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(x)))
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn store(self, to: &mut [f32; 16]) {
        // SAFETY: the array holds 64 bytes; the stores have no alignment.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), self.0);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), self.1);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn add(self, other: Avx2) -> Avx2 {
        Avx2(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1))
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn mul(self, other: Avx2) -> Avx2 {
        Avx2(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1))
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn round_f16(self) -> Avx2 {
        let round = |x| _mm256_cvtph_ps(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x));
        Avx2(round(self.0), round(self.1))
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn sums(four: [Avx2; 4]) -> [f32; 4] {
        // Lanes 8 apart.
        let [a, b, c, d] = four.map(|x| _mm256_add_ps(x.0, x.1));
        // 4 apart: rows a and b, c and d in the halves of one register.
        let ab = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b));
        let cd = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(c, d), _mm256_permute2f128_ps::<0x31>(c, d));
        // 2 apart, then neighbours: rows a and c in the low half, b and d in the high one.
        let x = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xee>(ab, cd));
        let x = _mm256_add_ps(_mm256_shuffle_ps::<0x88>(x, x), _mm256_shuffle_ps::<0xdd>(x, x));
        let mut sums = [0f32; 4];
        let abcd = _mm_unpacklo_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        // SAFETY: the array holds 16 bytes; the store has no alignment.
        unsafe { _mm_storeu_ps(sums.as_mut_ptr(), abcd) };
        sums
    }
}
