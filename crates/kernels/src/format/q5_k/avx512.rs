//! Q5_K with AVX-512.

use std::arch::x86_64::*;

use crate::dot::avx512::{Blocks256, Heads, Scales, Small, low_then_high, twice32};
use crate::format::avx512::{heads_k4, high_bits, scales_k4};

/// See [`Blocks256`].
pub struct Blocks;

impl Blocks256 for Blocks {
    type Block = Small;
    const BYTES: usize = 176;
    const WORDS: usize = 4;
    const OFFSET: bool = true;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn heads(blocks: &[u8]) -> Heads {
        heads_k4::<{ Self::BYTES }>(blocks)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn block(block: &[u8], scales: &Scales, b: usize) -> Small {
        let block = &block[..Self::BYTES];
        let (high, sixteen) = (twice32(block, 16), _mm512_set1_epi8(16));
        let codes = |c: usize| {
            let low = low_then_high(twice32(block, 48 + 32 * c));
            // low | high & 16
            _mm512_ternarylogic_epi32::<0xf8>(low, high_bits::<4>(high, c as i32), sixteen)
        };
        Small { codes: [codes(0), codes(1), codes(2), codes(3)], scales: scales_k4(scales, b) }
    }
}
