//! How codes are multiplied by activations and added up: the only place where the panels of AVX2 and of AVX-VNNI differ.
//!
//! Both have an instruction that multiplies unsigned by signed bytes. Codes stay signed; activations are made unsigned by adding 128, and a
//! sum begins at what that adds, taken off: -128 times the sum of the codes ([`Sums::start`]).
//!
//! **AVX-VNNI** ([`Vnni`]): `vpdpbusd` adds four products to a dword. One instruction, exact for all codes.
//!
//! **AVX2** ([`Words`]): `vpmaddubsw` adds two products to a word, which saturates: 2 * 255 * 64 is the most. The words are added up as
//! they are, and only at the end of a group of columns does `vpmaddwd` make dwords of them, multiplying by a scale: 2 instructions for 32
//! products instead of 3. A word may overflow on the way, as long as what it comes to in the end, with the start that takes the 128 off
//! again, fits: the codes of a group's columns, half of which go to a word, times 127. Sixteen columns of codes up to 32 do (32,512), and
//! 32 columns of codes up to 15 (30,480).
//!
//! **AVX2, codes of eight bits** ([`Planes`]): 2 * 255 * 128 does not fit a word. A code is 16 * high + low with low in 0..=15 and high in
//! -8..=7, and the two are summed apart, each as above: 4 instructions for 32 products. With the signs moved to the activations, as few tokens do it, they are 4 too
//! (`vpsignb`, `vpmaddubsw`, `vpmaddwd`, `vpaddd`), but of these 3 want the two ports that multiply.

use std::arch::x86_64::*;

use crate::dot::avx2::{Avx2, AvxVnni, Step};

/// A way to sum products. Its functions are unsafe because the CPU must have its instructions.
pub trait Sums {
    /// For what is summed beside the codes.
    type Step: Step;
    /// Four codes of each of eight rows.
    type Codes: Copy;
    /// The sums of a group of columns of eight rows.
    type Sum: Copy;
    /// Registers of eight rows that are worked on side by side, for four tokens: the sums must fit into sixteen registers.
    const SIDE: usize;
    /// How many sums of its own a lane's group goes to: what must fit into 16 bits.
    const APART: usize;
    /// The largest code that can be summed, and the largest part of it that one sum sees.
    const MOST: usize;
    const PART: usize;
    /// From signed bytes.
    unsafe fn codes(bytes: __m256i) -> Self::Codes;
    /// The sum and the products with four unsigned activations, the same in all lanes.
    unsafe fn add(sum: Self::Sum, activations: __m256i, codes: Self::Codes) -> Self::Sum;
    /// Where a group of these codes begins.
    unsafe fn start(codes: &[Self::Codes]) -> Self::Sum;
    /// The sum of each row's products.
    unsafe fn total(sum: Self::Sum) -> __m256i;
    /// A scale, from dwords, as [`Sums::scaled`] wants it.
    unsafe fn scale(dwords: __m256i) -> __m256i;
    /// `all` and the sum of each row's products, which fits 16 bits (in each of the sums apart), times its scale.
    unsafe fn scaled(all: __m256i, sum: Self::Sum, scale: __m256i) -> __m256i;
}

/// Whether each sum of so many columns of codes of this magnitude fits 16 bits.
pub const fn fits<S: Sums>(largest: usize, columns: usize) -> bool {
    let part = if largest < S::PART { largest } else { S::PART };
    part * 127 * (columns / S::APART) <= i16::MAX as usize
}

/// The same sum; the compiler no longer knows what of. It would make a tree of the additions of a group, which has more unfinished sums
/// than there are registers: a quarter slower.
#[inline]
#[target_feature(enable = "avx2")]
fn in_order(mut sum: __m256i) -> __m256i {
    // SAFETY: no instruction at all.
    unsafe { std::arch::asm!("/* {0} */", inout(ymm_reg) sum, options(pure, nomem, nostack, preserves_flags)) };
    sum
}

/// Adding up in 16 bits: AVX2.
pub struct Words;

