//! The step from bytes to dwords, which is all that AVX-VNNI adds to AVX2: the drivers for few tokens are written once, over [`Step`].
//!
//! AVX-VNNI is what laptops have of AVX-512's VNNI: the same two instructions on 256 bits (Alder Lake, 2021; Zen 5, 2024). They are inline
//! assembly. As intrinsics they could only be inlined into functions compiled for AVX-VNNI, so each driver and each format's functions
//! would have to be there twice; and the compiler takes the one for words apart into a product and a sum, which is less latency, but here
//! the ports are what is short.

use std::arch::asm;
use std::arch::x86_64::*;

use super::many::{Sums, Vnni};

/// Products added to dwords. The functions are unsafe because the CPU must have the instructions.
pub trait Step {
    /// How many tokens' products are summed, where `A` is how AVX2 sums them.
    type Sums<A: Sums>: Sums;
    /// Whether [`Step::add_bytes`] takes any bytes. If not, two neighbours' products may not come to more than 32,767.
    const ANY: bool;
    /// `sum` and four products in each dword: unsigned bytes times signed ones.
    unsafe fn add_bytes(sum: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i;
    /// `sum` and two products in each dword, of signed words.
    unsafe fn add_words(sum: __m256i, a: __m256i, b: __m256i) -> __m256i;
}

/// AVX2.
pub struct Avx2;

impl Step for Avx2 {
    type Sums<A: Sums> = A;
    const ANY: bool = false;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn add_bytes(sum: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
        _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(unsigned, signed), _mm256_set1_epi16(1)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn add_words(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
    }
}

/// AVX2 and AVX-VNNI.
pub struct AvxVnni;

impl Step for AvxVnni {
    type Sums<A: Sums> = Vnni;
    const ANY: bool = true;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn add_bytes(mut sum: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
        // SAFETY: registers only; the caller promises the instruction.
        unsafe {
            asm!("{{vex}} vpdpbusd {0}, {1}, {2}", inout(ymm_reg) sum, in(ymm_reg) unsigned, in(ymm_reg) signed,
                options(pure, nomem, nostack, preserves_flags))
        };
        sum
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn add_words(mut sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: as above.
        unsafe {
            asm!("{{vex}} vpdpwssd {0}, {1}, {2}", inout(ymm_reg) sum, in(ymm_reg) a, in(ymm_reg) b,
                options(pure, nomem, nostack, preserves_flags))
        };
        sum
    }
}
