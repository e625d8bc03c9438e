//! Q5_K with AVX-512.

use std::arch::x86_64::*;

use crate::dot::avx512::{Blocks256, Heads, Scales, Small, low_then_high, twice32};
use crate::format::avx512::{heads_k4, high_bits, scales_k4};

/// Bytes of a block.
const BYTES: usize = 176;

/// See [`Blocks256`]; for CPUs with GFNI, or for all.
pub struct Blocks<const GFNI: bool>;

impl<const GFNI: bool> Blocks256 for Blocks<GFNI> {
    type Block = Small;
    const BYTES: usize = BYTES;
    const WORDS: usize = 4;
    const OFFSET: bool = true;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn heads(blocks: &[u8]) -> Heads {
        heads_k4::<BYTES>(blocks)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn block(block: &[u8], scales: &Scales, b: usize) -> Small {
        let block = &block[..BYTES];
        let (high, sixteen) = (twice32(block, 16), _mm512_set1_epi8(16));
        let codes = |c: usize| {
            // SAFETY: a kernel for GFNI runs on a CPU that has it.
            let low = unsafe { low_then_high::<GFNI>(twice32(block, 48 + 32 * c)) };
            // low | high & 16
            _mm512_ternarylogic_epi32::<0xf8>(low, high_bits::<4>(high, c as i32), sixteen)
        };
        Small { codes: [codes(0), codes(1), codes(2), codes(3)], scales: scales_k4(scales, b) }
    }
}