impl Sums for Words {
    type Step = Avx2;
    type Codes = __m256i;
    type Sum = __m256i;
    const SIDE: usize = 2;
    const APART: usize = 2;
    const MOST: usize = 64;
    const PART: usize = 64;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn codes(bytes: __m256i) -> __m256i {
        bytes
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn add(sum: __m256i, activations: __m256i, codes: __m256i) -> __m256i {
        in_order(_mm256_add_epi16(sum, _mm256_maddubs_epi16(activations, codes)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn start(codes: &[__m256i]) -> __m256i {
        let mut sum = _mm256_setzero_si256();
        for &codes in codes {
            sum = _mm256_sub_epi16(sum, _mm256_maddubs_epi16(_mm256_set1_epi8(-128), codes));
        }
        sum
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn total(sum: __m256i) -> __m256i {
        _mm256_madd_epi16(sum, _mm256_set1_epi16(1))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn scale(dwords: __m256i) -> __m256i {
        _mm256_blend_epi16::<0xaa>(dwords, _mm256_slli_epi32::<16>(dwords))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn scaled(all: __m256i, sum: __m256i, scale: __m256i) -> __m256i {
        _mm256_add_epi32(all, _mm256_madd_epi16(sum, scale))
    }
}

/// The same for codes of eight bits: low and high four bits apart.
pub struct Planes;

impl Sums for Planes {
    type Step = Avx2;
    type Codes = [__m256i; 2];
    type Sum = [__m256i; 2];
    const SIDE: usize = 1;
    const APART: usize = 2;
    const MOST: usize = 128;
    const PART: usize = 15;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn codes(bytes: __m256i) -> [__m256i; 2] {
        let fifteen = _mm256_set1_epi8(15);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), fifteen);
        // The sign of four bits: flipped and taken off, eight below where it stood.
        let eight = _mm256_set1_epi8(8);
        [_mm256_and_si256(bytes, fifteen), _mm256_sub_epi8(_mm256_xor_si256(high, eight), eight)]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn add([low, high]: [__m256i; 2], activations: __m256i, codes: [__m256i; 2]) -> [__m256i; 2] {
        [
            in_order(_mm256_add_epi16(low, _mm256_maddubs_epi16(activations, codes[0]))),
            in_order(_mm256_add_epi16(high, _mm256_maddubs_epi16(activations, codes[1]))),
        ]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn start(codes: &[[__m256i; 2]]) -> [__m256i; 2] {
        let mut sums = [_mm256_setzero_si256(); 2];
        for codes in codes {
            for (sum, &codes) in sums.iter_mut().zip(codes) {
                *sum = _mm256_sub_epi16(*sum, _mm256_maddubs_epi16(_mm256_set1_epi8(-128), codes));
            }
        }
        sums
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn total([low, high]: [__m256i; 2]) -> __m256i {
        _mm256_add_epi32(_mm256_madd_epi16(low, _mm256_set1_epi16(1)), _mm256_madd_epi16(high, _mm256_set1_epi16(16)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn scale(dwords: __m256i) -> __m256i {
        _mm256_blend_epi16::<0xaa>(dwords, _mm256_slli_epi32::<16>(dwords))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn scaled(all: __m256i, [low, high]: [__m256i; 2], scale: __m256i) -> __m256i {
        // Scales of seven bits: sixteen of them fit a word.
        let all = _mm256_add_epi32(all, _mm256_madd_epi16(high, _mm256_slli_epi16::<4>(scale)));
        _mm256_add_epi32(all, _mm256_madd_epi16(low, scale))
    }
}

/// Adding up in 32 bits: AVX-VNNI.
pub struct Vnni;

impl Sums for Vnni {
    type Step = AvxVnni;
    type Codes = __m256i;
    type Sum = __m256i;
    const SIDE: usize = 2;
    const APART: usize = 1;
    const MOST: usize = 128;
    const PART: usize = 128;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn codes(bytes: __m256i) -> __m256i {
        bytes
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn add(sum: __m256i, activations: __m256i, codes: __m256i) -> __m256i {
        // SAFETY: the caller promises AVX-VNNI.
        unsafe { AvxVnni::add_bytes(sum, activations, codes) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn start(codes: &[__m256i]) -> __m256i {
        let mut sum = _mm256_setzero_si256();
        for &codes in codes {
            // SAFETY: as above.
            sum = unsafe { AvxVnni::add_bytes(sum, _mm256_set1_epi8(-128), codes) };
        }
        _mm256_sub_epi32(_mm256_setzero_si256(), sum)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn total(sum: __m256i) -> __m256i {
        sum
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn scale(dwords: __m256i) -> __m256i {
        // The high word of a sum is its sign: times zero.
        _mm256_and_si256(dwords, _mm256_set1_epi32(0xffff))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn scaled(all: __m256i, sum: __m256i, scale: __m256i) -> __m256i {
        // SAFETY: as above.
        unsafe { AvxVnni::add_words(all, sum, scale) }
    }
}
